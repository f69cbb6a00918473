"""Building a snapshot's base from the rows of a table version, in memory that does not grow with the table."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from include.cache.errors import CannotCache, DuplicateKeys
from include.cache.keys import Rows, Words, key_hashes, present
from include.cache.latest import latest_rows
from include.cache.snapshot import partition_file, partition_of
from include.cache.widths import widest_row

# Sorting a partition takes about three times its size; the offsets of its texts must fit into 32 bits.
PARTITION_BYTES = 64 * 1024 * 1024
MAX_PARTITIONS = 4096
# Rows that take this many times what was expected are cut into more partitions, by another pass over them.
MAX_MISJUDGED = 4
HASH_FIELD = pa.field("hash", pa.uint64(), nullable=False)


@dataclass(frozen=True)
class Built:
    """What was written."""

    partitions: int
    rows: int
    bytes: int
    widest: int  # bytes of the widest row


class BaseBuilder:
    """Takes the rows of a table batch by batch, and writes them sorted by the hash of their key.

    Rows wait in memory up to `budget` bytes, then in files beside the result. Rows with a NULL in their key are left
    out: they never match.
    """

    def __init__(
        self,
        folder: Path,
        schema: pa.Schema,
        keys: Sequence[str],
        expected_bytes: int,
        budget: int,
        latest_by: str | None = None,
        spill_name: str = "spill",
    ) -> None:
        self._spill_name = spill_name
        self._latest_name = latest_by
        self._taken_bytes = 0
        self._folder = folder
        self._schema = schema
        self._keys = [schema.get_field_index(key) for key in keys]
        self._key_names = tuple(keys)
        self._latest_by = None if latest_by is None else schema.get_field_index(latest_by)
        self._budget = budget
        self._target = min(PARTITION_BYTES, max(1, budget // 3))
        wanted = min(MAX_PARTITIONS, max(1, math.ceil(expected_bytes / self._target)))
        self.partitions = 1 << (wanted - 1).bit_length()
        self._waiting: list[list[pa.RecordBatch]] = [[] for _ in range(self.partitions)]
        self._waiting_bytes = 0
        self._spilled: dict[int, pa.RecordBatchFileWriter] = {}

    def add(self, batch: pa.RecordBatch) -> None:
        """Take the columns of the schema from a batch of the table."""
        columns = [plain(batch.column(field.name), field.type) for field in self._schema]
        keys = [columns[index] for index in self._keys]
        hashes = key_hashes(keys)
        rows = pa.RecordBatch.from_arrays([pa.array(hashes), *columns], schema=stored_schema(self._schema))
        self._taken_bytes += rows.nbytes
        order = np.flatnonzero(present(keys))
        if self.partitions == 1:
            self._wait(0, rows if len(order) == len(hashes) else rows.take(pa.array(order)))
        else:
            self._route(rows, hashes, order)
        if self._waiting_bytes > self._budget:
            self._spill()

    def finish(self) -> Built:
        """Sort and write every partition.

        Raises:
            DuplicateKeys: two rows have one key.
        """
        for writer in self._spilled.values():
            writer.close()
        if self._taken_bytes > MAX_MISJUDGED * self._target * self.partitions and self.partitions < MAX_PARTITIONS:
            return self._into_more().finish()
        written = [self._write(partition) for partition in range(self.partitions)]
        size = sum(partition_file(self._folder, number).stat().st_size for number in range(self.partitions))
        return Built(self.partitions, sum(rows for rows, _ in written), size, max(widest for _, widest in written))

    def _into_more(self) -> "BaseBuilder":
        """The rows once more: files that compress well hold far more than their size says."""
        names = (self._folder, self._schema, self._key_names)
        finer = BaseBuilder(*names, self._taken_bytes, self._budget, self._latest_name, f"{self._spill_name}-more")
        for partition in range(self.partitions):
            for batch in self._rows_of(partition):
                finer.add(batch)
            self._forget(partition)
        return finer

    def _route(self, rows: pa.RecordBatch, hashes: Words, order: Rows) -> None:
        partition = partition_of(hashes[order], self.partitions)
        by_partition = np.argsort(partition, kind="stable")
        moved = rows.take(pa.array(order[by_partition]))
        ends = np.searchsorted(partition[by_partition], np.arange(self.partitions + 1))
        for number in np.unique(partition):
            start, end = int(ends[number]), int(ends[number + 1])
            self._wait(int(number), moved.slice(start, end - start))

    def _wait(self, partition: int, rows: pa.RecordBatch) -> None:
        self._waiting[partition].append(rows)
        self._waiting_bytes += rows.get_total_buffer_size() if self.partitions == 1 else rows.nbytes

    def _spill(self) -> None:
        for partition, batches in enumerate(self._waiting):
            if batches and partition not in self._spilled:
                self._spilled[partition] = pa.ipc.new_file(self._spill_file(partition), batches[0].schema)
            for batch in batches:
                self._spilled[partition].write_batch(batch)
            batches.clear()
        self._waiting_bytes = 0

    def _spill_file(self, partition: int) -> str:
        return str(self._folder / f"{self._spill_name}-{partition:05d}.arrow")

    def _rows_of(self, partition: int) -> list[pa.RecordBatch]:
        batches = self._waiting[partition]
        if partition in self._spilled:
            with pa.memory_map(self._spill_file(partition)) as source:
                batches = [*pa.ipc.open_file(source).read_all().to_batches(), *batches]
        return batches

    def _forget(self, partition: int) -> None:
        self._waiting[partition] = []
        Path(self._spill_file(partition)).unlink(missing_ok=True)

    def _write(self, partition: int) -> tuple[int, int]:
        """Write a partition; returns its rows, and the bytes of the widest."""
        table = pa.Table.from_batches(self._rows_of(partition), schema=stored_schema(self._schema))
        if self._latest_by is not None:
            table = latest_rows(table, [1 + key for key in self._keys], 1 + self._latest_by, self._key_names)
        widest = write_sorted(table, partition_file(self._folder, partition), self._keys, self._key_names)
        self._forget(partition)
        return int(table.num_rows), widest


def stored_schema(schema: pa.Schema) -> pa.Schema:
    """The schema of a base file: the hash, then the table's columns."""
    return pa.schema([HASH_FIELD, *schema])


def write_sorted(table: pa.Table, file: Path, keys: Sequence[int], names: Sequence[str], *, extra: int = 0) -> int:
    """Write rows as one batch sorted by the hash in column 0; `extra` columns stand between it and the table's own.

    Returns the bytes of the widest row.

    Raises:
        DuplicateKeys: two rows have one key.
    """
    order = np.argsort(table.column(0).to_numpy(), kind="stable")
    ordered = table.combine_chunks().take(pa.array(order))
    batches = ordered.combine_chunks().to_batches()
    if len(batches) > 1:
        raise CannotCache(
            f"The rows of {file.name} hold more than 2 GiB of text in a column.",
            remedy="Leave that column out, or leave `cached` out.",
        )
    batch = batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)
    refuse_duplicates(batch, [1 + extra + key for key in keys], names)
    with pa.ipc.new_file(str(file), table.schema) as writer:
        writer.write_batch(batch)
    return widest_row(batch)


def refuse_duplicates(batch: pa.RecordBatch, keys: Sequence[int], names: Sequence[str]) -> None:
    """Refuse rows of one key; `batch` is sorted by the hash in column 0, so that they stand side by side.

    Raises:
        DuplicateKeys: naming one of them.
    """
    hashes = batch.column(0).to_numpy()
    twin = np.flatnonzero(hashes[1:] == hashes[:-1])
    if not len(twin):
        return
    suspects = batch.select(list(keys)).take(pa.array(np.union1d(twin, twin + 1)))
    columns = [f"k{index}" for index in range(len(keys))]
    counts = pa.Table.from_arrays(suspects.columns, columns).group_by(columns).aggregate([([], "count_all")])
    for row in counts.to_pylist():
        if row["count_all"] > 1:
            key = ", ".join(f"{name} = {row[column]!r}" for name, column in zip(names, columns, strict=True))
            raise DuplicateKeys(
                f"The dimension has {row['count_all']} rows of the key {key}.",
                remedy="Give it one row for each key, or name further columns in the key.",
            )


def plain(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """A column as snapshots store it: delta-rs reads texts as views, which not all of Arrow and Spark take."""
    return column if column.type == kind else column.cast(kind)


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The stored type of a column that the table's scan returns as `kind`."""
    if kind == pa.string_view():
        return pa.string()
    if kind == pa.binary_view():
        return pa.binary()
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(plain_type(field.type)) for field in kind])
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(kind.value_field.with_type(plain_type(kind.value_type)))
    if pa.types.is_map(kind):
        return pa.map_(
            kind.key_field.with_type(plain_type(kind.key_type)), kind.item_field.with_type(plain_type(kind.item_type))
        )
    return kind
