"""Which files of a table a merge writes anew, and how: in the order of time, cut where they have grown.

So that the next merge, whose rows are of a few times, finds small files that hold little else. Where files reach over
each other, those that are written anew come apart.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from include.transform import log_entry
from include.transform.near_rows import NOBODY, Identity, Near, NotMerged, Numbers, codes, fitted, micros

# Of a file, as it is in memory.
ROWS_PER_FILE = 25_000
BYTES_PER_FILE = 16 * 1024 * 1024


@dataclass(frozen=True)
class Rewrite:
    """What is to be done: `fresh` rows come, in the place of those that they (or rows that are gone) met.

    `updates` has for each fresh row the place of the standing one, or NOBODY; `deleted` are places of standing rows,
    `touched` those of the files that are written anew.
    """

    near: Near
    time: str
    fresh: pa.Table
    updates: Numbers
    deleted: Numbers
    touched: Numbers

    @classmethod
    def of(cls, near: Near, rows: pa.Table, schema: pa.Schema, identity: Identity, gone: str) -> "Rewrite":
        """What it takes to bring in `rows`; those go whose column `gone` (if it is named) is true.

        Raises:
            NotMerged: a value fits no column, or the rows are not told apart by the identity.
        """
        goes = rows[gone].to_numpy(zero_copy_only=False).astype(bool) if gone else np.zeros(rows.num_rows, dtype=bool)
        fitting = fitted(rows, schema)
        if fitting[identity.time].null_count or len(np.unique(codes([fitting.select(identity.columns)])[0])) < len(
            goes
        ):
            raise NotMerged("of the rows that come two have equal keys, or one has no time")
        places = near.places(fitting, identity.columns)
        met = np.flatnonzero(places != NOBODY)
        standing = np.full(rows.num_rows, NOBODY, dtype=np.int64)
        standing[places[met]] = met
        if np.count_nonzero(standing != NOBODY) != len(met) or near.rows[identity.time].null_count:
            raise NotMerged("the table has two rows of equal keys, or one without a time")
        stays = np.flatnonzero(~goes)
        fresh = fitting.take(stays)
        touched = np.unique(near.file[met])
        if touched.size:  # then also files that new rows lie in, so that times stay in few files
            touched = np.union1d(touched, _around(near, identity.time, np.sort(micros(fresh[identity.time]))))
        leaving = standing[goes]
        return cls(near, identity.time, fresh, standing[stays], leaving[leaving != NOBODY], touched)

    @property
    def figures(self) -> Mapping[str, int]:
        """What the commit says of itself."""
        updated = int(np.count_nonzero(self.updates != NOBODY))
        return {
            "numTargetRowsInserted": self.fresh.num_rows - updated,
            "numTargetRowsUpdated": updated,
            "numTargetRowsDeleted": len(self.deleted),
            "numTargetFilesRemoved": len(self.touched),
        }

    def gone(self, now: int) -> Iterator[Mapping[str, Any]]:
        """The actions that take away the files that are written anew."""
        for number in self.touched:
            yield log_entry.remove(self.near.files[number], now)

    def changes(self) -> pa.Table:
        """The rows of the change feed."""
        updates = self.updates != NOBODY
        return pa.concat_tables(
            [
                _typed(self.fresh.filter(pa.array(~updates)), "insert"),
                _typed(self.near.rows.take(self.updates[updates]), "update_preimage"),
                _typed(self.fresh.filter(pa.array(updates)), "update_postimage"),
                _typed(self.near.rows.take(self.deleted), "delete"),
            ]
        )

    def parts(self) -> Iterator[pa.Table]:
        """The rows of the new files, in the order of time; no file reaches over one that stays."""
        keeps = np.isin(self.near.file, self.touched)
        keeps[self.updates[self.updates != NOBODY]] = False
        keeps[self.deleted] = False
        rows = pa.concat_tables([self.near.rows.filter(pa.array(keeps)), self.fresh])
        rows = rows.take(pc.sort_indices(rows, [(self.time, "ascending")]))
        if not rows.num_rows:
            return
        times = micros(rows[self.time])
        # Rows that only come stay an append, of few files, wherever they lie.
        touched = {*self.touched.tolist()} or {*range(len(self.near.files))}
        stay = [least for number, least, _ in _bounds(self.near, self.time) if number not in touched]
        barriers = np.array(sorted(stay), dtype=np.int64)
        cell = np.searchsorted(barriers, times, side="right")
        begins = [0, *(np.flatnonzero(np.diff(cell)) + 1).tolist(), rows.num_rows]
        width = max(rows.nbytes // rows.num_rows, 1)
        most = max(min(ROWS_PER_FILE, BYTES_PER_FILE // width), 1)
        for begin, end in pairwise(begins):
            cuts = _cuts(times[begin:end], most) + begin
            for first, last in pairwise(cuts):
                yield rows.slice(first, last - first)


def _cuts(times: Numbers, most: int) -> Numbers:
    """Where equal parts of at most about `most` rows begin; rows of one time stay together."""
    parts = -(-len(times) // most)
    even = np.linspace(0, len(times), parts + 1).astype(np.int64)[1:-1]
    inner = np.searchsorted(times, times[even], side="left")
    return np.unique(np.concatenate([[0], inner, [len(times)]])).astype(np.int64)


def _bounds(near: Near, time_column: str) -> Iterator[tuple[int, int, int]]:
    """Each file that has rows, with its first and its last time."""
    times = micros(near.rows[time_column])
    begins = np.searchsorted(near.file, np.arange(len(near.files) + 1))
    for number, (begin, end) in enumerate(pairwise(begins)):
        if begin < end:
            yield number, int(times[begin:end].min()), int(times[begin:end].max())


def _around(near: Near, time_column: str, times: Numbers) -> Numbers:
    """The files of which one of the sorted times lies between the first and the last time."""
    found = [
        number
        for number, least, most in _bounds(near, time_column)
        if np.searchsorted(times, least, side="left") < np.searchsorted(times, most, side="right")
    ]
    return np.array(found, dtype=np.int64)


def _typed(rows: pa.Table, kind: str) -> pa.Table:
    return rows.append_column("_change_type", pa.array([kind] * rows.num_rows, pa.string()))
