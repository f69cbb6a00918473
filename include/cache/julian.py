"""Data files whose old dates and times Spark takes for those of the Julian calendar, which others read as they stand.

Spark before 3.0, and later ones that are told to (`datetimeRebaseModeInWrite = LEGACY`), write so and say it in the
file; Spark shifts such values when it reads them, by days before 1582. Arrow and delta-rs do not.
"""

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
from deltalake import DeltaTable

from include.config.settings import is_remote

# Before it the two calendars, or the offsets of time zones that the two kinds of Spark know, may differ.
_SINCE = dt.date(1900, 1, 1)
_VERSION = b"org.apache.spark.version"
_MARKS = (b"org.apache.spark.legacyDateTime", b"org.apache.spark.legacyINT96")
_FIRST_WITH_MARKS = (3, 1)


def shifted_file(table: DeltaTable, schema: pa.Schema, only: Iterable[str] | None = None) -> str:
    """The first data file of a table with values of the columns in `schema` that Spark shifts; empty where none has.

    `only` are the files to look at, by their paths in the log.
    """
    names = [field.name for field in schema if _has_days(field.type)]
    names = [name for name in names if name not in table.metadata().partition_columns]  # those are texts in the log
    if not names:
        return ""
    wanted = None if only is None else {unquote(path) for path in only}
    for path in _old_files(table, names):
        if (wanted is None or unquote(path) in wanted) and _is_marked(_footer(table.table_uri, path)):
            return path
    return ""


def _has_days(kind: pa.DataType) -> bool:
    if pa.types.is_nested(kind):
        return any(_has_days(kind.field(index).type) for index in range(kind.num_fields))
    return bool(pa.types.is_date(kind) or pa.types.is_timestamp(kind))


def _old_files(table: DeltaTable, names: Sequence[str]) -> Iterator[str]:
    """The data files of which the log does not say that all values are young."""
    files = pa.table(table.get_add_actions(flatten=True))
    columns = ["path", "num_records", *(f"{kind}.{name}" for name in names for kind in ("min", "null_count"))]
    for row in files.select([column for column in columns if column in files.column_names]).to_pylist():
        if not all(_is_young(row, name) for name in names):
            yield row["path"]


def _is_young(row: Mapping[str, Any], name: str) -> bool:
    nulls, least = row.get(f"null_count.{name}"), row.get(f"min.{name}")
    if nulls is not None and nulls == row.get("num_records"):
        return True
    day = least.date() if isinstance(least, dt.datetime) else least
    return isinstance(day, dt.date) and day >= _SINCE


def _footer(root: str, path: str) -> Mapping[bytes, bytes]:
    """What the writer of a file has said about it.

    Raises:
        OSError: the file cannot be read.
    """
    import pyarrow.parquet as pq  # noqa: PLC0415 - most tables have no old dates

    if is_remote(root):
        import obstore  # noqa: PLC0415 - not needed for local tables
        from obstore.store import from_url  # noqa: PLC0415

        return pq.read_metadata(obstore.open_reader(from_url(root), unquote(path))).metadata or {}
    file = Path(root.removeprefix("file://"), unquote(path.removeprefix("file:")))
    return pq.read_metadata(file).metadata or {}


def _is_marked(footer: Mapping[bytes, bytes]) -> bool:
    version = footer.get(_VERSION)
    if version is None:  # not of Spark, which then reads it as it stands
        return False
    numbers = tuple(int(part) for part in version.decode().split(".")[:2] if part.isdigit())
    return numbers < _FIRST_WITH_MARKS or any(mark in footer for mark in _MARKS)
