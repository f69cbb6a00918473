"""CSV blocks in which each line is a record, told without a step of Python for each line.

Most files are like that. What has to be looked at by line is left to the caller: lines that begin with white space
(they may be blank) or with a comment's mark, a repeated header, a lone carriage return, a quote at a place where it
does not open or close a whole field.
"""

import numpy as np
import numpy.typing as npt

from include.probe.delimited import Dialect

NEWLINE, RETURN, SPACE = b"\n\r "


def plain_rows(block: bytes, dialect: Dialect, header: bytes) -> int | None:
    """The number of lines in a block of whole lines if each of them certainly is a record, else None.

    `header` is the first line of the file where that is no record, else empty.
    """
    marks = (dialect.sep, dialect.quote, dialect.escape, dialect.comment)
    if not all(mark.isascii() and len(mark) <= 1 for mark in marks) or not dialect.sep:
        return None
    if block.count(b"\r") != block.count(b"\r\n") or (header and (b"\n" + header in block or block.startswith(header))):
        return None
    data = np.frombuffer(block, np.uint8)
    ends = np.flatnonzero(data == NEWLINE)
    starts = np.append(0, ends + 1) if ends.size == 0 or ends[-1] != data.size - 1 else np.append(0, ends[:-1] + 1)
    first = data[starts]
    if np.any(first <= SPACE) or (dialect.comment and np.any(first == ord(dialect.comment))):
        return None
    if dialect.quote and not _quotes_whole_fields(data, ends, dialect, block):
        return None
    return int(starts.size)


def _quotes_whole_fields(
    data: npt.NDArray[np.uint8], ends: npt.NDArray[np.intp], dialect: Dialect, block: bytes
) -> bool:
    """True only if the quotes are one at the start and one at the end of a field, on one line, and none is escaped."""
    quotes = np.flatnonzero(data == ord(dialect.quote))
    if quotes.size == 0:
        return True
    if quotes.size % 2 or (dialect.escape not in ("", dialect.quote) and dialect.escape.encode() in block):
        return False
    opening, closing = quotes[0::2], quotes[1::2]
    before = data[opening - 1]
    if opening[0] == 0:
        before[0] = NEWLINE
    after = data[np.minimum(closing + 1, data.size - 1)]
    if closing[-1] == data.size - 1:
        after[-1] = NEWLINE
    sep = ord(dialect.sep)
    return bool(
        np.all((before == sep) | (before == NEWLINE))
        and np.all((after == sep) | (after == NEWLINE) | (after == RETURN))
        and np.array_equal(np.searchsorted(ends, opening), np.searchsorted(ends, closing))
    )
