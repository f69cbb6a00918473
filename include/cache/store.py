"""The snapshots of one dimension on this host: made whole or not at all, kept while somebody reads them.

<home>/cache/<dimension>/
    dimension.json    whose snapshots these are
    build.lock        held by the one process that makes a snapshot or removes some
    snapshots/<table id>-<version>/
"""

import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from include.cache.dimension import Dimension, TableVersion, local_folder
from include.cache.leases import LEASE, Lease, lease, only_one, unused
from include.cache.snapshot import META, SnapshotMeta, read_meta, write_meta
from include.config.errors import StorageError

BUILD_PATIENCE = 1800.0  # seconds to wait for another process that builds
MAX_USES = 200
IDLE_SECONDS = 30 * 86400.0  # after which a dimension that no run joins with, or refreshes, loses its snapshots
_HALF = ".half-"
_GONE = ".gone-"


class SnapshotStore:
    """Finds, adds and removes the snapshots of a dimension."""

    def __init__(self, folder: Path, dimension: Dimension) -> None:
        self.folder = folder
        self.dimension = dimension
        self._snapshots = folder / "snapshots"

    @staticmethod
    def of(home: Path, dimension: Dimension) -> "SnapshotStore":
        """The store that answers for a dimension: of those that hold its columns the most recent, else its own."""
        covering = [store for store in all_stores(home) if store.dimension.covers(dimension)]
        newest = max(covering, key=lambda store: (store.newest(), -len(store.dimension.stored)), default=None)
        return newest or SnapshotStore.own(home, dimension)

    @staticmethod
    def own(home: Path, dimension: Dimension) -> "SnapshotStore":
        """The store of exactly this dimension."""
        return SnapshotStore(local_folder(home) / dimension.folder_name, dimension)

    def newest(self) -> int:
        """The newest version that has a snapshot, -1 without one."""
        return max((meta.version for meta in self.metas()), default=-1)

    def note_use(self) -> None:
        """Remember that a run uses the dimension now."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "uses").open("a") as out:  # one short write at the end: whole, also beside others
            out.write(f"{time.time():.3f}\n")

    def uses(self) -> list[float]:
        """When runs used the dimension, oldest first; old ones are forgotten."""
        try:
            lines = (self.folder / "uses").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [float(line) for line in lines[-MAX_USES:]]

    def metas(self) -> list[SnapshotMeta]:
        """What the standing snapshots say about themselves, oldest version first."""
        found = []
        for folder in self._folders():
            try:
                found.append(read_meta(folder))
            except FileNotFoundError:
                continue  # removed since it was listed
        return sorted(found, key=lambda meta: meta.version)

    def take(self, version: TableVersion) -> Lease | None:
        """Hold the snapshot of a version; None where there is none."""
        return lease(self._snapshots / version.folder_name)

    def add(self, version: TableVersion, write: Callable[[Path], SnapshotMeta]) -> SnapshotMeta:
        """Make the snapshot of a version by letting `write` fill a folder. Call it under `building`."""
        half = self._snapshots / f"{_HALF}{uuid.uuid4().hex}"
        half.mkdir(parents=True)
        try:
            (half / LEASE).touch()
            meta = write(half)
            write_meta(half, meta)
            _to_disk(half)
            shutil.rmtree(self._snapshots / version.folder_name, ignore_errors=True)  # one that could not be opened
            half.rename(self._snapshots / version.folder_name)
        finally:
            shutil.rmtree(half, ignore_errors=True)
        return meta

    @contextmanager
    def building(self) -> Iterator[None]:
        """Be the only one that adds or removes; what a killed process left half done is cleared away.

        Raises:
            StorageError: another process has been at it for half an hour.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with only_one(self.folder / "build.lock", BUILD_PATIENCE):
            self._snapshots.mkdir(exist_ok=True)
            _write_whole(self.folder / "dimension.json", self.dimension.to_json())
            if len(uses := self.uses()) == MAX_USES:
                _write_whole(self.folder / "uses", "".join(f"{use:.3f}\n" for use in uses[MAX_USES // 2 :]))
            for left in self._snapshots.glob(".*"):
                shutil.rmtree(left)
            yield

    @property
    def last_active(self) -> float:
        """When a run last used it or made a snapshot of it."""
        return max([*self.uses()[-1:], *(meta.made_at for meta in self.metas())], default=0.0)

    def remove_unused(self, keep: TableVersion | None = None) -> int:
        """Remove all snapshots but `keep` that nobody holds; returns how many. Call it under `building`."""
        removed = 0
        for folder in self._folders():
            if keep is not None and folder.name == keep.folder_name:
                continue
            with unused(folder) as free:
                if free:
                    gone = folder.with_name(f"{_GONE}{uuid.uuid4().hex}")
                    folder.rename(gone)
                    shutil.rmtree(gone)
                    removed += 1
        return removed

    def _folders(self) -> list[Path]:
        if not self._snapshots.is_dir():
            return []
        return [folder for folder in self._snapshots.iterdir() if not folder.name.startswith(".")]


def all_stores(home: Path) -> list[SnapshotStore]:
    """Every store of this host."""
    files = sorted(local_folder(home).glob("*/dimension.json"))
    return [SnapshotStore(file.parent, Dimension.from_json(file.read_text())) for file in files]


def remove_idle(home: Path) -> int:
    """Remove the snapshots that nobody has used for long: of columns that no join takes any more; returns how many."""
    removed = 0
    for store in all_stores(home):
        if any(store.metas()) and time.time() - store.last_active > IDLE_SECONDS:
            with suppress(StorageError), only_one(store.folder / "build.lock", patience=0.0):  # else it is not idle
                removed += store.remove_unused()
    return removed


def _to_disk(folder: Path) -> None:
    """After a power cut a folder that has its name must have its content, too."""
    for file in folder.iterdir():
        if file.stat().st_nlink > 1 and file.name != META:
            continue  # a shared base file: synced when it was made
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _write_whole(file: Path, text: str) -> None:
    beside = file.with_name(f".{file.name}.{uuid.uuid4().hex}")
    beside.write_text(text)
    beside.replace(file)
