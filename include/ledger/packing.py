"""Packing of files into planned micro-batches. Pure: the same files give the same batches."""

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc


def in_load_order(planned: pa.Table) -> pa.Table:
    """Files by age, then by path (in the order of its bytes): the order in which they are packed and loaded.

    The order depends on the files only, so that a discovery that is done again makes the same plan.
    """
    return planned.take(pc.sort_indices(planned, [("modified_at", "ascending"), ("path", "ascending")]))


def pack(sizes: Sequence[int], max_files: int, max_bytes: int | None) -> Iterator[tuple[int, int]]:
    """Cut a sequence of file sizes into runs `(start, end)`, `end` exclusive, that keep both limits.

    `max_bytes` is soft: a file that is larger by itself makes a batch alone. None means no limit.
    """
    start, total = 0, 0
    for index, size in enumerate(sizes):
        full = index - start >= max_files or (max_bytes is not None and total + size > max_bytes)
        if full and index > start:
            yield start, index
            start, total = index, 0
        total += size
    if start < len(sizes):
        yield start, len(sizes)
