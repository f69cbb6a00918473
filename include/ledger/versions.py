"""File versions: the unit that is planned, loaded and accounted for. Arrow schemas and the two value objects."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
from arro3.core import Array

Action = Literal["append", "replace"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

TIMESTAMP = pa.timestamp("us", "UTC")

# What a listing knows about a file. The four columns are its identity: when any differs, it is another version.
IDENTITY = pa.schema([("path", pa.string()), ("size", pa.int64()), ("modified_at", TIMESTAMP), ("etag", pa.string())])

_VERSION = pa.field("version", pa.int32())

# The lowest version whose rows go when this one is loaded; null where none go.
_REPLACES = pa.field("replaces", pa.int32())

# A file version as the ledger knows it. Version 0, of batch 0, stands for "seen, but never planned".
KNOWN = pa.schema([*IDENTITY, _VERSION, pa.field("batch", pa.int64()), _REPLACES])

# A file version that is to be loaded.
PLANNED = pa.schema([*IDENTITY, _VERSION, pa.field("action", pa.string()), _REPLACES])


@dataclass(frozen=True)
class FileVersion:
    """One content of one file.

    `path` is the ledger's name of the file (Settings.file_uri makes it absolute), `size` is in bytes, `modified_at` in
    microseconds since the epoch, UTC. `etag` is the object store's, None on local disk. `action` says what its load
    does to the rows of the path's older versions: `append` leaves them, `replace` removes those from version
    `replaces` on in the same commit.
    """

    path: str
    version: int
    size: int
    modified_at: int
    etag: str | None
    action: Action
    replaces: int | None = None


@dataclass(frozen=True)
class PlannedBatch:
    """The files of one planned micro-batch: one commit of the target, with `batch` as its transaction version.

    `planned_at` (microseconds since the epoch) is the batch's time in the target: the same at every replay.
    """

    batch: int
    files: tuple[FileVersion, ...]
    planned_at: int

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(file.size for file in self.files)


def micros(moment: datetime) -> int:
    """Microseconds since the epoch; a time without a zone is UTC."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - EPOCH) // timedelta(microseconds=1)


def column(values: Sequence[object], kind: pa.DataType) -> pa.Array:
    """Python values as an Arrow column; timestamps are given in microseconds since the epoch.

    What `pa.array` does, without its look at pandas: importing that costs more CPU than a whole run with nothing new.
    """
    stored = pa.int64() if pa.types.is_timestamp(kind) else kind
    return pa.array(Array(values, stored)).cast(kind)


def table(columns: Sequence[Sequence[object]], schema: pa.Schema) -> pa.Table:
    """Python columns as an Arrow table, see `column`."""
    arrays = [column(values, field.type) for values, field in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def empty(schema: pa.Schema) -> pa.Table:
    """No rows (`Schema.empty_table` would import pandas)."""
    return pa.Table.from_batches([], schema)


def never_planned(files: pa.Table) -> pa.Table:
    """Files (IDENTITY) as known files (KNOWN) without a version yet."""
    for field in (KNOWN.field("version"), KNOWN.field("batch")):
        files = files.append_column(field, column([0] * files.num_rows, field.type))
    return files.append_column(_REPLACES, column([None] * files.num_rows, _REPLACES.type))


def file_versions(planned: pa.Table) -> tuple[FileVersion, ...]:
    """The rows of a table with (at least) the columns of `PLANNED`, in the table's order."""
    times = planned.column("modified_at").cast(pa.int64()).to_pylist()
    columns = (planned.column(name).to_pylist() for name in ("path", "version", "size", "etag", "action", "replaces"))
    return tuple(
        FileVersion(path, version, size, modified_at, etag, action, replaces)
        for path, version, size, etag, action, replaces, modified_at in zip(*columns, times, strict=True)
    )


def total_size(files: pa.Table) -> int:
    """Bytes of all files of a table with a column `size`."""
    return pc.sum(files["size"]).as_py() or 0
