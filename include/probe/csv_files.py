"""The probe of CSV files: clean ones are counted and read by Spark as they are, others get a clean copy."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from include.probe.csv_rows import ROWS, rows
from include.probe.delimited import (
    ESCAPED_BYTE,
    Dialect,
    Grammar,
    Record,
    clean_lines,
    clean_run,
    distinct_names,
    non_blank,
    split,
)
from include.probe.plain_rows import plain_rows
from include.probe.plain_values import PlainValues
from include.probe.records import BadRecord
from include.probe.relined import csv_text
from include.probe.report import FileReport, ProbeTask
from include.probe.spool import write_spool
from include.probe.streams import BrokenFileError, blocks, is_plain, is_wide, whole_lines
from include.probe.values import text_misfit

MAX_HEADER = 1 << 20  # characters: a longer first line is no header
MAX_COLUMNS = 20480  # Spark's default of `maxColumns`, above which its parser throws the whole task away
CHUNK = 4 << 20  # characters of text that are cut into records at a time
STEP = 1 << 18  # characters of lines that are looked at all at once
LINE_ENDS = re.compile(rb"\r\n|\r|\n")
FILLED_LINE = re.compile(rb"[^\r\n]+")
LOOKAHEAD = 1 << 17  # characters beyond a record that its end may take to be seen


def probe_csv(task: ProbeTask) -> FileReport:
    """Count the records of a CSV file and refuse those that Spark's reader would misread."""
    dialect = Dialect.of(task.options)
    relined = "lineSep" in task.options
    if not (task.as_rows or relined or is_wide(dialect.encoding)) and is_plain(task.planned):
        report = _clean(task, dialect)
        if report is not None:
            return report
    try:
        return _as_rows(task, dialect) if task.as_rows else _cut(task, dialect)
    except HeaderError as error:
        return FileReport(task.path, "broken", str(error), _lines(task, dialect))


class HeaderError(BrokenFileError):
    """Raised when the names of a file's columns cannot be told."""


def csv_misfits(task: ProbeTask, report: FileReport) -> Iterator[BadRecord]:
    """The records with another number of fields than the header, or a value that is not of its column's type."""
    dialect = Dialect.of(task.options)
    grammar, header = Grammar(dialect), distinct_names(report.shape)
    text = "".join(csv_text(task.planned, dialect, task.options))
    null, first = task.options.get("nullValue", ""), dialect.has_header
    for record, _, _ in split(text, dialect, None, len(header), 1):
        if record is None or record.reason or first:
            first = first and record is None
            continue
        if reason := text_misfit(grammar.fields(record.raw), header, task.columns or {}, null):
            yield BadRecord(record.line, reason, record.raw.encode("utf-8", "surrogateescape"))


def _lines(task: ProbeTask, dialect: Dialect) -> int:
    """How many records a file has whose header cannot be read, as far as that can be said: its lines without one."""
    lines = sum(
        bool(line.strip()) for block in csv_text(task.planned, dialect, task.options) for line in block.splitlines()
    )
    return max(lines - 1, 0)


def _clean(task: ProbeTask, dialect: Dialect) -> FileReport | None:
    """The report on a file that is clean throughout, None where a record has to be looked at by itself."""
    records, header_line, grammar = 0, b"", Grammar(dialect)
    header: tuple[str, ...] = ()
    pattern, values = clean_lines(dialect), PlainValues(0)
    if pattern is None:
        return None
    ends: set[bytes] = set()
    for block in whole_lines(blocks(task.planned)):
        rest = block
        if dialect.multiline:  # then Spark takes the first line's end for that of the file
            ends.update(LINE_ENDS.findall(block))
            if len(ends) > 1:
                return None
        if not header:
            header_line = _first_line(block, dialect)
            if not header_line:
                continue
            if not grammar.record.fullmatch(header_line.decode(dialect.encoding, "surrogateescape")):
                return None
            header = _header(header_line.decode(dialect.encoding, "surrogateescape"), grammar, task)
            values = PlainValues.of(header, task.exact, task.options)
            if dialect.has_header:
                rest = block[block.index(header_line) + len(header_line) :].lstrip(b"\r\n")
        found = _count(rest, pattern, dialect, header_line if dialect.has_header else b"", values)
        if found is None:
            return None
        records += found
    shape = header if dialect.has_header else _positions(len(header))
    return FileReport(task.path, "ok", "", records, shape=shape, options=_options(dialect), looks=values.looks)


def _first_line(block: bytes, dialect: Dialect) -> bytes:
    """The first line that Spark takes for a record, b"" if there is none."""
    lines = (match[0] for match in FILLED_LINE.finditer(block))
    comment = dialect.comment.encode(dialect.encoding)
    return next((line for line in lines if non_blank([line], comment)), b"")


def _count(
    block: bytes, pattern: re.Pattern[bytes], dialect: Dialect, header: bytes, values: PlainValues
) -> int | None:
    """The number of records in a block of whole lines, None where one has to be looked at by itself."""
    if not block:
        return 0
    if b"\0" in block or not _is_text(block, dialect):
        return None
    rows = plain_rows(block, dialect, header, fields=bool(values.looks))
    if rows is not None:
        values.look(rows)
        return rows.ends.size
    values.give_up()
    lines = non_blank(block.splitlines(), dialect.comment.encode(dialect.encoding))
    if header and header in lines:
        return None
    quoted = dialect.quote and dialect.quote.encode(dialect.encoding) in block
    return len(lines) if not quoted or pattern.match(block) else None


def _is_text(block: bytes, dialect: Dialect) -> bool:
    if block.isascii():
        return True
    try:
        block.decode(dialect.encoding)
    except UnicodeDecodeError:
        return False
    return True


def _options(dialect: Dialect) -> dict[str, str]:
    """Without quoted line breaks the reader that splits at line ends is right, and the faster one."""
    return {"multiLine": "false"} if dialect.multiline is None else {}


def _header(line: str, grammar: Grammar, task: ProbeTask) -> tuple[str, ...]:
    """The names in a header (its fields, where the first line is no header).

    Raises:
        BrokenFileError: it is none.
    """
    dialect = grammar.dialect
    if len(line) > MAX_HEADER:
        raise BrokenFileError(f"the first line has {len(line)} characters: no header")
    if dialect.has_header and ESCAPED_BYTE.search(line):
        raise HeaderError(f"the header is not text in the encoding {dialect.encoding}")
    if dialect.has_header and "\0" in line:
        raise HeaderError("NUL characters in the header: is the file UTF-16? Set the option encoding")
    fields = grammar.fields(line)
    limit = int(task.options.get("maxColumns", MAX_COLUMNS))
    if len(fields) > limit:
        raise BrokenFileError(f"has {len(fields)} columns, the reader takes {limit}: set the option maxColumns")
    return tuple(name.strip() for name in fields)


def _positions(width: int) -> tuple[str, ...]:
    return tuple(f"_c{i}" for i in range(width))


@dataclass(frozen=True)
class Clean:
    """Lines that are a record each, with their ends; the number of the first."""

    text: str
    line: int = 1

    def numbered(self) -> Iterator[tuple[int, str]]:
        """The records, without their ends, with their lines' numbers."""
        return enumerate(self.text.replace("\r\n", "\n").split("\n")[:-1], self.line)

    @property
    def records(self) -> int:
        """How many."""
        return self.text.count("\n")


class Cut:
    """The records of a file that is not clean, one by one."""

    def __init__(self, task: ProbeTask, dialect: Dialect) -> None:
        self._task, self._dialect = task, dialect
        self.grammar = Grammar(dialect)
        self.header: Record | None = None
        self.shape: tuple[str, ...] = ()
        self.records = 0
        self.multiline = False
        self.bad: list[BadRecord] = []

    def good(self) -> Iterator[str]:
        """The raw text of each record that may be loaded, the header first; what is refused is in `bad`."""
        for piece in self.pieces():
            # One line's end for all: Spark takes the first that it sees for that of the file.
            yield piece.text.replace("\r\n", "\n").removesuffix("\n") if isinstance(piece, Clean) else piece.raw

    def pieces(self) -> Iterator[Record | Clean]:
        """The records that may be loaded, the header first; what is refused is in `bad`."""
        for record in self._split():
            if isinstance(record, Clean):
                self.records += record.records
                yield record
                continue
            if self.header is None:
                self.header = record
                if self._dialect.has_header:
                    if record.reason:
                        raise HeaderError(f"the header cannot be read as CSV: {record.reason}")
                    self.shape = _header(record.raw, self.grammar, self._task)
                    self.multiline = record.multiline
                    yield record
                    continue
            self.records += 1
            if not self.shape and not record.reason:
                self.shape = _positions(self.grammar.width(record.raw))
            if record.reason:
                raw = record.raw.encode("utf-8", "surrogateescape")
                self.bad.append(BadRecord(record.line, record.reason, raw))
                continue
            self.multiline |= record.multiline
            yield record

    def _split(self) -> Iterator[Record | Clean]:
        """Records out of a window on the text that is moved on before a record could end beyond it."""
        source = csv_text(self._task.planned, self._dialect, self._task.options)
        window, number, at_end = "", 1, False
        while window or not at_end:
            while not at_end and len(window) < CHUNK + LOOKAHEAD:
                more = next(source, None)
                at_end = more is None
                window += more or ""
            done = 0
            for piece, number_after, end in self._window(window, number, at_end):
                done, number = end, number_after
                if piece is not None:
                    yield piece
            if not done and at_end:
                return
            if not done:
                raise BrokenFileError(f"line {number} has more than {CHUNK} characters")
            window = window[done:]

    def _window(self, window: str, number: int, at_end: bool) -> Iterator[tuple[Record | Clean | None, int, int]]:
        """The pieces of a window that certainly end in it."""
        done = 0
        while done < len(window) and (at_end or done < CHUNK):
            piece, number_after, end = self._piece(window, done, number)
            if end == done or (not at_end and end > CHUNK + LOOKAHEAD // 2):
                return
            done, number = end, number_after
            yield piece, number, done

    def _piece(self, window: str, at: int, number: int) -> tuple[Record | Clean | None, int, int]:
        """Clean lines all at once where the next ones are, else a record; with the next line's number and place."""
        header = self.header.raw if self.header and self._dialect.has_header else None
        pattern = clean_run(self._dialect)
        if pattern is not None and self.shape and (run := pattern.match(window, at, at + STEP)):
            text = _before_repeated(run[0], header)
            if text:
                clean = Clean(text, number)
                return clean, number + clean.records, at + len(text)
        one = split(window, self._dialect, header, len(self.shape) or None, number, at)
        return next(one, (None, number, at))


def _before_repeated(lines: str, header: str | None) -> str:
    """The lines before the first one that begins as the header does."""
    if header is None:
        return lines
    found = ("\n" + lines).find("\n" + header)
    return lines if found < 0 else lines[:found]


def _cut(task: ProbeTask, dialect: Dialect) -> FileReport:
    """Cut a file into records, and write those that may be loaded to a copy."""
    cut = Cut(task, dialect)
    keeps = "utf-8" if is_wide(dialect.encoding) else dialect.encoding
    good = ((raw + "\n").encode(keeps, "surrogateescape") for raw in cut.good())
    spool = ""
    if task.spool is None:
        for _ in good:
            pass
    else:
        spool = write_spool(task.spool, ".csv", good)
    options = {"multiLine": str(cut.multiline).lower(), "encoding": keeps.upper()}
    return FileReport(task.path, "ok", "", cut.records, tuple(cut.bad), shape=cut.shape, spool=spool, options=options)


def _as_rows(task: ProbeTask, dialect: Dialect) -> FileReport:
    """Cut a file into records, and write those that may be loaded with their fields by name, as JSON lines."""
    cut = Cut(task, dialect)
    spool = write_spool(task.spool, ".json", rows(cut, dialect, task.options)) if task.spool else ""
    bad = tuple(sorted(cut.bad, key=lambda found: found.record))
    return FileReport(task.path, "ok", "", cut.records, bad, shape=cut.shape, spool=spool, reads_as=ROWS)
