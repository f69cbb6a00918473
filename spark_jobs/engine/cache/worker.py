"""What a Python worker of Spark does with the rows of a cached join. No Spark in here: numpy, pyarrow, the snapshot."""

import socket
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from include.cache.keys import flags
from include.cache.snapshot import META, Snapshot

# Workers are used again by later tasks: an open snapshot costs a few file descriptors and no memory of its own.
MAX_OPEN = 8
_open: "OrderedDict[tuple[str, int, int], Snapshot]" = OrderedDict()


def opened(folder: str) -> Snapshot:
    """The snapshot in a folder, mapped once for each worker and version.

    Raises:
        OSError: it is not there, on this host.
    """
    try:
        stat = Path(folder, META).stat()
    except FileNotFoundError as error:
        raise OSError(
            f"{folder} is not on {socket.gethostname()}. Executors must see SLUICE_HOME at the driver's path where "
            "`shared_home` is true."
        ) from error
    key = (folder, stat.st_ino, stat.st_mtime_ns)
    if key not in _open:
        _open[key] = Snapshot(Path(folder))
        while len(_open) > MAX_OPEN:
            _open.popitem(last=False)
    _open.move_to_end(key)
    return _open[key]


def slices(batches: Iterable[pa.RecordBatch], most: int) -> Iterator[pa.RecordBatch]:
    """The batches, those of more than `most` rows in parts."""
    for batch in batches:
        for start in range(0, max(1, batch.num_rows), most):
            yield batch.slice(start, most) if batch.num_rows > most else batch


@dataclass(frozen=True)
class LookUp:
    """A function for `mapInArrow`: rows of a micro-batch in, rows of the join out.

    `on` are the places of the key columns in a row, `columns` the names that are added. The counters are Spark's
    accumulators: rows with a partner, rows without one, seconds of looking up; a task that is run again counts again.
    With `frugal` no page of the snapshot stays in memory after each batch of rows.
    """

    folder: str
    on: tuple[int, ...]
    how: str
    columns: tuple[str, ...]
    matched: Any
    unmatched: Any
    seconds: Any
    frugal: bool = False

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Join batch by batch; wide rows few at a time."""
        snapshot = opened(self.folder)
        for batch in slices(batches, snapshot.rows_at_once):
            started = time.perf_counter()
            matches = snapshot.look_up([batch.column(place) for place in self.on], self.columns)
            if self.frugal:
                snapshot.give_back()
            hits = int(matches.matched.sum())
            self.matched.add(hits)
            self.unmatched.add(batch.num_rows - hits)
            self.seconds.add(time.perf_counter() - started)
            columns = [*batch.columns, *matches.columns]
            rows = pa.RecordBatch.from_arrays(columns, [*batch.schema.names, *self.columns])
            if self.how in ("inner", "left_semi"):
                rows = rows if hits == batch.num_rows else rows.filter(flags(matches.matched))
            elif self.how == "left_anti":
                rows = rows.filter(flags(~matches.matched))
            yield rows
