"""How many bytes each row of a table takes: some rows may be a thousand times as wide as the mean."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from include.cache.keys import Rows, integers

_BITS = 8


def widest_row(rows: pa.RecordBatch) -> int:
    """The bytes of the widest row; 0 of no rows."""
    if not rows.num_rows:
        return 0
    return int(_together(rows.columns, rows.num_rows).max())


def _widths(column: pa.Array) -> Rows:
    kind = column.type
    if not len(column):
        return np.zeros(0, dtype=np.int64)
    if pa.types.is_struct(kind):
        return _together(column.flatten(), len(column))
    if pa.types.is_map(kind):
        return _between(column.offsets, _widths(column.keys) + _widths(column.items))
    if pa.types.is_list(kind):
        return _between(column.offsets, _widths(column.values))
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        offsets = np.frombuffer(column.buffers()[1], dtype=np.int32)
        return np.diff(offsets[column.offset : column.offset + len(column) + 1]).astype(np.int64)
    width = 0 if pa.types.is_null(kind) else -(-kind.bit_width // _BITS)
    return np.full(len(column), width, dtype=np.int64)


def _together(columns: Sequence[pa.Array], rows: int) -> Rows:
    widths = np.zeros(rows, dtype=np.int64)
    for column in columns:
        widths += _widths(column)
    return widths


def _between(offsets: pa.Array, widths: Rows) -> Rows:
    """Sums of what lies between the offsets."""
    sums = np.concatenate([[0], np.cumsum(widths)])
    between: Rows = np.diff(sums[integers(offsets)])
    return between
