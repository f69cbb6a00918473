"""CSV whose records end otherwise than at a line's end (option lineSep), as lines. Pure but for the reading.

A line's end within such a record is a character of its field, as for Spark: the field is put into quotes.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache

from include.probe.delimited import TRIMMED_TEXT, Dialect, Grammar
from include.probe.lenient import records_of
from include.probe.streams import BrokenFileError, Planned, text_blocks

LINE_END = re.compile(r"[\r\n]+")


def csv_text(planned: Planned, dialect: Dialect, options: Mapping[str, str]) -> Iterator[str]:
    """The text of a file, a record a line where the option lineSep says what ends a record.

    Raises:
        BrokenFileError, SupersededError: see `text_blocks`.
    """
    source, separator = text_blocks(planned, dialect.encoding), options.get("lineSep")
    if separator is None:
        return source
    encoded = (text.encode("utf-8", "surrogateescape") for text in source)
    records = (part.decode("utf-8", "surrogateescape") for part in records_of(encoded, separator.encode()))
    return _lines(records, dialect)


def _lines(records: Iterator[str], dialect: Dialect) -> Iterator[str]:
    grammar, width = Grammar(dialect), None
    for record in records:
        line = relined(record, dialect, width)
        yield line + "\n"
        is_record = line.strip(TRIMMED_TEXT) and not (dialect.comment and line.startswith(dialect.comment))
        width = grammar.width(line) if width is None and is_record else width


def relined(record: str, dialect: Dialect, width: int | None = None) -> str:
    """The record with quotes around its fields that hold a line's end; on one line where its quotes are not in order,
    or it has not as many fields as the first record, `width`, so that it is refused as one.

    Raises:
        BrokenFileError: there are no quotes that could be put around a field.
    """
    if not LINE_END.search(record):
        return record
    quote, escape = dialect.quote, dialect.escape or dialect.quote
    if not quote:
        raise BrokenFileError("a field holds a line's end, which is read within quotes only: set the option quote")
    if not _whole(dialect).fullmatch(record):
        return LINE_END.sub(" ", record)
    grammar = Grammar(dialect)
    grammar.one = _field(dialect)
    fields = []
    for text, quoted in grammar.values(record):
        if quoted or LINE_END.search(text):
            inner = text.replace(escape, escape * 2) if escape != quote else text
            fields.append(quote + inner.replace(quote, escape + quote) + quote)
        else:
            fields.append(text)
    if width not in (None, len(fields)):
        return LINE_END.sub(" ", record)
    return dialect.sep.join(fields)


@cache
def _field(dialect: Dialect) -> re.Pattern[str]:
    sep, quote, escape = (re.escape(part) for part in (dialect.sep, dialect.quote, dialect.escape))
    if dialect.escape == dialect.quote:
        inner = f"[^{quote}]|{quote}{quote}"
    else:
        inner = f"[^{quote}{escape}]|{escape}." if escape else f"[^{quote}]"
    return re.compile(f"(?:{quote}(?:{inner})*+{quote}|(?!{quote})(?:(?!{sep}).)*+)", re.DOTALL)


@cache
def _whole(dialect: Dialect) -> re.Pattern[str]:
    one = _field(dialect).pattern
    return re.compile(f"{one}(?:{re.escape(dialect.sep)}{one})*+", re.DOTALL)
