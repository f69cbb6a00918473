"""Keys as numbers: a 64-bit hash of the key columns for a whole Arrow array at a time, and exact equality beside it.

Runs in Spark's Python workers, too: imports numpy and pyarrow only. The hash orders a snapshot and finds candidates;
whether two keys are equal is always decided by their values.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Words = npt.NDArray[np.uint64]
Flags = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]

WORD = 8  # bytes
_SEED = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
# The bytes of a word that belong to a text of which so many are left.
_MASKS = np.array([(1 << (8 * left)) - 1 for left in range(WORD)] + [2**64 - 1], dtype=np.uint64)


def key_family(kind: pa.DataType) -> str | None:
    """The kind of key a type makes: columns join where this is the same text. None where it cannot be a key here.

    Integers of all widths are one family, as Spark widens them without loss. Floating point keys, whose equality has
    cases of its own (NaN, -0.0), and nested ones are left to Spark's join.
    """
    if pa.types.is_signed_integer(kind):
        return "integer"
    if pa.types.is_decimal128(kind):
        return f"decimal of scale {kind.scale}"
    for family, fits in _FAMILIES:
        if fits(kind):
            return family
    return None


_FAMILIES = (
    ("boolean", pa.types.is_boolean),
    ("date", pa.types.is_date32),
    ("timestamp", lambda kind: pa.types.is_timestamp(kind) and kind.unit == "us" and kind.tz is not None),
    ("timestamp_ntz", lambda kind: pa.types.is_timestamp(kind) and kind.unit == "us" and kind.tz is None),
    ("string", lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind)),
    ("binary", lambda kind: pa.types.is_binary(kind) or pa.types.is_large_binary(kind)),
)


def present(columns: Sequence[pa.Array]) -> Flags:
    """Which rows have no NULL in any of the key columns; only these can match."""
    rows = np.ones(len(columns[0]), dtype=np.bool_)
    for column in columns:
        if column.null_count:
            rows &= truths(column.is_valid())
    return rows


def key_hashes(columns: Sequence[pa.Array]) -> Words:
    """A hash of each row's key. Equal keys have equal hashes, whatever the width of their integers."""
    hashes = np.full(len(columns[0]), _SEED, dtype=np.uint64)
    for column in columns:
        for word in _words(column):
            hashes = _mixed(hashes ^ word)
    return hashes


# pa.array and to_numpy import pandas, a quarter of a second of each new worker; what follows does not.


def integers(column: pa.Array) -> npt.NDArray[Any]:
    """A column of integers without NULLs, without a copy."""
    sign = "i" if pa.types.is_signed_integer(column.type) else "u"
    data = column.buffers()[1]
    if data is None:  # of no rows
        return np.empty(0, dtype=np.int64)
    width = column.type.bit_width // 8
    found = np.frombuffer(data, dtype=f"<{sign}{width}", count=column.offset + len(column))
    return found[column.offset :]


def truths(column: pa.Array) -> Flags:
    """A column of truth values without NULLs."""
    data = column.buffers()[1]
    if data is None:
        return np.zeros(0, dtype=np.bool_)
    bits = np.unpackbits(np.frombuffer(data, dtype=np.uint8), bitorder="little")
    return bits[column.offset : column.offset + len(column)].astype(np.bool_)


def indices(rows: Rows, known: Flags | None = None) -> pa.Array:
    """Places for `take`, NULL where `known` is false."""
    bits = None if known is None else pa.py_buffer(np.packbits(known, bitorder="little"))
    return pa.Array.from_buffers(pa.int64(), len(rows), [bits, pa.py_buffer(np.ascontiguousarray(rows))])


def flags(values: Flags) -> pa.Array:
    """Truth values for `filter`."""
    bits = pa.py_buffer(np.packbits(values, bitorder="little"))
    return pa.Array.from_buffers(pa.bool_(), len(values), [None, bits])


def same_keys(left: Sequence[pa.Array], left_rows: Rows, right: Sequence[pa.Array], right_rows: Rows) -> Flags:
    """For each pair of rows, whether their keys are equal. No key may hold a NULL."""
    same = np.ones(len(left_rows), dtype=np.bool_)
    for one, other in zip(left, right, strict=True):
        same &= _equal(one, left_rows, other, right_rows)
    return same


def _equal(left: pa.Array, left_rows: Rows, right: pa.Array, right_rows: Rows) -> Flags:
    if _is_bytes(left.type):
        one, other = left.take(indices(left_rows)), right.take(indices(right_rows))
        return truths(pc.equal(one, other.cast(one.type)))
    pairs = zip(_fixed_words(left), _fixed_words(right), strict=True)
    return np.logical_and.reduce([one[left_rows] == other[right_rows] for one, other in pairs])  # type: ignore[no-any-return]


def _words(column: pa.Array) -> list[Words]:
    return [_bytes_hash(column)] if _is_bytes(column.type) else _fixed_words(column)


def _fixed_words(column: pa.Array) -> list[Words]:
    """A column of fixed width as one or two words a row; without a copy where it is 64 bits wide and has no NULL."""
    kind = column.type
    if pa.types.is_decimal128(kind):
        data = np.frombuffer(column.buffers()[1], dtype=np.uint64)
        pairs = data[2 * column.offset : 2 * (column.offset + len(column))].reshape(-1, 2)
        return [_without_nulls(pairs[:, half], column) for half in (0, 1)]
    if pa.types.is_boolean(kind):
        column = column.cast(pa.uint8())
    elif pa.types.is_date32(kind):
        column = column.view(pa.int32())
    elif pa.types.is_timestamp(kind):
        column = column.view(pa.int64())
    if column.null_count:
        column = column.fill_null(0)
    return [integers(column).astype(np.int64, copy=False).view(np.uint64)]


def _without_nulls(words: Words, column: pa.Array) -> Words:
    if not column.null_count:
        return words
    return np.where(truths(column.is_valid()), words, np.uint64(0))


def _bytes_hash(column: pa.Array) -> Words:
    """Texts hashed eight bytes at a time, all rows side by side; the loop is as long as the longest text."""
    if column.null_count:
        column = column.fill_null(b"" if pa.types.is_binary(column.type) else "")
    wide = pa.types.is_large_string(column.type) or pa.types.is_large_binary(column.type)
    ends = np.frombuffer(column.buffers()[1], dtype=np.int64 if wide else np.int32)
    ends = ends[column.offset : column.offset + len(column) + 1].astype(np.int64)
    starts, lengths = ends[:-1], np.diff(ends)
    words = _words_at_each_byte(column.buffers()[2], int(ends[0]), int(ends[-1]))
    starts = starts - ends[0]
    hashes = _mixed(lengths.view(np.uint64) ^ _SEED)
    rows = np.flatnonzero(lengths > 0)
    done = 0
    while len(rows):
        left = lengths[rows] - done
        word = words[starts[rows] + done] & _MASKS[np.minimum(left, WORD)]
        hashes[rows] = _mixed(hashes[rows] ^ word)
        done += WORD
        rows = rows[left > WORD]
    return hashes


def _words_at_each_byte(data: pa.Buffer | None, start: int, end: int) -> Words:
    """The eight bytes that begin at each byte of `data`, with zeros after its end."""
    padded = np.zeros(end - start + WORD, dtype=np.uint8)
    if data is not None:
        padded[: end - start] = np.frombuffer(data, dtype=np.uint8)[start:end]
    return np.ndarray((end - start + 1,), dtype="<u8", buffer=padded.data, strides=(1,))


def _is_bytes(kind: pa.DataType) -> bool:
    return key_family(kind) in ("string", "binary")


def _mixed(words: Words) -> Words:
    """The finaliser of splitmix64: every bit of the input changes half of the output's."""
    words = (words ^ (words >> np.uint64(30))) * _FIRST
    words = (words ^ (words >> np.uint64(27))) * _SECOND
    mixed: Words = words ^ (words >> np.uint64(31))
    return mixed
