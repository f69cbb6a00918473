"""A snapshot on disk, and looking up keys in it. Read by memory mapping, so all processes of a host share its pages.

    snapshots/<table id>-<version>/
        snapshot.json       what it holds; written last
        base-00000.arrow    rows by the top bits of their key's hash, sorted by hash; column 0 is the hash
        overlay.arrow       rows changed since the base was built, the same way; column 1 says whether the key lives on

Runs in Spark's Python workers, too: imports numpy and pyarrow only.
"""

import json
import mmap
import os
import weakref
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from include.cache.keys import Flags, Rows, Words, indices, integers, key_hashes, present, same_keys, truths

META = "snapshot.json"
OVERLAY = "overlay.arrow"
HASH_BITS = 64
# What the partners of rows that are looked up at once take: of the mean width, and if all were of the greatest.
ROWS_BYTES = 64 << 20
MOST_BYTES = 256 << 20


@dataclass(frozen=True)
class SnapshotMeta:
    """What a snapshot holds.

    `fields` are the fields of its columns as the table's Delta schema has them, in JSON. `base_rows` and
    `overlay_rows` count stored rows, `rows` is what the table version has without those whose key holds a NULL.
    `made` says how it came to be, `made_at` when (seconds since 1970), `seconds` how long that took. `widest` are the
    most bytes that a row takes.
    """

    table_id: str
    version: int
    keys: tuple[str, ...]
    fields: str
    partitions: int
    base_rows: int
    overlay_rows: int
    rows: int
    bytes: int
    made: str
    made_at: float
    seconds: float
    widest: int = 0  # of snapshots that were made before it was known

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of all columns, in the order they are stored."""
        return tuple(field["name"] for field in json.loads(self.fields))


def partition_file(folder: Path, partition: int) -> Path:
    """Where a partition of the base lies."""
    return folder / f"base-{partition:05d}.arrow"


def partition_of(hashes: Words, partitions: int) -> Rows:
    """The partition of each hash, by its top bits; `partitions` is a power of two."""
    bits = partitions.bit_length() - 1
    if bits == 0:
        return np.zeros(len(hashes), dtype=np.int64)
    return (hashes >> np.uint64(HASH_BITS - bits)).astype(np.int64)


def read_meta(folder: Path) -> SnapshotMeta:
    """What the snapshot in `folder` says about itself.

    Raises:
        OSError: there is none.
    """
    document = json.loads((folder / META).read_text())
    return SnapshotMeta(**{**document, "keys": tuple(document["keys"])})


def write_meta(folder: Path, meta: SnapshotMeta) -> None:
    """Say what the snapshot holds."""
    (folder / META).write_text(json.dumps(asdict(meta), indent=2) + "\n")


class MappedFile:
    """A file mapped into memory for reading, whose pages can be given back."""

    def __init__(self, file: Path) -> None:
        self._descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        self._closing = weakref.finalize(self, os.close, self._descriptor)
        self.mapped = mmap.mmap(self._descriptor, 0, access=mmap.ACCESS_READ)

    def give_back(self) -> None:
        """Let go of the pages read so far, in this process and, where no other has them mapped, in the page cache."""
        self.mapped.madvise(mmap.MADV_DONTNEED)
        os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


class SortedRows:
    """One memory-mapped file of rows that are sorted by hash."""

    def __init__(self, file: Path, extra: int) -> None:
        self._pages = MappedFile(file)
        table = pa.ipc.open_file(pa.BufferReader(pa.py_buffer(self._pages.mapped))).read_all()
        batches = table.to_batches()
        batch = batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)
        self.hashes: Words = integers(batch.column(0))
        self.extra = [batch.column(index) for index in range(1, 1 + extra)]
        self.columns = batch.columns[1 + extra :]

    def give_back(self) -> None:
        """Keep no page of it in memory."""
        self._pages.give_back()

    def find(self, hashes: Words, keys: Sequence[pa.Array], rows: Rows, key_columns: Sequence[int]) -> Rows:
        """For each of `rows` of `keys` the place of its equal here, -1 where there is none.

        `hashes` are those of `rows`. Keys are unique here; unequal keys of one hash are stepped over.
        """
        found = np.full(len(rows), -1, dtype=np.int64)
        if not len(self.hashes):
            return found
        mine = [self.columns[index] for index in key_columns]
        places = np.searchsorted(self.hashes, hashes)
        open_rows = np.arange(len(rows))
        while len(open_rows):
            inside = places < len(self.hashes)
            inside[inside] &= self.hashes[places[inside]] == hashes[open_rows[inside]]
            open_rows, places = open_rows[inside], places[inside]
            equal = same_keys(keys, rows[open_rows], mine, places)
            found[open_rows[equal]] = places[equal]
            open_rows, places = open_rows[~equal], places[~equal] + 1
        return found


@dataclass(frozen=True)
class Matches:
    """Which rows of a batch have a partner, and the wanted columns of the partners: NULL where there is none."""

    matched: Flags
    columns: list[pa.Array]


class Snapshot:
    """An open snapshot. It stays readable when its folder is removed meanwhile."""

    def __init__(self, folder: Path) -> None:
        self.meta = read_meta(folder)
        names = self.meta.columns
        self.key_columns = [names.index(key) for key in self.meta.keys]
        self._base = [SortedRows(partition_file(folder, number), 0) for number in range(self.meta.partitions)]
        self.overlay = SortedRows(folder / OVERLAY, 1) if self.meta.overlay_rows else None

    @property
    def rows_at_once(self) -> int:
        """How many rows' partners fit well into a worker's memory, and into an Arrow column of texts."""
        stored = max(1, self.meta.base_rows + self.meta.overlay_rows)
        usual, widest = ROWS_BYTES * stored // max(1, self.meta.bytes), MOST_BYTES // max(1, self.meta.widest)
        return max(1, min(usual, widest))

    def give_back(self) -> None:
        """Keep no page of it in memory: what is looked up next is read from the disk again."""
        for part in (*self._base, *(() if self.overlay is None else (self.overlay,))):
            part.give_back()

    def look_up(self, keys: Sequence[pa.Array], columns: Sequence[str]) -> Matches:
        """The partners of a batch's keys, which come in the order of the snapshot's keys and are of their families."""
        wanted = [self.meta.columns.index(name) for name in columns]
        hashes = key_hashes(keys)
        rows = np.flatnonzero(present(keys))
        origin = np.full(len(hashes), -1, dtype=np.int64)  # which part holds the partner
        place = np.full(len(hashes), -1, dtype=np.int64)
        parts: list[SortedRows] = list(self._base)
        if self.overlay is not None:
            rows = self._from_overlay(hashes, keys, rows, origin, place)
            parts.append(self.overlay)
        partition = partition_of(hashes[rows], self.meta.partitions)
        for number in np.unique(partition):
            here = rows[partition == number]
            found = parts[number].find(hashes[here], keys, here, self.key_columns)
            origin[here] = np.where(found >= 0, number, -1)
            place[here] = found
        return Matches(origin >= 0, [_gathered(parts, origin, place, column) for column in wanted])

    def _from_overlay(self, hashes: Words, keys: Sequence[pa.Array], rows: Rows, origin: Rows, place: Rows) -> Rows:
        """Answer what the overlay knows, changed or deleted; returns the rows it knows nothing of."""
        overlay = self.overlay
        if overlay is None:
            return rows
        found = overlay.find(hashes[rows], keys, rows, self.key_columns)
        known = found >= 0
        alive = known.copy()
        alive[known] = truths(overlay.extra[0].take(indices(found[known])))
        origin[rows[alive]] = len(self._base)
        place[rows[alive]] = found[alive]
        return rows[~known]


def _gathered(parts: Sequence[SortedRows], origin: Rows, place: Rows, column: int) -> pa.Array:
    """One column of the partners, in the order of the batch."""
    if len(parts) == 1:
        return parts[0].columns[column].take(indices(place, origin >= 0))
    used = [number for number in range(len(parts)) if (origin == number).any()]
    if not used:
        return pa.nulls(len(origin), parts[0].columns[column].type)
    taken = [parts[number].columns[column].take(indices(place[origin == number])) for number in used]
    order = np.concatenate([np.flatnonzero(origin == number) for number in used])
    back = np.full(len(origin), -1, dtype=np.int64)
    back[order] = np.arange(len(order))
    return pa.concat_arrays(taken).take(indices(back, back >= 0))
