"""CSV records as JSON lines with their fields by name, so that files of any header are read by one reader.

Spark matches the columns of CSV files by position: each header needs a reader of its own, and a plan with a thousand of
them does not end. A line here is `{"v": {name: text, ...}, "raw": the record as it stands in the file}`; a field that
is empty, or the option nullValue, is left out, as Spark's CSV reader has it: with a nullValue, quotes around nothing
are an empty text.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from include.probe.delimited import Dialect, Record, distinct_names
from include.probe.records import BadRecord

if TYPE_CHECKING:
    from include.probe.csv_files import Cut

ROWS = "rows"
# Options under which texts become other values than are made here.
OTHERWISE = (
    "dateFormat", "timestampFormat", "timestampNTZFormat", "timeZone", "locale", "nanValue", "positiveInf",
    "negativeInf", "emptyValue", "ignoreLeadingWhiteSpace", "ignoreTrailingWhiteSpace", "charToEscapeQuoteEscaping",
    "unescapedQuoteHandling", "enableDateTimeParsingFallback", "maxCharsPerColumn", "singleVariantColumn",
)  # fmt: skip
_encode = msgspec.json.Encoder().encode


def may_be_rows(options: Mapping[str, str]) -> bool:
    """True where the reader's options leave the meaning of a text as it is here."""
    return not any(name in options for name in OTHERWISE)


def rows(cut: "Cut", dialect: Dialect, options: Mapping[str, str]) -> Iterator[bytes]:
    """The lines. A record with another number of fields than the header is refused: nobody knows which is which."""
    null, values = options.get("nullValue", ""), cut.grammar.values
    names: tuple[str, ...] = ()
    headed = dialect.has_header
    for piece in cut.pieces():
        if headed:
            headed = False
            continue
        names = names or distinct_names(cut.shape)
        for line, raw in [(piece.line, piece.raw)] if isinstance(piece, Record) else piece.numbered():
            quoted = dialect.quote and dialect.quote in raw
            found = values(raw) if quoted else [(text, False) for text in raw.split(dialect.sep)]
            if len(found) != len(names):
                reason = f"has {len(found)} fields, the header has {len(names)}"
                cut.bad.append(BadRecord(line, reason, raw.encode("utf-8", "surrogateescape")))
                continue
            yield _line(names, found, null, raw)


def _line(names: Sequence[str], fields: Sequence[tuple[str, bool]], null: str, raw: str) -> bytes:
    values = {
        name: text
        for name, (text, quoted) in zip(names, fields, strict=True)
        if text != null and (text or (quoted and null))
    }
    return _encode({"v": values, "raw": raw}) + b"\n"
