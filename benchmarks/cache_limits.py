"""What the cache costs where memory ends: no page of a snapshot in memory, and a build with far less than the table."""

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa

from include.cache.cache import DimensionCache
from include.cache.dimension import Dimension
from include.cache.memory import Memory
from include.cache.snapshot import Snapshot
from include.cache.store import all_stores
from include.config.settings import Settings, load_settings

KEYS = 10_000
ROUNDS = 3
# The builder takes a quarter of what it is told is left.
LEFT = 256 << 20


def limits(settings: Settings, sizes: Iterable[int]) -> dict[str, object]:
    """By rows of the table: seconds of looking up a batch's keys with all pages in memory and with none; and builds."""
    look_ups = {rows: _look_ups(_newest(settings, f"d.t{rows}"), rows) for rows in sizes}
    return {"look_ups": look_ups, "builds": {rows: _build(settings, rows) for rows in sizes}, "left": LEFT}


def _newest(settings: Settings, table: str) -> Path:
    store = next(store for store in all_stores(settings.home) if store.dimension.table == table)
    meta = store.metas()[-1]
    return store.folder / "snapshots" / f"{meta.table_id}-{meta.version}"


def _look_ups(folder: Path, rows: int) -> dict[str, float]:
    rng = np.random.default_rng(1)
    columns = [name for name in Snapshot(folder).meta.columns if name != "id"]
    found: dict[str, list[float]] = {"cold": [], "warm": []}
    for _ in range(ROUNDS):
        _drop_pages(folder)
        keys = [pa.array(rng.integers(0, rows, KEYS))]
        for state in ("cold", "warm"):
            started = time.perf_counter()
            Snapshot(folder).look_up(keys, columns)
            found[state].append(time.perf_counter() - started)
    return {state: statistics.median(times) for state, times in found.items()}


def _drop_pages(folder: Path) -> None:
    """Take the files out of the page cache; nothing may have them mapped."""
    for file in folder.glob("*.arrow"):
        descriptor = os.open(file, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def _build(settings: Settings, rows: int) -> dict[str, float]:
    """Seconds, and bytes of the snapshot."""
    command = [sys.executable, "-m", "benchmarks.cache_limits", str(settings.home), str(rows)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _build_here(home: Path, rows: int) -> None:
    settings = load_settings({"SLUICE_HOME": str(home)}, home / "none.yaml")
    store = next(store for store in all_stores(home) if store.dimension.table == f"d.t{rows}")
    own = home / "limits"
    shutil.rmtree(own, ignore_errors=True)
    dimension = Dimension(
        f"d.t{rows}", settings.table_root(f"d.t{rows}"), store.dimension.keys, store.dimension.columns
    )
    cache = DimensionCache(own, dimension, lambda: Memory(available=LEFT, total=2 * LEFT))
    version = cache.newest()
    if version is None:
        raise AssertionError(dimension)
    started = time.perf_counter()
    cache.hold(version).lease.close()
    print(json.dumps({"seconds": time.perf_counter() - started, "bytes": cache.figures.snapshot_bytes}))
    shutil.rmtree(own)


if __name__ == "__main__":
    _build_here(Path(sys.argv[1]), int(sys.argv[2]))
