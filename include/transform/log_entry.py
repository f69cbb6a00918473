"""The entry of a commit in the log of a Delta table on this host's disk: files that go, files that come, changes.

delta-rs commits files that are written already, too, but not those of a change feed.
"""

import json
import logging
import os
import uuid
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable

from include.transform.near_rows import File

log = logging.getLogger(__name__)

CHANGES = "_change_data"
_WRITERS = 4
# As Delta-Spark does where the table does not say; delta-rs reads a log of thirty entries in a tenth of a second.
_CHECKPOINT_EVERY = 10
_COLUMNS_WITH_STATISTICS = 32
_LONGEST_TEXT = 32
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Taken(Exception):
    """Raised when another process has committed the version."""


@dataclass(frozen=True)
class Entry:
    """What a commit says besides its files: the text it carries, the application and its version, its figures."""

    note: str
    transaction: tuple[str, int]
    figures: Mapping[str, int]

    def lines(self, read_version: int, now: int) -> list[Mapping[str, Any]]:
        """The actions that are no files; `now` in milliseconds."""
        app, version = self.transaction
        info = {
            "timestamp": now,
            "operation": "MERGE",
            "operationParameters": {},
            "readVersion": read_version,
            "isolationLevel": "Serializable",
            "isBlindAppend": False,
            "engineInfo": "Sluice",
            "operationMetrics": {name: str(value) for name, value in self.figures.items()},
            "userMetadata": self.note,
        }
        return [{"commitInfo": info}, {"txn": {"appId": app, "version": version, "lastUpdated": now}}]


def written(
    location: str, parts: Iterable[pa.Table], changes: pa.Table | None, now: int
) -> Sequence[Mapping[str, Any]]:
    """Write each part as a data file, and the changes (rows with their `_change_type`), if any, as a file of the change
    feed; returns the actions that name them. They are on the disk then: an entry must not outlive its files.

    Several at a time: most of a small file's cost is the wait for the disk.
    """
    with ThreadPoolExecutor(_WRITERS) as pool:
        files = [pool.submit(_add, location, part, now) for part in parts]
        if changes is not None:
            files.append(pool.submit(_change, location, changes))
        return [file.result() for file in files]


def _add(location: str, rows: pa.Table, now: int) -> Mapping[str, Any]:
    name = f"part-{uuid.uuid4().hex}.snappy.parquet"
    size = _write(Path(location, name), rows)
    return {
        "add": {
            "path": name,
            "partitionValues": {},
            "size": size,
            "modificationTime": now,
            "dataChange": True,
            "stats": json.dumps(statistics(rows)),
        }
    }


def remove(file: File, now: int) -> Mapping[str, Any]:
    """The action that takes a file away."""
    return {
        "remove": {
            "path": file.path,
            "deletionTimestamp": now,
            "dataChange": True,
            "extendedFileMetadata": True,
            "partitionValues": {},
            "size": file.size,
        }
    }


def _change(location: str, rows: pa.Table) -> Mapping[str, Any]:
    name = f"{CHANGES}/cdc-{uuid.uuid4().hex}.snappy.parquet"
    Path(location, CHANGES).mkdir(exist_ok=True)
    size = _write(Path(location, name), rows)
    return {"cdc": {"path": name, "partitionValues": {}, "size": size, "dataChange": False}}


def put(table: DeltaTable, location: str, actions: Sequence[Mapping[str, Any]]) -> None:
    """Commit on the version that the table was opened at, or not at all.

    Raises:
        Taken: another process has committed it.
        OSError: the entry cannot be written; nothing was committed.
    """
    version = table.version() + 1
    name = Path(location, "_delta_log", f"{version:020d}.json")
    beside = name.with_name(f".{name.name}.{uuid.uuid4().hex}")
    try:
        beside.write_text("".join(json.dumps(action) + "\n" for action in actions))
        _sync(beside)
        os.link(beside, name)  # fails when the name is taken, unlike rename
    except FileExistsError:
        raise Taken(f"Version {version} of {location} is there already.") from None
    finally:
        beside.unlink(missing_ok=True)
    every = int(table.metadata().configuration.get("delta.checkpointInterval", _CHECKPOINT_EVERY))
    if version % every == 0:
        _checkpoint(table)


def _checkpoint(table: DeltaTable) -> None:
    """A checkpoint only makes reading faster: a commit without it stands all the same."""
    try:
        table.update_incremental()
        table.create_checkpoint()
        if str(table.metadata().configuration.get("delta.enableExpiredLogCleanup", "true")).lower() == "true":
            table.cleanup_metadata()
    except Exception as error:  # noqa: BLE001  whatever it is, the commit is there
        log.warning("no checkpoint of version %d of %s: %s", table.version(), table.table_uri, error)


def statistics(rows: pa.Table) -> Mapping[str, Any]:
    """What lets readers pass a file over: how many rows, and bounds of the columns that have exact ones in JSON."""
    least, most, nulls = {}, {}, {}
    for name in rows.column_names[:_COLUMNS_WITH_STATISTICS]:
        column = rows[name]
        if pa.types.is_nested(column.type):
            continue
        nulls[name] = column.null_count
        bounds = _bounds(column)
        if bounds is not None:
            least[name], most[name] = bounds
    return {"numRecords": rows.num_rows, "minValues": least, "maxValues": most, "nullCount": nulls}


def _bounds(column: pa.ChunkedArray) -> tuple[Any, Any] | None:
    kind = column.type
    known = pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_timestamp(kind)
    if column.null_count == len(column) or not (known or pa.types.is_date32(kind)):
        return None
    found = pc.min_max(column.cast(pa.int64()) if pa.types.is_timestamp(kind) else column)
    try:
        least, most = found["min"].as_py(), found["max"].as_py()
        bounds = (_text(least, kind), _text(most, kind))
    except (ValueError, OverflowError):  # a time before the year 1 or after 9999
        return None
    long = isinstance(least, str) and max(len(least), len(most)) > _LONGEST_TEXT
    return None if long else bounds


def _text(value: Any, kind: pa.DataType) -> Any:
    """A bound as JSON has it."""
    if pa.types.is_timestamp(kind):
        seconds, micros = divmod(value, 1_000_000)
        at = datetime.fromtimestamp(seconds, UTC).replace(microsecond=micros)
        zone = "" if kind.tz is None else "Z"
        return f"{at.year:04d}-{at:%m-%dT%H:%M:%S}.{micros:06d}{zone}"
    return value.isoformat() if isinstance(value, date) else value


def _write(path: Path, rows: pa.Table) -> int:
    """Write a Parquet file as all readers of Delta take it; returns its size."""
    pq.write_table(rows, path, compression="snappy", store_schema=False)
    _sync(path)
    return path.stat().st_size


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
