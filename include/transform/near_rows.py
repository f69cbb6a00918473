"""The rows of a table that a merge may meet: read from the files of their times, and matched by their keys. Arrow."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import types

Numbers = npt.NDArray[np.int64]

# Delta-Spark cuts the bounds of times in a file's statistics to milliseconds.
SLACK = 1000
_MOST_CODES = 1 << 31
NOBODY = -1
# Of types of one kind values are the same or, out of range, an error.
_KINDS: Sequence[Callable[[pa.DataType], bool]] = (
    types.is_integer,
    types.is_floating,
    types.is_decimal,
    lambda kind: types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind),
    lambda kind: types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind),
)


class NotMerged(Exception):
    """Raised when rows could not be merged here, and nothing was committed: Delta-Spark is to do it."""


@dataclass(frozen=True)
class Span:
    """A part of time: rows whose `start` is at most `last` and whose `end` is at least `first` (both in micros)."""

    first: int
    last: int


@dataclass(frozen=True)
class Spans:
    """The times of the rows that a merge may meet: of the columns `start` and `end`, which may be the same."""

    start: str
    end: str
    parts: Sequence[Span]

    def meet(self, least: int | None, most: int | None) -> bool:
        """False where no row with a start from `least` and an end up to `most` (None: not known) is of these times."""
        return any(
            (least is None or least <= part.last + SLACK) and (most is None or most >= part.first - SLACK)
            for part in self.parts
        )

    def of(self, rows: pa.Table) -> Numbers:
        """The places of the rows of these times."""
        start, end = micros(rows[self.start]), micros(rows[self.end])
        near = np.zeros(rows.num_rows, dtype=bool)
        for part in self.parts:
            near |= (start <= part.last) & (end >= part.first)
        return np.flatnonzero(near)


@dataclass(frozen=True)
class Identity:
    """What tells rows apart: a time that is never NULL, and other columns, where NULL is a value like any other."""

    time: str
    keys: Sequence[str]

    @property
    def columns(self) -> tuple[str, ...]:
        """All of them."""
        return (self.time, *self.keys)


@dataclass(frozen=True)
class File:
    """A data file of the table: its path as the log has it, and its bytes."""

    path: str
    size: int


@dataclass(frozen=True)
class Near:
    """The rows of some files, and for each row the place of its file in `files`."""

    files: Sequence[File]
    rows: pa.Table
    file: Numbers

    @classmethod
    def read(cls, location: str, files: Sequence[File], schema: pa.Schema) -> "Near":
        """Read the files; what one does not have is NULL.

        Raises:
            NotMerged: a file has columns of other types.
        """
        tables = [_read(Path(location, unquote(file.path)), schema) for file in files]
        numbers = [np.full(table.num_rows, number, dtype=np.int64) for number, table in enumerate(tables)]
        rows = pa.concat_tables(tables) if tables else schema.empty_table()
        return cls(files, rows, np.concatenate(numbers) if numbers else np.zeros(0, dtype=np.int64))

    def places(self, rows: pa.Table, columns: Sequence[str]) -> Numbers:
        """For each row that stands here the place of the one of `rows` with equal values of `columns`, or NOBODY."""
        ours, theirs = codes([rows.select(columns), self.rows.select(columns)])
        order = np.argsort(ours, kind="stable")
        at = np.searchsorted(ours, theirs, sorter=order).clip(max=max(len(ours) - 1, 0))
        if not len(ours):
            return np.full(len(theirs), NOBODY, dtype=np.int64)
        found: Numbers = np.where(ours[order[at]] == theirs, order[at], NOBODY)
        return found


def codes(tables: Sequence[pa.Table]) -> list[Numbers]:
    """Numbers that are equal where all columns of two rows are; NULL is a value like any other."""
    counts = [table.num_rows for table in tables]
    numbers, size = np.zeros(sum(counts), dtype=np.int64), 1
    for name in tables[0].column_names:
        column = pa.chunked_array([chunk for table in tables for chunk in table[name].chunks], tables[0][name].type)
        encoded = column.combine_chunks().dictionary_encode(null_encoding="encode")
        if size > _MOST_CODES:
            numbers, size = _dense(numbers)
        numbers = numbers * len(encoded.dictionary) + encoded.indices.to_numpy().astype(np.int64)
        size *= max(len(encoded.dictionary), 1)
    return np.split(numbers, np.cumsum(counts)[:-1])


def _dense(numbers: Numbers) -> tuple[Numbers, int]:
    kinds, dense = np.unique(numbers, return_inverse=True)
    return dense.astype(np.int64), len(kinds)


def micros(column: pa.ChunkedArray) -> Numbers:
    """Times in microseconds since the epoch."""
    found: Numbers = column.cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy()
    return found


def fitted(rows: pa.Table, schema: pa.Schema, *, in_file: bool = False) -> pa.Table:
    """The rows with the columns of the schema, NULL where they have none.

    Raises:
        NotMerged: a value is none of its column's type.
    """
    columns = []
    for column in schema:
        if column.name not in rows.column_names:
            columns.append(pa.nulls(rows.num_rows, column.type))
            continue
        if not _of_a_kind(rows.schema.field(column.name).type, column.type, in_file=in_file):
            raise NotMerged(f"{column.name} is {rows[column.name].type}, not {column.type}")
        try:
            columns.append(rows[column.name].cast(column.type))
        except pa.ArrowException as error:
            raise NotMerged(f"{column.name} is {rows[column.name].type}, not {column.type}: {error}") from error
    return pa.Table.from_arrays(columns, schema=schema)


def _of_a_kind(found: pa.DataType, wanted: pa.DataType, *, in_file: bool = False) -> bool:
    """False where Arrow would make a value of what is another one to Spark, or none: a number of a text.

    In a file times of 96 bits are of no zone to Parquet, and of UTC to Delta.
    """
    if types.is_timestamp(wanted):
        return types.is_timestamp(found) and (in_file or (found.tz is None) == (wanted.tz is None))
    if types.is_struct(wanted) and types.is_struct(found):
        names = {field.name for field in found} & {field.name for field in wanted}
        pairs = [(found.field(name).type, wanted.field(name).type) for name in names]
    elif types.is_map(wanted) and types.is_map(found):
        pairs = [(found.key_type, wanted.key_type), (found.item_type, wanted.item_type)]
    elif types.is_list(wanted) and types.is_list(found):
        pairs = [(found.value_type, wanted.value_type)]
    else:
        return bool(found == wanted) or any(all(map(is_kind, (found, wanted))) for is_kind in _KINDS)
    return all(_of_a_kind(*pair, in_file=in_file) for pair in pairs)


def _read(path: Path, schema: pa.Schema) -> pa.Table:
    try:
        # Delta-Spark writes times as 96 bits, which would else be read as nanoseconds of a few centuries.
        found = pq.ParquetFile(path, coerce_int96_timestamp_unit="us").read()
    except (OSError, pa.ArrowException) as error:
        raise NotMerged(f"{path} cannot be read: {error}") from error
    return fitted(found, schema, in_file=True)
