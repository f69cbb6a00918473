"""Where each record that Spark is given stands in its file: its line, from 1, and its text.

A load asks only for files with records that it refuses after Spark has read them.
"""

from collections.abc import Iterator, Mapping

from include.probe.delimited import Dialect, split
from include.probe.documents import document_records
from include.probe.report import FileReport
from include.probe.streams import Planned, blocks, text_blocks, whole_lines

BLANK = b" \t\r\n"
Place = tuple[int, str]


def places(kind: str, planned: Planned, options: Mapping[str, str], report: FileReport) -> Iterator[Place] | None:
    """The records of a file in their order, less those that the probe refused; None for a format without lines."""
    refused = {bad.record for bad in report.bad}
    if kind == "csv":
        found = _csv(planned, Dialect.of(options))
    elif kind == "json" and options.get("multiLine") == "true":
        found = enumerate((_text(raw) for raw in document_records(planned, options)), 1)
    elif kind in ("json", "text") and options.get("wholetext") != "true":
        found = _lines(planned, options, blank=kind == "text")
    else:
        return None
    return ((number, raw) for number, raw in found if number not in refused)


def _lines(planned: Planned, options: Mapping[str, str], *, blank: bool) -> Iterator[Place]:
    number, encoding = 0, options.get("encoding", "UTF-8")
    source = blocks(planned)
    if encoding.upper() != "UTF-8":
        source = (text.encode("utf-8", "surrogateescape") for text in text_blocks(planned, encoding))
    for block in whole_lines(source):
        for line in block.splitlines():
            number += 1
            if blank or line.strip(BLANK):
                yield number, _text(line)


def _csv(planned: Planned, dialect: Dialect) -> Iterator[Place]:
    header = dialect.has_header
    for record, _, _ in split("".join(text_blocks(planned, dialect.encoding)), dialect, None, None, 1):
        if record is not None and not header:
            yield record.line, record.raw
        header = header and record is None


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")
