"""Strict checks of CSV before Spark's lax reader sees it. Pure functions over text.

Spark's reader takes what it is given: a quote that is never closed swallows the line's other fields, a quoted line
break is two records, and characters that are not of the encoding become replacement characters. Clean blocks are told
by Python's C reader; a file with anything else is cut into records one by one, by the grammar of RFC 4180 with the
file's own separator, quote and escape.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

SPAN = 1 << 16  # characters that a record with quoted line breaks may have
TRIMMED = bytes(range(33))  # what Java's trim() cuts: a line of these alone is no record to Spark
TRIMMED_TEXT = TRIMMED.decode()
LINE = re.compile(r"[^\r\n]*+(?:\r\n|\r|\n|\Z)")
ESCAPED_BYTE = re.compile("[\udc80-\udcff]")


@dataclass(frozen=True)
class Dialect:
    """How fields are separated and quoted. `multiline`: True and False as the user says, None where a file decides."""

    sep: str = ","
    quote: str = '"'
    escape: str = '"'
    comment: str = ""
    multiline: bool | None = None
    has_header: bool = False
    encoding: str = "utf-8"

    @classmethod
    def of(cls, options: Mapping[str, str]) -> "Dialect":
        """The dialect that Spark's options say."""
        multiline = options.get("multiLine")
        comment = options.get("comment", "")
        return cls(
            sep=options.get("sep", ","),
            quote=_character(options.get("quote", '"')),
            escape=_character(options.get("escape", '"')),
            comment="" if comment == "\0" else comment,
            multiline=None if multiline is None else multiline == "true",
            has_header=options.get("header") == "true",
            encoding=options.get("encoding", "utf-8").lower(),
        )


def _character(text: str) -> str:
    return {"\\t": "\t", "\\0": "\0", "\\\\": "\\", '\\"': '"'}.get(text, text)


@dataclass(frozen=True)
class Record:
    """One record: its first line's number, from 1, its text as it stands, and why it is refused ("" if it is not)."""

    line: int
    raw: str
    reason: str = ""
    multiline: bool = False


@dataclass
class Grammar:
    """The patterns of one dialect."""

    dialect: Dialect
    record: re.Pattern[str] = field(init=False)
    one: re.Pattern[str] = field(init=False)

    def __post_init__(self) -> None:
        sep, quote, escape = (re.escape(part) for part in (self.dialect.sep, self.dialect.quote, self.dialect.escape))
        plain = f"(?:(?!{sep})[^\r\n])*+"
        if escape in ("", quote):
            inner = f"(?:[^{quote}]|{quote}{quote})*+" if escape else f"[^{quote}]*+"
        else:
            inner = f"(?:[^{quote}{escape}]|{escape}.)*+"
        one = f"(?:{quote}{inner}{quote}|(?!{quote}){plain})" if quote else plain
        self.record = re.compile(f"{one}(?:{sep}{one})*+(?=\r\n|\r|\n|\\Z)", re.DOTALL)
        self.one = re.compile(one, re.DOTALL)

    def doubt(self, raw: str) -> str:
        """Why the fields of a record that matches are not certain, "" if they are.

        An inch mark in an unquoted field is a character. Two quotes there may as well have been meant to quote what is
        between them, which makes a difference where that holds a separator.
        """
        quote, sep = self.dialect.quote, self.dialect.sep
        if not quote or quote not in raw or raw.count(quote) % 2:
            return ""
        quoted = re.sub(f"{re.escape(quote)}[^{re.escape(quote)}]*{re.escape(quote)}", "", raw)
        if quoted.count(sep) + 1 == self.width(raw) or self.dialect.escape not in ("", quote):
            return ""
        return "quotes within an unquoted field: it cannot be told which separators they quote"

    def width(self, raw: str) -> int:
        """The number of fields of a record that matches."""
        return len(self.fields(raw))

    def fields(self, raw: str) -> list[str]:
        """The fields of a record that matches, quotes taken away."""
        return [text for text, _ in self.values(raw)]

    def values(self, raw: str) -> list[tuple[str, bool]]:
        """The fields of a record that matches, quotes taken away, and whether there were any."""
        quote, found, at = self.dialect.quote, [], 0
        while match := self.one.match(raw, at):
            text = match[0]
            quoted = bool(quote) and text.startswith(quote)
            found.append((self._unquoted(text[1:-1]) if quoted else text, quoted))
            at = match.end() + len(self.dialect.sep)
            if match.end() >= len(raw):
                break
        return found

    def _unquoted(self, text: str) -> str:
        quote, escape = self.dialect.quote, self.dialect.escape
        if not escape or escape not in text:
            return text
        if escape == quote:
            return text.replace(quote + quote, quote)
        # As Spark's parser has it: the escape before a quote or another escape; elsewhere it is a character.
        return re.sub(f"{re.escape(escape)}([{re.escape(quote)}{re.escape(escape)}])", r"\1", text)


@cache
def grammar_of(dialect: Dialect) -> Grammar:
    """The patterns of a dialect, made once."""
    return Grammar(dialect)


@cache
def clean_lines(dialect: Dialect) -> re.Pattern[bytes] | None:
    """Matches, from its start to its end, a block of lines whose quotes are all in order and within their lines.

    None for a dialect whose characters are more than a byte each; then every file is cut into records.
    """
    parts = [part.encode(dialect.encoding) for part in (dialect.sep, dialect.quote, dialect.escape) if part]
    if any(len(part) > 1 for part in parts):
        return None
    sep, quote, escape = (
        re.escape(part.encode(dialect.encoding)) for part in (dialect.sep, dialect.quote, dialect.escape)
    )
    if not quote:
        return re.compile(rb".*+", re.DOTALL)
    if escape in (b"", quote):
        inner = rb"(?:[^%s\r\n]++|%s%s)*+" % (quote, quote, quote) if escape else rb"[^%s\r\n]*+" % quote
    else:
        inner = rb"(?:[^%s%s\r\n]++|%s[^\r\n])*+" % (quote, escape, escape)
    one = rb"(?:%s%s%s|[^%s%s\r\n]*+)" % (quote, inner, quote, quote, sep)
    return re.compile(rb"(?:%s(?:%s|[\r\n]))*+%s\Z" % (one, sep, one))


@cache
def clean_run(dialect: Dialect) -> re.Pattern[str] | None:
    """Matches, from where a record begins, the lines that certainly are one record each, as many as there are.

    None for a dialect whose marks are more than a character each; then records are cut one by one.
    """
    if len(dialect.sep) != 1:
        return None
    sep, quote, escape, comment = map(re.escape, (dialect.sep, dialect.quote, dialect.escape, dialect.comment))
    odd = "\\r\\n\\0\udc80-\udcff"
    if not quote:
        one = f"[^{sep}{odd}]*+"
    else:
        if escape in ("", quote):
            inner = f"(?:[^{quote}{odd}]++|{quote}{quote})*+" if escape else f"[^{quote}{odd}]*+"
        else:
            inner = f"(?:[^{quote}{escape}{odd}]++|{escape}[^{odd}])*+"
        one = f"(?:{quote}{inner}{quote}|[^{quote}{sep}{odd}]*+)"
    return re.compile(f"(?:(?![\0- {comment}]){one}(?:{sep}{one})*+\r?\n)*+")


def split(
    text: str, dialect: Dialect, header: str | None, width: int | None, first_line: int, at: int = 0
) -> Iterator[tuple[Record | None, int, int]]:
    """Cut text from `at` on into records, None for a line that is none; each with the next one's line and place.

    `header` is the header's raw text, so that its repetition is seen. A record that cannot be read costs its first
    line only: the next line is taken for a record again.
    """
    grammar, number = grammar_of(dialect), first_line
    while at < len(text):
        line = LINE.match(text, at)
        if line is None or not line[0]:
            return
        raw = line[0].rstrip("\r\n")
        if not raw.strip(TRIMMED_TEXT) or (dialect.comment and raw.startswith(dialect.comment)):
            at, number = line.end(), number + 1
            yield None, number, at
            continue
        record = _record(text, at, raw, number, grammar, width)
        ending = LINE.match(text, at + len(record.raw))
        end = ending.end() if ending else len(text)
        number += len(re.findall(r"\r\n|\r|\n", text[at:end]))
        at = end
        yield _refused_for(record, header), number, at


def _record(text: str, at: int, raw: str, number: int, grammar: Grammar, width: int | None) -> Record:
    dialect = grammar.dialect
    if grammar.record.fullmatch(raw):
        return Record(number, raw, grammar.doubt(raw))
    if dialect.multiline is False:
        return Record(number, raw, _quoting(raw, dialect))
    whole = grammar.record.match(text, at, min(len(text), at + SPAN))
    if whole and len(whole[0]) > len(raw) and width in (None, grammar.width(whole[0])):
        return Record(number, whole[0], multiline=True)
    return Record(number, raw, _quoting(raw, dialect))


def _quoting(raw: str, dialect: Dialect) -> str:
    if raw.count(dialect.quote) % 2:
        return "a quoted field is not closed in its record"
    if dialect.escape != dialect.quote and dialect.quote * 2 in raw:
        return "a doubled quote within a quoted field: remove the option escape if quotes are escaped by doubling"
    if dialect.escape == dialect.quote and "\\" + dialect.quote in raw:
        return "a quote within a quoted field is not doubled: set escape: '\\' if the files escape by a backslash"
    return "a quoted field is followed by text before its separator"


def _refused_for(record: Record, header: str | None) -> Record:
    """The record, with the reason for which it is refused although its quotes are in order."""
    reason = record.reason
    if not reason and "\0" in record.raw:
        reason = "holds a NUL character"
    elif not reason and ESCAPED_BYTE.search(record.raw):
        reason = "holds bytes that are not text in the file's encoding"
    elif not reason and header is not None and record.raw == header:
        reason = "repeats the header"
    return record if reason == record.reason else Record(record.line, record.raw, reason, record.multiline)


def distinct_names(header: Sequence[str]) -> tuple[str, ...]:
    """Names as Spark makes them distinct: `_c2` for a column without one, `a0` and `a1` for those named alike."""
    names: list[str] = []
    for position, name in enumerate(header):
        free = f"_c{position}" if not name else f"{name}{position}" if header.count(name) > 1 else name
        while free in names or (free != name and free in header):
            free += "_"
        names.append(free)
    return tuple(names)


def non_blank(lines: Iterable[bytes], comment: bytes) -> list[bytes]:
    """The lines that Spark takes for records."""
    return [line for line in lines if line.strip(TRIMMED) and not (comment and line.startswith(comment))]
