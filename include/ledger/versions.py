"""File versions: the unit that is planned, loaded and accounted for. Arrow schemas and the two value objects."""

from dataclasses import dataclass
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

Action = Literal["append", "replace"]

TIMESTAMP = pa.timestamp("us", "UTC")

# What a listing knows about a file. The four columns are its identity: when any differs, it is another version.
IDENTITY = pa.schema([("path", pa.string()), ("size", pa.int64()), ("modified_at", TIMESTAMP), ("etag", pa.string())])

# A file as the ledger knows it: its latest version. Version 0 stands for "seen, but never planned".
KNOWN = IDENTITY.append(pa.field("version", pa.int32()))

# A file version that is to be loaded.
PLANNED = KNOWN.append(pa.field("action", pa.string()))


@dataclass(frozen=True)
class FileVersion:
    """One content of one file.

    `path` is the ledger's name of the file (Settings.file_uri makes it absolute), `size` is in bytes, `modified_at` in
    microseconds since the epoch, UTC. `etag` is the object store's, None on local disk. `action` says what its load
    does to the rows of the path's older versions: `append` leaves them, `replace` removes them in the same commit.
    """

    path: str
    version: int
    size: int
    modified_at: int
    etag: str | None
    action: Action


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


def file_versions(planned: pa.Table) -> tuple[FileVersion, ...]:
    """The rows of a table with (at least) the columns of `PLANNED`, in the table's order."""
    micros = planned.column("modified_at").cast(pa.int64()).to_pylist()
    columns = (planned.column(name).to_pylist() for name in ("path", "version", "size", "etag", "action"))
    return tuple(
        FileVersion(path=path, version=version, size=size, modified_at=modified_at, etag=etag, action=action)
        for path, version, size, etag, action, modified_at in zip(*columns, micros, strict=True)
    )


def total_size(files: pa.Table) -> int:
    """Bytes of all files of a table with a column `size`."""
    return pc.sum(files["size"]).as_py() or 0
