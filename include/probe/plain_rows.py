"""CSV blocks in which each line is a record, told without a step of Python for each line.

Most files are like that. What has to be looked at by line is left to the caller: lines that begin with white space
(they may be blank) or with a comment's mark, a repeated header, a lone carriage return, a quote at a place where it
does not open or close a whole field.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from include.probe.delimited import Dialect

Bytes = npt.NDArray[np.uint8]
Places = npt.NDArray[np.intp]

NEWLINE, RETURN, SPACE = b"\n\r "
MOST_QUOTED = 64  # separators and line ends between two quotes of a field


@dataclass(frozen=True)
class PlainRows:
    """A block of whole lines, each of which certainly is a record: where in `data` each ends (at its line feed).

    `separators` are the places of those that separate fields, where they were asked for.
    """

    data: Bytes
    ends: Places
    separators: Places | None = None


def plain_rows(block: bytes, dialect: Dialect, header: bytes, *, fields: bool = False) -> PlainRows | None:
    """The records of a block of whole lines if each line certainly is one, else None.

    `header` is the first line of the file where that is no record, else empty. `fields` asks for the separators.
    """
    marks = (dialect.sep, dialect.quote, dialect.escape, dialect.comment)
    if not all(mark.isascii() and len(mark) <= 1 for mark in marks) or not dialect.sep:
        return None
    if b"\r" in block and block.count(b"\r") != block.count(b"\r\n"):
        return None
    if header and (b"\n" + header in block or block.startswith(header)):
        return None
    data = np.frombuffer(block, np.uint8)
    places = _unquoted(data, dialect, fields=fields)
    if places is None:
        return None
    if fields:
        at_end = data[places] == NEWLINE
        ends, separators = places[at_end], places[~at_end]
    else:
        ends, separators = places, None
    if ends.size == 0 or ends[-1] != data.size - 1:
        ends = np.append(ends, data.size)
    first = data[np.append(0, ends[:-1] + 1)]
    if np.any(first <= SPACE) or (dialect.comment and np.any(first == ord(dialect.comment))):
        return None
    return PlainRows(data, ends, separators)


def _unquoted(data: Bytes, dialect: Dialect, *, fields: bool) -> Places | None:
    """The places of line ends, and of separators where `fields` are asked for, that no quotes enclose.

    None unless the quotes are one at the start and one at the end of a field, on one line.
    """
    marked = data == NEWLINE
    if fields:
        marked |= data == ord(dialect.sep)
    if not dialect.quote:
        return np.flatnonzero(marked)
    marked |= data == ord(dialect.quote)
    places = np.flatnonzero(marked)
    marks = data[places]
    is_quote = marks == ord(dialect.quote)
    quotes = np.flatnonzero(is_quote)
    if quotes.size == 0:
        return places
    if dialect.escape not in ("", dialect.quote) and np.any(data == ord(dialect.escape)):
        return None
    opening, closing = quotes[0::2], quotes[1::2]
    if quotes.size % 2 or not _at_edges(data, places[opening], places[closing], ord(dialect.sep)):
        return None
    keep = ~is_quote
    inner = closing - opening - 1
    for count in range(1, int(inner.max()) + 1):
        enclosed = opening[inner >= count] + count
        if count > MOST_QUOTED or np.any(marks[enclosed] == NEWLINE):
            return None
        keep[enclosed] = False
    outside: Places = places[keep]
    return outside


def _at_edges(data: Bytes, opening: Places, closing: Places, sep: int) -> bool:
    """Whether the quotes are the first and the last characters of their fields."""
    before = data[opening - 1]
    if opening[0] == 0:
        before[0] = NEWLINE
    after = data[np.minimum(closing + 1, data.size - 1)]
    if closing[-1] == data.size - 1:
        after[-1] = NEWLINE
    return bool(
        np.all((before == sep) | (before == NEWLINE))
        and np.all((after == sep) | (after == NEWLINE) | (after == RETURN))
    )
