"""The probe of files that are not lines: JSON documents, XML, and files that are one record."""

import codecs
import re
from collections.abc import Iterable, Iterator, Mapping
from xml.parsers import expat

import msgspec

from include.probe.lenient import is_lenient, strict_json
from include.probe.records import JsonFindings, check_block
from include.probe.report import FileReport, ProbeTask
from include.probe.spool import write_spool
from include.probe.streams import BrokenFileError, Planned, blocks, is_plain, open_planned, text_blocks

MAX_DOCUMENT = 1 << 30  # bytes of one JSON document, which is decoded in memory
MAX_BINARY = (1 << 31) - 1  # bytes: Spark's own limit of `content`
_array = msgspec.json.Decoder(list[msgspec.Raw])
PATTERN = re.compile(r"[{}\[\]*?\\:]")
_XML_DECLARATION = re.compile(r"^\s*<\?xml\b[^>]*\?>")
_LINE_ENDS = re.compile(rb"[\r\n]+")


def probe_json_document(task: ProbeTask) -> FileReport:
    """A file that is one JSON value (option multiLine): an object is one record, an array one for each element.

    Spark is given the records as lines: its own reader would take the first of two documents and drop the second.
    """
    text = _document(task.planned, task.options)
    if is_lenient(task.options):
        text = strict_json(text, task.options)
    if not text.strip():
        return FileReport(task.path, "ok", "", 0)
    findings = JsonFindings(refuses_unknown=task.refuse_unknown)
    good: list[bytes] = []
    for record in _elements(text):
        line = _LINE_ENDS.sub(b" ", record)
        before = len(findings.bad)
        check_block(line + b"\n", task.spec, findings)
        if len(findings.bad) == before:
            good.append(line + b"\n")
    spool = write_spool(task.spool, ".json", good) if task.spool else ""
    unknown = {} if task.any_keys else findings.unknown
    return FileReport(task.path, "ok", "", findings.records, tuple(findings.bad), unknown, spool=spool)


def document_records(planned: Planned, options: Mapping[str, str]) -> list[bytes]:
    """The raw records of a file that is one JSON value.

    Raises:
        BrokenFileError: it is not.
    """
    return _elements(_document(planned, options))


def _document(planned: Planned, options: Mapping[str, str]) -> bytes:
    parts, size = [], 0
    for text in text_blocks(planned, options.get("encoding", "UTF-8")):
        parts.append(text.encode("utf-8", "surrogateescape"))
        size += len(parts[-1])
        if size > MAX_DOCUMENT:
            raise BrokenFileError(f"one JSON document of more than {MAX_DOCUMENT >> 20} MB: write one object a line")
    return b"".join(parts)


def _elements(text: bytes) -> list[bytes]:
    """The raw records of a document.

    Raises:
        BrokenFileError: it is not one JSON document.
    """
    try:
        if text.lstrip()[:1] == b"[":
            return [bytes(raw) for raw in _array.decode(text)]
        msgspec.json.decode(text)
    except RecursionError:
        raise BrokenFileError("nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        message = str(error).replace("JSON is malformed: ", "")
        raise BrokenFileError(f"not one valid JSON document: {message}") from None
    return [text]


def probe_whole_text(task: ProbeTask) -> FileReport:
    """A file that is one record of text (option wholetext)."""
    spool = ""
    if task.spool and not is_plain(task.planned):
        spool = write_spool(task.spool, ".txt", blocks(task.planned))
    for _ in _utf8(blocks(task.planned)):  # to the end: a truncated archive must be seen here, not by Spark
        pass
    return FileReport(task.path, "ok", "", 1 if task.planned.size else 0, spool=spool)


def _utf8(source: Iterable[bytes]) -> Iterator[str]:
    """The blocks as text.

    Raises:
        BrokenFileError: they are none in UTF-8.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for block in source:
            yield decoder.decode(block)
        yield decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise BrokenFileError(f"not text in UTF-8: {error.reason}") from None


def probe_binary(task: ProbeTask) -> FileReport:
    """A file that is one record of bytes."""
    if task.planned.size > MAX_BINARY:
        raise BrokenFileError(f"has {task.planned.size} bytes; a binary value has at most {MAX_BINARY}")
    with open_planned(task.planned) as raw:
        raw.read(1)
    return FileReport(task.path, "ok", "", 1)


def probe_xml(task: ProbeTask) -> FileReport:
    """A well-formed XML document; each element named `rowTag` is a record.

    Spark's inference of XML takes a path for a pattern, however it is escaped, and fails at a colon: a file with such a
    name is copied, as is one that Spark cannot decompress, and one that is not in UTF-8: Spark does not look at what it
    says of itself.
    """
    elements = _XmlRows(task.options["rowTag"])
    try:
        elements.parse(blocks(task.planned))
    except LookupError:
        raise BrokenFileError(f"declares the encoding {elements.encoding}, which nobody knows") from None
    except ValueError:  # expat knows no encoding of several bytes but Unicode's
        elements = _XmlRows(task.options["rowTag"], elements.encoding)
        elements.parse(_xml_as_utf8(task.planned, elements.encoding))
    path = task.planned.uri.partition("://")[2] or task.planned.uri
    if elements.encoding.lower() not in ("utf-8", "us-ascii"):
        copy: Iterable[bytes] = _xml_as_utf8(task.planned, elements.encoding)
    elif PATTERN.search(path) or not is_plain(task.planned):
        copy = blocks(task.planned)
    else:
        copy = ()
    spool = write_spool(task.spool, ".xml", copy) if copy and task.spool else ""
    return FileReport(task.path, "ok", "", elements.rows, spool=spool)


def _xml_as_utf8(planned: Planned, encoding: str) -> Iterator[bytes]:
    first = True
    for text in text_blocks(planned, encoding):
        try:
            yield (_XML_DECLARATION.sub("", text) if first else text).encode()
        except UnicodeEncodeError:
            raise BrokenFileError(f"holds bytes that are not text in the encoding {encoding}") from None
        first = False


class _XmlRows:
    """Counts the elements that are records; one within another belongs to it. `encoding` is what the file says of
    itself; one that is given is that of a file of which UTF-8 is parsed.
    """

    def __init__(self, tag: str, encoding: str | None = None) -> None:
        self.rows, self.encoding = 0, encoding or "utf-8"
        self._tag, self._inside, self._depth = tag, 0, 0
        self._parser = expat.ParserCreate("utf-8" if encoding else None)
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.XmlDeclHandler = self._declaration
        self._parser.EntityDeclHandler = self._refuse_entity

    def parse(self, source: Iterable[bytes]) -> None:
        """Go through a file.

        Raises:
            BrokenFileError: it is not well-formed.
            LookupError, ValueError: it is in an encoding that is not known to anybody, or not to expat.
        """
        try:
            for block in source:
                if block.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and not self.rows:
                    self.encoding = "utf-16"
                self._parser.Parse(block, False)
            self._parser.Parse(b"", True)
        except expat.ExpatError as error:
            reason = f"not well-formed XML: line {error.lineno}, column {error.offset}: {expat.ErrorString(error.code)}"
            raise BrokenFileError(reason) from None

    def _declaration(self, _version: str, encoding: str | None, _standalone: int) -> None:
        self.encoding = encoding or self.encoding

    def _start(self, name: str, _attributes: dict[str, str]) -> None:
        self._depth += 1
        if not self._inside and name == self._tag:
            self.rows += 1
            self._inside = self._depth

    def _end(self, _name: str) -> None:
        if self._depth == self._inside:
            self._inside = 0
        self._depth -= 1

    @staticmethod
    def _refuse_entity(*_declaration: object) -> None:
        raise BrokenFileError("declares entities, which are not read: they can blow a file up without bound")
