"""What the cache costs where memory ends: no page of a snapshot in memory, look-ups under a limit that the kernel holds
them to (RLIMIT_DATA: memory of a process's own, which pages of files are not), builds that are told so.
"""

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
import zlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa

from include.cache.cache import BUILD_NEEDS, LOOK_UP_NEEDS, DimensionCache
from include.cache.dimension import Dimension
from include.cache.memory import Memory
from include.cache.snapshot import Snapshot
from include.cache.store import all_stores
from include.config.settings import Settings, load_settings

KEYS = 10_000
ROUNDS = 3
LEFT = BUILD_NEEDS


def limits(settings: Settings, sizes: Iterable[int]) -> dict[str, object]:
    """By rows of the table: seconds of looking up a batch's keys with all pages in memory and with none; and builds."""
    folders = {rows: _newest(settings, f"d.t{rows}") for rows in sizes}
    return {
        "look_ups": {rows: _look_ups(folder, rows) for rows, folder in folders.items()},
        "limited": {rows: _limited(folder, rows) for rows, folder in folders.items()},
        "builds": {rows: _here("build", settings.home, rows, LEFT) for rows in sizes},
        "left": LEFT,
        "look_up_left": LOOK_UP_NEEDS,
    }


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


def _limited(folder: Path, rows: int) -> dict[str, float]:
    """Seconds of looking up a batch's keys, and bytes of the files that stay in memory, under a limit.

    Raises:
        AssertionError: the rows are not those that a process without a limit finds.
    """
    free, limited = (_here("look-up", folder, rows, left) for left in (1 << 40, LOOK_UP_NEEDS))
    if free["found"] != limited["found"]:
        raise AssertionError(folder)
    return limited


def _here(what: str, folder: Path, rows: int, left: int) -> dict[str, float]:
    """Do it in a process of its own, where `left` bytes are left."""
    command = [sys.executable, "-m", "benchmarks.cache_limits", what, str(folder), str(rows), str(left)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _kept(name: str) -> int:
    """Bytes: a line of this process's status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(name))


def _limit(left: int) -> None:
    most = _kept("VmData:") + left
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def _look_up_here(folder: Path, rows: int, left: int) -> dict[str, float]:
    """As the workers do under memory pressure."""
    snapshot = Snapshot(folder)
    columns = [name for name in snapshot.meta.columns if name != "id"]
    snapshot.look_up([pa.array([0])], columns)
    _limit(left)
    before, times, digest = _kept("RssFile:"), [], 0
    rng = np.random.default_rng(1)
    for _ in range(ROUNDS):
        snapshot.give_back()
        started = time.perf_counter()
        found = snapshot.look_up([pa.array(rng.integers(0, rows, KEYS))], columns)
        snapshot.give_back()
        times.append(time.perf_counter() - started)
        digest = zlib.crc32("".join(found.columns[0].to_pylist()).encode(), digest)
    return {"seconds": statistics.median(times), "file_pages": max(0, _kept("RssFile:") - before), "found": digest}


def _build_here(home: Path, rows: int, left: int) -> dict[str, float]:
    settings = load_settings({"SLUICE_HOME": str(home)}, home / "none.yaml")
    store = next(store for store in all_stores(home) if store.dimension.table == f"d.t{rows}")
    own = home / "limits"
    shutil.rmtree(own, ignore_errors=True)
    dimension = Dimension(
        f"d.t{rows}", settings.table_root(f"d.t{rows}"), store.dimension.keys, store.dimension.columns
    )
    cache = DimensionCache(own, dimension, lambda: Memory(available=left, total=2 * left))
    version = cache.newest()
    if version is None:
        raise AssertionError(dimension)
    before, most, started = _kept("RssAnon:"), 0, time.perf_counter()
    with ThreadPoolExecutor(1) as beside:
        building = beside.submit(cache.hold, version)
        while not building.done():
            most = max(most, _kept("RssAnon:"))
            time.sleep(0.01)
    building.result().lease.close()
    seconds = time.perf_counter() - started
    found = {"seconds": seconds, "bytes": cache.figures.snapshot_bytes, "held": most - before}
    shutil.rmtree(own)
    return found


if __name__ == "__main__":
    do = {"build": _build_here, "look-up": _look_up_here}[sys.argv[1]]
    print(json.dumps(do(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))))
