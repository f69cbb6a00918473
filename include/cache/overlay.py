"""A new snapshot from an old one and the rows that differ: the base is shared by hard links, the rest is an overlay."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from include.cache.build import HASH_FIELD, write_sorted
from include.cache.difference import Difference
from include.cache.keys import key_hashes
from include.cache.snapshot import OVERLAY, Snapshot, SnapshotMeta, partition_file

# Above this share of the base a rebuild makes look-ups cheaper again.
MAX_SHARE = 0.2
_LIVE_FIELD = pa.field("live", pa.bool_(), nullable=False)


def link_base(old: Path, new: Path, partitions: int) -> None:
    """Give the new snapshot the base files of the old one. They are never written again, so sharing them is safe."""
    for number in range(partitions):
        os.link(partition_file(old, number), partition_file(new, number))


def write_overlay(old: Snapshot, difference: Difference, folder: Path, schema: pa.Schema) -> SnapshotMeta:
    """Write the old overlay with `difference` laid over it; returns what the snapshot holds then.

    Raises:
        DuplicateKeys: the difference has a key twice, which is a defect of what made it.
    """
    keys = old.meta.keys
    rows, gone = difference.rows, difference.gone
    touched = pa.concat_tables([rows.select(keys), gone.select(keys)]).combine_chunks()
    columns = [_array(touched[key]) for key in keys]
    hashes = key_hashes(columns)
    replaced = int(old.look_up(columns, ()).matched.sum())
    fields = pa.schema([HASH_FIELD, _LIVE_FIELD, *(field.with_nullable(True) for field in schema)])
    names = [f"c{index}" for index in range(len(fields))]  # the hash may be named as a column is
    tombstones = [gone[field.name] if field.name in keys else pa.nulls(len(gone), field.type) for field in schema]
    parts = [
        pa.table([pa.array(hashes[: len(rows)]), _flags(len(rows), value=True), *rows.columns], names),
        pa.table([pa.array(hashes[len(rows) :]), _flags(len(gone), value=False), *tombstones], names),
        *_kept(old, columns, names),
    ]
    overlay = pa.concat_tables(parts).combine_chunks()
    stored = pa.Table.from_arrays(overlay.columns, schema=fields)
    widest = write_sorted(stored, folder / OVERLAY, [schema.get_field_index(key) for key in keys], keys, extra=1)
    return replace(
        old.meta,
        overlay_rows=int(stored.num_rows),
        rows=old.meta.rows - replaced + len(rows),
        widest=max(old.meta.widest, widest),
    )


def _kept(old: Snapshot, touched: list[pa.Array], names: list[str]) -> list[pa.Table]:
    """What of the old overlay the difference says nothing about."""
    overlay = old.overlay
    if overlay is None:
        return []
    found = overlay.find(key_hashes(touched), touched, np.arange(len(touched[0])), old.key_columns)
    keep = np.ones(len(overlay.hashes), dtype=np.bool_)
    keep[found[found >= 0]] = False
    table = pa.table([pa.array(overlay.hashes), *overlay.extra, *overlay.columns], names)
    return [table.filter(pa.array(keep))]


def _flags(count: int, *, value: bool) -> pa.Array:
    return pa.array(np.full(count, value, dtype=np.bool_))


def _array(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
