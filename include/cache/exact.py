"""Reading a dimension's rows as Spark reads them: times of any year, too.

Spark writes timestamps as 96-bit integers unless it is told otherwise. delta-rs takes these for nanoseconds in 64 bits,
in which a time before 1677 or after 2262 becomes another one, without a word. Told to take them for microseconds, as
Delta does, it reads them all; the change feed cannot be told.
"""

import datetime as dt
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder

from include.config.settings import is_remote

_MICROSECONDS = {"datafusion.execution.parquet.coerce_int96": "us"}
# Else it holds the decoded columns of a row group for each core.
_ONE_FILE_AT_A_TIME = {"datafusion.execution.target_partitions": "1"}
_FIRST, _LAST = (dt.datetime(year, 1, 1, tzinfo=dt.UTC) for year in (1678, 2262))


def rows_of(table: DeltaTable, columns: Sequence[str], *, frugal: bool = False) -> Iterator[pa.RecordBatch]:
    """All rows, batch by batch; `frugal` takes the least memory for it."""
    names = ", ".join(quoted(column) for column in columns)
    options = _MICROSECONDS | (_ONE_FILE_AT_A_TIME if frugal else {})
    query = QueryBuilder(options).register("dimension", table)
    yield from pa.RecordBatchReader.from_stream(query.execute(f"SELECT {names} FROM dimension"))


def quoted(name: str) -> str:
    """A column as delta-rs takes it; bare, it would be read in lower case."""
    escaped = name.replace('"', '""')
    return f'"{escaped}"'


def inexact_times(root: str, added: Mapping[str, Mapping[str, Any]], schema: pa.Schema) -> str:
    """The first of some data files that may hold times which a change feed changes; empty where none does."""
    times = [field.name for field in schema if _has_times(field.type)]
    if not times:
        return ""
    for path, action in added.items():
        stats = json.loads(action.get("stats") or "{}")
        if not all(_within(stats, name) for name in times) and _has_wide_times(root, path):
            return path
    return ""


def _has_times(kind: pa.DataType) -> bool:
    if pa.types.is_nested(kind):
        return any(_has_times(kind.field(index).type) for index in range(kind.num_fields))
    return bool(pa.types.is_timestamp(kind))


def _within(stats: Mapping[str, Any], name: str) -> bool:
    """Whether a file's statistics say that a column's times fit into nanoseconds, or that it has none."""
    if stats.get("numRecords") is not None and stats.get("nullCount", {}).get(name) == stats["numRecords"]:
        return True
    bounds = [stats.get(kind, {}).get(name) for kind in ("minValues", "maxValues")]
    if not all(isinstance(bound, str) for bound in bounds):
        return False
    least, most = (_moment(bound) for bound in bounds)
    return least is not None and most is not None and least >= _FIRST and most < _LAST


def _moment(text: str) -> dt.datetime | None:
    try:
        found = dt.datetime.fromisoformat(text)
    except ValueError:  # a year of five digits
        return None
    return found if found.tzinfo else found.replace(tzinfo=dt.UTC)


def _has_wide_times(root: str, path: str) -> bool:
    """Whether a data file has 96-bit times; one that cannot be looked into counts as such."""
    import pyarrow.parquet as pq  # noqa: PLC0415 - most changes are told by statistics

    if is_remote(root):
        return True
    try:
        columns = pq.ParquetFile(Path(root, unquote(path))).schema
    except OSError:
        return True
    return any(columns.column(index).physical_type == "INT96" for index in range(len(columns)))
