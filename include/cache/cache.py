"""The cache of one dimension: give me the snapshot of this table version, however it can be had cheapest.

It is there: held, nothing is read. Else it is made (include/cache/making.py), where there is memory for that.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from include.cache.dimension import Dimension, NoSuchColumn, TableVersion, current_version, fields_of
from include.cache.errors import CannotCache
from include.cache.figures import CacheFigures
from include.cache.leases import Lease
from include.cache.making import SnapshotMaker
from include.cache.memory import Memory, measure
from include.cache.snapshot import Snapshot, SnapshotMeta
from include.cache.store import SnapshotStore, remove_idle
from include.cache.versions import VersionGone, open_version
from include.ledger.tables import storage_errors

# Below this free part of all memory look-ups keep no page of a snapshot: others need the page cache more.
MIN_FREE_SHARE = 0.05
# Bytes. With less than the first the Python workers that look keys up are in danger themselves, with less than the
# second the reader of the table, whatever its builder may hold: there Spark joins, which spills to the disk.
LOOK_UP_NEEDS = 64 << 20
BUILD_NEEDS = 384 << 20


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
                SnapshotMaker(self._store, self.figures).make(version, free.available)
                held = self._held(version)
                self._store.remove_unused(keep=self._newest_standing(version))
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

    def _newest_standing(self, version: TableVersion) -> TableVersion:
        """Of the snapshots of the same table the newest, from which the next one is made."""
        standing = (meta.version for meta in self._store.metas() if meta.table_id == version.table_id)
        return replace(version, version=max(standing, default=version.version))

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
