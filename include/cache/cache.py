"""The cache of one dimension: give me the snapshot of this table version, however it can be had cheapest.

1. It is there: held, nothing is read.
2. An older version of the same table is there: the log is read. No data changed: it is linked. Few rows changed: their
   difference is laid over it.
3. Else the table is read, once.
"""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from include.cache.build import BaseBuilder, plain_type
from include.cache.commits import CHANGE_FEED, COLUMN_MAPPING, Commits, read_commits
from include.cache.difference import Difference, NotExact, added_to_feed, from_feed, from_files
from include.cache.dimension import (
    Dimension,
    NoSuchColumn,
    TableVersion,
    check_keys,
    current_version,
    fields_of,
)
from include.cache.errors import CannotCache
from include.cache.exact import inexact_times, rows_of
from include.cache.figures import CacheFigures
from include.cache.julian import shifted_file
from include.cache.leases import Lease
from include.cache.memory import Memory, measure
from include.cache.overlay import MAX_SHARE, link_base, write_overlay
from include.cache.snapshot import Snapshot, SnapshotMeta
from include.cache.store import SnapshotStore, remove_idle
from include.cache.versions import VersionGone, open_version, unread
from include.config.errors import StorageError
from include.ledger.tables import storage_errors

# Parquet on disk against Arrow in memory, for the size of partitions only.
_ARROW_RATIO = 2
# Below this free part of all memory look-ups keep no page of a snapshot: others need the page cache more.
MIN_FREE_SHARE = 0.05
# Bytes. With less than the first the Python workers that look keys up are in danger themselves, with less than the
# second the reader of the table, whatever its builder may hold: there Spark joins, which spills to the disk.
LOOK_UP_NEEDS = 64 << 20
BUILD_NEEDS = 384 << 20
# With less than this, files are read one after the other.
BUILD_IS_EASY_WITH = 2 << 30
# What a build may hold in memory, of what is free.
_BUILD_SHARE = 0.25
# Above this part of the table's bytes a rebuild reads less than the old and the new files.
_MAX_FILE_SHARE = 0.5


class MemoryPressure(Exception):
    """Raised when the host has too little memory left for the cache; the text has the figures."""


@dataclass(frozen=True)
class Held:
    """A snapshot that stays while the lease is open."""

    lease: Lease
    meta: SnapshotMeta

    @property
    def folder(self) -> Path:
        """Where its files are."""
        return self.lease.folder


class DimensionCache:
    """The snapshots of a dimension for one run, and the figures of that run."""

    def __init__(self, home: Path, dimension: Dimension, memory: Callable[[], Memory] = measure) -> None:
        self.dimension = dimension
        self.figures = CacheFigures(table=dimension.table)
        self.frugal = False  # memory was short when it was last looked at: look-ups are to give their pages back
        self._home = home
        self._store = SnapshotStore.of(home, dimension)
        self._memory = memory

    def newest(self) -> TableVersion | None:
        """The version to pin now, from the log; None while there is no such table."""
        self.figures.version_checks += 1
        return current_version(self.dimension.root)

    def note_use(self) -> None:
        """Remember that a run joins with this dimension: the adaptive refresh makes snapshots before the next use.

        Raises:
            StorageError: the snapshot's folder failed.
        """
        with storage_errors("Noting a use", str(self._store.folder)):
            self._store.note_use()

    def hold(self, version: TableVersion) -> Held:
        """The snapshot of exactly this version, made now if it has to be.

        Raises:
            MemoryPressure: the host has no memory for it now.
            CannotCache, DuplicateKeys, NoSuchColumn: the table cannot be cached by these keys.
            VersionGone: this version is no longer there to be read.
            StorageError: the table or the snapshot's folder failed.
        """
        free = self._check_memory()
        held = self._held(version)
        if held is not None:
            self.figures.hits += 1
            self.figures.frugal += self.frugal
            return held
        self._leave_store_that_does_not_fit(version)
        with storage_errors("Making a snapshot", str(self._store.folder)), self._store.building():
            held = self._held(version)  # another process may have made it meanwhile
            if held is None:
                self.figures.misses += 1
                self._refuse_less_than(BUILD_NEEDS, free, "a snapshot is made")
                self._make(version, free)
                held = self._held(version)
                newest = current_version(self.dimension.root)
                self._store.remove_unused(keep=version if newest is None else _newer(version, newest))
                remove_idle(self._home)
        if held is None:
            raise VersionGone(f"The snapshot {version.folder_name} vanished.", remedy="Who deletes files there?")
        self.figures.frugal += self.frugal
        return held

    def keep_using(self, held: Held) -> None:
        """Count another batch that is served by a snapshot this run holds already.

        Raises:
            MemoryPressure: the host has no memory for it now.
        """
        self._check_memory()
        self.figures.hits += 1
        self.figures.frugal += self.frugal
        held.lease.touch()

    def _leave_store_that_does_not_fit(self, version: TableVersion) -> None:
        """Take a store of its own where the standing one has further columns, which this version has not."""
        theirs = self._store.dimension
        if set(theirs.stored) == set(self.dimension.stored):
            return
        schema = open_version(self.dimension.root, version).schema().to_json()
        try:
            fields_of(schema, theirs.stored, self.dimension.table)
        except (NoSuchColumn, CannotCache):
            self._store = SnapshotStore.own(self._home, self.dimension)

    def _held(self, version: TableVersion) -> Held | None:
        lease = self._store.take(version)
        if lease is None:
            return None
        try:
            return Held(lease, Snapshot(lease.folder).meta)
        except (OSError, ValueError, KeyError) as error:  # Arrow's errors are ValueErrors
            lease.close()
            self.figures.note_rebuild(f"the snapshot {lease.folder.name} was damaged: {error}")
            return None

    def _check_memory(self) -> Memory:
        memory = self._memory()
        self.frugal = memory.free_share < MIN_FREE_SHARE
        self.figures.pressure += self.frugal
        self._refuse_less_than(LOOK_UP_NEEDS, memory, "keys are looked up")
        return memory

    def _refuse_less_than(self, needed: int, memory: Memory, what: str) -> None:
        if memory.available < needed:
            raise MemoryPressure(
                f"{memory.available >> 20} MiB of {memory.total >> 20} MiB of memory are left, less than "
                f"{needed >> 20} MiB, with which {what}"
            )

    def _refuse_full_disk(self, folder: Path, needed: int) -> None:
        """Before the table is read; a snapshot takes at least what its table does."""
        free = shutil.disk_usage(folder).free
        if free < needed:
            raise StorageError(
                f"The snapshot of {self.dimension.table} needs more than {needed >> 20} MiB, and {free >> 20} MiB are "
                "free on that disk.",
                remedy="Free some, or set SLUICE_HOME to a larger disk; until then it is joined without its cache.",
                location=str(folder),
            )

    def _make(self, version: TableVersion, free: Memory) -> None:
        started = time.monotonic()
        table = open_version(self.dimension.root, version)
        fields = fields_of(table.schema().to_json(), self._store.dimension.stored, self.dimension.table)
        made: list[str] = []

        def write(folder: Path) -> SnapshotMeta:
            meta = self._from_older(table, version, fields, folder) or self._rebuilt(
                table, version, fields, folder, free.available
            )
            made.append(meta.made)
            size = sum(file.stat().st_size for file in folder.iterdir())
            return replace(meta, bytes=size, made_at=time.time(), seconds=round(time.monotonic() - started, 3))

        meta = self._store.add(version, write)
        self.figures.note_made(meta)

    def _from_older(self, table: DeltaTable, version: TableVersion, fields: str, folder: Path) -> SnapshotMeta | None:
        """The snapshot from the newest older one of the same table; None where it must be rebuilt."""
        older = [m for m in self._store.metas() if m.table_id == version.table_id and m.version < version.version]
        if not older:
            return None
        old = older[-1]
        lease = self._store.take(TableVersion(old.table_id, old.version))
        if lease is None:
            return None
        with lease:
            self.figures.stale_hits_avoided += 1
            commits = read_commits(self.dimension.root, old.table_id, old.version, version.version, old.fields)
            if commits.unreadable or commits.schema_changed or old.fields != fields:
                self.figures.note_rebuild(commits.unreadable or "the dimension's schema changed")
                return None
            try:
                return self._changed(table, commits, lease.folder, folder)
            except (NotExact, DeltaError, OSError, pa.ArrowException) as error:
                self.figures.note_rebuild(str(error))
                for file in folder.glob("*.arrow"):
                    file.unlink()
                return None

    def _changed(self, table: DeltaTable, commits: Commits, old_folder: Path, folder: Path) -> SnapshotMeta:
        old = Snapshot(old_folder)
        link_base(old_folder, folder, old.meta.partitions)
        if not commits.data_changed:
            if old.meta.overlay_rows:
                (folder / "overlay.arrow").hardlink_to(old_folder / "overlay.arrow")
            return replace(old.meta, version=table.version(), made="linked")
        schema = self._schema(table)
        if path := shifted_file(table, schema, commits.added):
            raise NotExact(f"Spark shifts the old dates of {path}")
        by = self._store.dimension.latest_by
        if by is not None and (commits.removed or commits.odd_files):
            raise NotExact("rows were taken away, and earlier ones of their keys may be the latest again")
        difference, source = _difference(table, commits, old, schema, by)
        meta = write_overlay(old, difference, folder, schema)
        if meta.overlay_rows > max(MAX_SHARE * meta.base_rows, 1):
            raise NotExact(f"{meta.overlay_rows} of {meta.base_rows} rows have changed since the base was built")
        return replace(meta, version=table.version(), made=source)

    def _schema(self, table: DeltaTable) -> pa.Schema:
        names = self._store.dimension.stored
        scanned = pa.schema(table.schema().to_arrow())
        fields = [scanned.field(name) for name in names]
        return pa.schema([pa.field(field.name, plain_type(field.type)) for field in fields])

    def _rebuilt(self, table: DeltaTable, version: TableVersion, fields: str, folder: Path, free: int) -> SnapshotMeta:
        schema = self._schema(table)
        keys = self._store.dimension.keys
        by = self._store.dimension.latest_by
        check_keys(schema, keys if by is None else (*keys, by), self.dimension.table)
        if path := shifted_file(table, schema):
            raise CannotCache(
                f"The file {path} of {self.dimension.table} has dates before 1900 in the calendar of Spark 2, which "
                "only Spark reads right.",
                remedy="Write the table anew with the Spark of today, or leave `cached` out.",
            )
        stored = sum(pa.table(table.get_add_actions())["size_bytes"].to_pylist())
        self._refuse_full_disk(folder, stored)
        builder = BaseBuilder(folder, schema, keys, stored * _ARROW_RATIO, max(1 << 20, int(free * _BUILD_SHARE)), by)
        try:
            for batch in rows_of(table, schema.names, frugal=free < BUILD_IS_EASY_WITH):
                builder.add(batch)
        except (pa.ArrowException, DeltaError) as error:  # Arrow's, where a data file is gone or damaged
            raise unread(self.dimension, version, error) from error
        built = builder.finish()
        self.figures.table_reads += 1
        self.figures.table_bytes += stored
        return SnapshotMeta(
            table_id=version.table_id,
            version=version.version,
            keys=keys,
            fields=fields,
            partitions=built.partitions,
            base_rows=built.rows,
            overlay_rows=0,
            rows=built.rows,
            bytes=built.bytes,
            made="rebuilt",
            made_at=0.0,
            seconds=0.0,
            widest=built.widest,
        )


def _difference(
    table: DeltaTable, commits: Commits, old: Snapshot, schema: pa.Schema, by: str | None
) -> tuple[Difference, str]:
    configuration = table.metadata().configuration
    table_root = table.table_uri.removeprefix("file://")
    feed = str(configuration.get(CHANGE_FEED)).lower() == "true" and commits.feed_exact and not commits.metadata_changed
    if feed and not inexact_times(table_root, commits.added, schema):
        return (from_feed(table, old, schema) if by is None else added_to_feed(table, old, schema, by)), "change feed"
    if commits.odd_files or configuration.get(COLUMN_MAPPING, "none") != "none":
        raise NotExact("the changed files have deletion vectors or mapped columns, and there is no change feed")
    whole = sum(pa.table(table.get_add_actions())["size_bytes"].to_pylist())
    if commits.bytes > _MAX_FILE_SHARE * whole:
        raise NotExact("the changed files are most of the table")
    return from_files(table, commits, old, schema, by), "changed files"


def _newer(one: TableVersion, other: TableVersion) -> TableVersion:
    return one if one.table_id == other.table_id and one.version >= other.version else other
