"""Making the snapshot of a table version, however it can be had cheapest.

An older version of the same table has one: the log is read. No data changed: it is linked. Few rows changed: their
difference is laid over it. Else the table is read, once.
"""

import shutil
import time
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from include.cache.build import BaseBuilder, plain_type
from include.cache.commits import CHANGE_FEED, COLUMN_MAPPING, Commits, read_commits
from include.cache.difference import Difference, NotExact, added_to_feed, from_feed, from_files
from include.cache.dimension import TableVersion, check_keys, fields_of
from include.cache.errors import CannotCache
from include.cache.exact import inexact_times, rows_of
from include.cache.figures import CacheFigures
from include.cache.julian import shifted_file
from include.cache.overlay import MAX_SHARE, link_base, write_overlay
from include.cache.snapshot import OVERLAY, Snapshot, SnapshotMeta
from include.cache.store import SnapshotStore
from include.cache.versions import open_version, unread
from include.config.errors import StorageError

# Parquet on disk against Arrow in memory, about.
_ARROW_RATIO = 2
# With less than this, files are read one after the other.
BUILD_IS_EASY_WITH = 2 << 30
# What a build may hold in memory, of what is free.
_BUILD_SHARE = 0.25
# Changes are laid over in memory: their rows are there some times, those of the old overlay, too. Where that takes more
# than this part of what is free, the table is read again, in bounded memory.
_CHANGES_SHARE = 0.5
_CHANGE_COPIES = 4
# Above this part of the table's bytes a rebuild reads less than the old and the new files.
_MAX_FILE_SHARE = 0.5


class SnapshotMaker:
    """Makes the snapshots of a store, and counts in the run's figures what it did."""

    def __init__(self, store: SnapshotStore, figures: CacheFigures) -> None:
        self._store = store
        self._dimension = store.dimension
        self._figures = figures

    def make(self, version: TableVersion, free: int) -> None:
        """Make the snapshot of a version, in part of the `free` bytes of memory. Call it under `building`.

        Raises:
            CannotCache, DuplicateKeys, NoSuchColumn: the table cannot be cached by these keys.
            VersionGone: this version is no longer there to be read.
            StorageError: the table or the snapshot's folder failed.
        """
        started = time.monotonic()
        table = open_version(self._dimension.root, version)
        fields = fields_of(table.schema().to_json(), self._dimension.stored, self._dimension.table)
        made: list[str] = []

        def write(folder: Path) -> SnapshotMeta:
            older = self._from_older(table, version, fields, folder, free)
            meta = older or self._rebuilt(table, version, fields, folder, free)
            made.append(meta.made)
            size = sum(file.stat().st_size for file in folder.iterdir())
            return replace(meta, bytes=size, made_at=time.time(), seconds=round(time.monotonic() - started, 3))

        meta = self._store.add(version, write)
        self._figures.note_made(meta)

    def _from_older(
        self, table: DeltaTable, version: TableVersion, fields: str, folder: Path, free: int
    ) -> SnapshotMeta | None:
        """The snapshot from the newest older one of the same table; None where it must be rebuilt."""
        older = [m for m in self._store.metas() if m.table_id == version.table_id and m.version < version.version]
        if not older:
            return None
        old = older[-1]
        lease = self._store.take(TableVersion(old.table_id, old.version))
        if lease is None:
            return None
        with lease:
            self._figures.stale_hits_avoided += 1
            commits = read_commits(self._dimension.root, old.table_id, old.version, version.version, old.fields)
            if commits.unreadable or commits.schema_changed or old.fields != fields:
                self._figures.note_rebuild(commits.unreadable or "the dimension's schema changed")
                return None
            try:
                return self._changed(table, commits, lease.folder, folder, free)
            except (NotExact, DeltaError, OSError, pa.ArrowException) as error:
                self._figures.note_rebuild(str(error))
                for file in folder.glob("*.arrow"):
                    file.unlink()
                return None

    def _changed(self, table: DeltaTable, commits: Commits, old_folder: Path, folder: Path, free: int) -> SnapshotMeta:
        old = Snapshot(old_folder)
        link_base(old_folder, folder, old.meta.partitions)
        if not commits.data_changed:
            if old.meta.overlay_rows:
                (folder / OVERLAY).hardlink_to(old_folder / OVERLAY)
            return replace(old.meta, version=table.version(), made="linked")
        schema = self._schema(table)
        if path := shifted_file(table, schema, commits.added):
            raise NotExact(f"Spark shifts the old dates of {path}")
        by = self._dimension.latest_by
        if by is not None and (commits.removed or commits.odd_files):
            raise NotExact("rows were taken away, and earlier ones of their keys may be the latest again")
        _refuse_large_changes(commits, old_folder, free)
        difference, source = _difference(table, commits, old, schema, by)
        meta = write_overlay(old, difference, folder, schema)
        if meta.overlay_rows > max(MAX_SHARE * meta.base_rows, 1):
            raise NotExact(f"{meta.overlay_rows} of {meta.base_rows} rows have changed since the base was built")
        return replace(meta, version=table.version(), made=source)

    def _schema(self, table: DeltaTable) -> pa.Schema:
        names = self._dimension.stored
        scanned = pa.schema(table.schema().to_arrow())
        fields = [scanned.field(name) for name in names]
        return pa.schema([pa.field(field.name, plain_type(field.type)) for field in fields])

    def _rebuilt(self, table: DeltaTable, version: TableVersion, fields: str, folder: Path, free: int) -> SnapshotMeta:
        schema = self._schema(table)
        keys = self._dimension.keys
        by = self._dimension.latest_by
        check_keys(schema, keys if by is None else (*keys, by), self._dimension.table)
        if path := shifted_file(table, schema):
            raise CannotCache(
                f"The file {path} of {self._dimension.table} has dates before 1900 in the calendar of Spark 2, which "
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
            raise unread(self._dimension, version, error) from error
        built = builder.finish()
        self._figures.table_reads += 1
        self._figures.table_bytes += stored
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

    def _refuse_full_disk(self, folder: Path, needed: int) -> None:
        """Before the table is read; a snapshot takes at least what its table does."""
        free = shutil.disk_usage(folder).free
        if free < needed:
            raise StorageError(
                f"The snapshot of {self._dimension.table} needs more than {needed >> 20} MiB, and {free >> 20} MiB are "
                "free on that disk.",
                remedy="Free some, or set SLUICE_HOME to a larger disk; until then it is joined without its cache.",
                location=str(folder),
            )


def _refuse_large_changes(commits: Commits, old: Path, free: int) -> None:
    """Raise `NotExact` where the changes do not fit well into memory."""
    overlay = old / OVERLAY
    standing = overlay.stat().st_size if overlay.exists() else 0
    needed = _CHANGE_COPIES * (standing + _ARROW_RATIO * max(commits.feed_bytes, commits.bytes))
    if needed > _CHANGES_SHARE * free:
        raise NotExact(f"the changes take about {needed >> 20} MiB of memory, and {free >> 20} MiB are left")


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
