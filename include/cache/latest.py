"""`pick: latest`: of the rows of one key the one whose `latest_by` is the greatest. NULL is the least."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from include.cache.errors import DuplicateKeys

_ROW = "row"


def latest_rows(rows: pa.Table, keys: Sequence[int], by: int, names: Sequence[str]) -> pa.Table:
    """One row of each key, in the order of `rows`; `keys` and `by` are places of columns, `names` those of the keys.

    Raises:
        DuplicateKeys: two rows that differ are both the latest of their key.
    """
    columns = [f"k{index}" for index in range(len(keys))]
    keyed = pa.table([*(rows.column(key) for key in keys), rows.column(by), _numbers(rows)], [*columns, "by", _ROW])
    counted = keyed.group_by(columns).aggregate([([], "count_all"), ("by", "max")])
    if counted.num_rows == rows.num_rows:
        return rows
    ranked = keyed.join(counted, columns)
    best = pc.or_kleene(pc.equal(ranked["by"], ranked["by_max"]), pc.is_null(ranked["by_max"]))
    ranked = ranked.filter(pc.fill_null(best, False))
    chosen = ranked.group_by(columns).aggregate([(_ROW, "min"), ([], "count_all")])
    _refuse_ties(rows, ranked, chosen.filter(pc.greater(chosen["count_all"], 1)), columns, names)
    return rows.take(chosen[f"{_ROW}_min"].sort())


def _refuse_ties(
    rows: pa.Table, ranked: pa.Table, tied: pa.Table, columns: Sequence[str], names: Sequence[str]
) -> None:
    """Rows that are equal in all that is stored may stand for each other."""
    if not tied.num_rows:
        return
    seen: dict[str, str] = {}
    places = ranked.join(tied.select(columns), list(columns), join_type="left semi")
    for key, row in zip(
        places.select(columns).to_pylist(), rows.take(places[_ROW].combine_chunks()).to_pylist(), strict=True
    ):
        if seen.setdefault(repr(key), repr(row)) != repr(row):
            key_text = ", ".join(f"{name} = {value!r}" for name, value in zip(names, key.values(), strict=True))
            raise DuplicateKeys(
                f"The dimension has several latest rows of the key {key_text}, which differ.",
                remedy="Name a column in `latest_by` that tells them apart.",
            )


def _numbers(rows: pa.Table) -> pa.Array:
    return pa.array(np.arange(rows.num_rows))
