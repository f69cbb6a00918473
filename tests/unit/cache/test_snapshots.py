"""A snapshot is the table at one version: over random commits, small memory, kills at every step, two at a time."""

import datetime as dt
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from include.cache.build import BaseBuilder, Built
from include.cache.cache import DimensionCache, Held, MemoryPressure
from include.cache.dimension import Dimension, TableVersion
from include.cache.errors import CannotCache, DuplicateKeys
from include.cache.memory import Memory, measure
from include.cache.snapshot import Snapshot, SnapshotMeta, write_meta
from include.cache.store import IDLE_SECONDS, SnapshotStore, remove_idle
from include.cache.versions import VersionGone
from include.config.errors import StorageError
from spark_jobs.engine.cache.worker import LookUp

SCHEMA = pa.schema([("k", pa.int64()), ("n", pa.string()), ("v", pa.string())])
FEED = {"delta.enableChangeDataFeed": "true"}
PLENTY = Memory(available=8 << 30, total=16 << 30)
Key = tuple[int, str]


class Table:
    """A dimension with keys (n, k), and what it should hold."""

    def __init__(self, folder: Path, *, feed: bool = True) -> None:
        self.root = str(folder / "warehouse" / "d")
        self.home = folder
        self.rows: dict[Key, str] = {}
        self._feed = {"delta.enableChangeDataFeed": str(feed).lower()}
        self.dimension = Dimension("silver.d", self.root, ("n", "k"), ("v",))
        self.append({(number, f"n{number % 7}"): "first" for number in range(300)})

    def append(self, rows: dict[Key, str]) -> None:
        self.rows |= rows
        data = {"k": [k for k, _ in rows], "n": [n for _, n in rows], "v": list(rows.values())}
        write_deltalake(self.root, pa.table(data, schema=SCHEMA), mode="append", configuration=self._feed)

    def merge(self, rows: dict[Key, str]) -> None:
        self.rows |= rows
        data = {"k": [k for k, _ in rows], "n": [n for _, n in rows], "v": list(rows.values())}
        merger = DeltaTable(self.root).merge(pa.table(data, schema=SCHEMA), "t.k = s.k AND t.n = s.n", "s", "t")
        merger.when_matched_update_all().when_not_matched_insert_all().execute()

    def delete(self, number: int) -> None:
        DeltaTable(self.root).delete(f"k = {number}")
        self.rows = {key: value for key, value in self.rows.items() if key[0] != number}

    def cache(self) -> DimensionCache:
        return DimensionCache(self.home, self.dimension, lambda: PLENTY)

    def hold(self, cache: DimensionCache | None = None) -> Held:
        cache = cache or self.cache()
        version = cache.newest()
        assert version is not None
        return cache.hold(version)

    def check(self, held: Held, rows: dict[Key, str] | None = None) -> None:
        """The snapshot answers what the table holds, for every key that ever was."""
        want = self.rows if rows is None else rows
        keys = [(number, f"n{number % 7}") for number in range(400)] + [(0, "other"), (-1, "n0")]
        columns = [pa.array([n for _, n in keys]), pa.array([k for k, _ in keys], pa.int32())]
        found = Snapshot(held.folder).look_up(columns, ["v"])
        assert found.columns[0].to_pylist() == [want.get(key) for key in keys]
        assert held.meta.rows == len(want)


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return Table(tmp_path)


@pytest.mark.parametrize("feed", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_snapshot_is_the_table_after_any_commits(tmp_path: Path, feed: bool, seed: int) -> None:
    rng = random.Random(seed)
    table = Table(tmp_path, feed=feed)
    made: set[str] = set()
    for step in range(12):
        for _ in range(rng.randint(0, 3)):
            some = {(number, f"n{number % 7}"): f"s{step}" for number in rng.sample(range(400), 6)}
            match rng.choice(["append", "delete", "merge", "compact"]):
                case "append":
                    table.append({key: value for key, value in some.items() if key not in table.rows})
                case "delete":
                    table.delete(rng.randrange(400))
                case "merge":
                    table.merge(some)
                case "compact":
                    DeltaTable(table.root).optimize.compact()
        held = table.hold()
        table.check(held)
        made.add(held.meta.made)
        held.lease.close()
    assert ("change feed" if feed else "rebuilt") in made


def test_unchanged_version_is_not_read_again_also_by_another_process(table: Table) -> None:
    table.hold().lease.close()
    again = table.cache()
    table.hold(again).lease.close()
    assert (again.figures.hits, again.figures.misses, again.figures.table_reads) == (1, 0, 0)


def test_one_percent_change_is_laid_over_and_the_base_is_shared(table: Table) -> None:
    first = table.hold()
    table.merge({(1, "n1"): "changed", (2, "n2"): "changed", (399, "n0"): "new"})
    cache = table.cache()
    second = table.hold(cache)
    table.check(second)
    assert (second.meta.made, second.meta.overlay_rows, cache.figures.table_reads) == ("change feed", 3, 0)
    assert (first.folder / "base-00000.arrow").samefile(second.folder / "base-00000.arrow")


def test_changes_that_do_not_fit_into_memory_are_taken_by_reading_the_table(table: Table) -> None:
    table.hold().lease.close()
    table.append({(399, "n0"): os.urandom(20_000_000).hex()})
    cache = DimensionCache(table.home, table.dimension, lambda: Memory(400 << 20, 16 << 30))
    held = table.hold(cache)
    assert "MiB of memory, and 400 MiB are left" in cache.figures.rebuild_reasons[0]
    assert held.meta.made == "rebuilt"
    table.check(held)


def test_appended_file_is_read_alone_without_a_change_feed(tmp_path: Path) -> None:
    table = Table(tmp_path, feed=False)
    table.hold().lease.close()
    table.append({(399, "n0"): "new"})
    cache = table.cache()
    held = table.hold(cache)
    table.check(held)
    assert (held.meta.made, cache.figures.table_reads) == ("changed files", 0)


def test_old_version_stays_while_it_is_held_and_goes_afterwards(table: Table) -> None:
    first, before = table.hold(), dict(table.rows)
    table.delete(5)
    table.hold().lease.close()
    table.check(first, before)
    first.lease.close()
    table.delete(6)
    table.hold().lease.close()
    assert [folder.name for folder in (first.folder.parent).iterdir()] == [f"{first.meta.table_id}-2"]


def test_version_that_was_pinned_long_ago_is_made_again(table: Table) -> None:
    first, before = table.hold(), dict(table.rows)
    pinned = TableVersion(first.meta.table_id, first.meta.version)
    first.lease.close()
    table.delete(5)
    table.hold().lease.close()
    shutil.rmtree(table.home / "cache")
    table.check(table.cache().hold(pinned), before)


def test_newest_snapshot_stays_when_an_older_version_is_made(table: Table) -> None:
    first, before = table.hold(), dict(table.rows)
    pinned = TableVersion(first.meta.table_id, first.meta.version)
    first.lease.close()
    table.delete(5)
    table.hold().lease.close()  # the older one goes
    table.delete(6)
    table.check(table.cache().hold(pinned), before)
    cache = table.cache()
    table.check(table.hold(cache))
    assert cache.figures.table_reads == 0  # made from version 1


def test_table_made_anew_is_another_table(table: Table) -> None:
    first = table.hold()
    pinned = TableVersion(first.meta.table_id, first.meta.version)
    first.lease.close()
    shutil.rmtree(table.root)
    table.rows = {}
    table.append({(1, "n1"): "other"})
    held = table.hold()
    table.check(held)
    assert held.meta.made == "rebuilt"
    with pytest.raises(VersionGone, match="created anew"):
        table.cache().hold(pinned)


def test_schema_change_of_a_stored_column_rebuilds_and_another_columns_does_not(table: Table) -> None:
    table.hold().lease.close()
    wider = pa.table({"k": [399], "n": ["n0"], "v": ["new"], "w": [1]})
    write_deltalake(table.root, wider, mode="append", schema_mode="merge")
    table.rows[399, "n0"] = "new"
    held = table.hold()
    table.check(held)
    assert held.meta.made == "changed files"
    held.lease.close()
    retyped = pa.table({"k": [1], "n": ["n1"], "v": [7]})
    write_deltalake(table.root, retyped, mode="overwrite", schema_mode="overwrite")
    held = table.hold()
    assert held.meta.made == "rebuilt"
    assert '"long"' in held.meta.fields


def test_duplicate_keys_are_refused_also_when_a_change_brings_them(table: Table) -> None:
    table.hold().lease.close()
    table.append({(1, "n1"): "twice"})
    with pytest.raises(DuplicateKeys, match="2 rows of the key n = 'n1', k = 1"):
        table.hold()


def test_rows_with_a_null_in_the_key_are_left_out(table: Table) -> None:
    nulls = pa.table({"k": [None, None, 1], "n": ["n1", "n1", None], "v": ["x", "y", "z"]}, schema=SCHEMA)
    write_deltalake(table.root, nulls, mode="append")
    table.check(table.hold())


def test_dimension_larger_than_the_memory_given_is_partitioned_with_the_same_answers(tmp_path: Path) -> None:
    numbers = list(range(5000))
    schema = pa.schema([("k", pa.int64()), ("v", pa.string())])
    builder = BaseBuilder(tmp_path, schema, ["k"], expected_bytes=1 << 20, budget=1 << 16)
    assert builder.partitions > 16
    for start in range(0, 5000, 500):
        some = numbers[start : start + 500]
        builder.add(pa.record_batch({"k": some, "v": [f"v{n}" for n in some]}, schema=schema))
    assert list(tmp_path.glob("spill-*"))
    built = builder.finish()
    write_meta(tmp_path, meta_of(built))
    found = Snapshot(tmp_path).look_up([pa.array([4999, 0, 5000, None, 77])], ["v"])
    assert found.columns[0].to_pylist() == ["v4999", "v0", None, None, "v77"]
    assert not list(tmp_path.glob("spill-*"))


def test_rows_that_compress_well_are_cut_by_what_they_take_in_memory(tmp_path: Path) -> None:
    schema = pa.schema([("k", pa.int64()), ("v", pa.string())])
    builder = BaseBuilder(tmp_path, schema, ("k",), expected_bytes=1000, budget=300_000)
    for start in range(0, 4000, 500):
        keys = range(start, start + 500)
        builder.add(pa.record_batch([pa.array(keys), pa.array([f"{key:0500d}" for key in keys])], schema=schema))
    built = builder.finish()
    assert built.rows == 4000
    files = [*tmp_path.iterdir()]
    assert len(files) == built.partitions > 8
    assert max(file.stat().st_size for file in files) < 400_000
    write_meta(tmp_path, meta_of(built))
    found = Snapshot(tmp_path).look_up([pa.array([3999, 0, 4000])], ["v"]).columns[0].to_pylist()
    assert found == [f"{3999:0500d}", "0" * 500, None]


def meta_of(built: Built) -> SnapshotMeta:
    fields = '[{"name": "k"}, {"name": "v"}]'
    return SnapshotMeta("t", 0, ("k",), fields, built.partitions, built.rows, 0, built.rows, 1, "rebuilt", 0.0, 0.0)


def test_short_memory_makes_look_ups_frugal_and_only_less_than_a_worker_needs_refuses_them(table: Table) -> None:
    left = [100 << 20]
    cache = DimensionCache(table.home, table.dimension, lambda: Memory(left[0], 10 << 30))
    version = cache.newest()
    assert version is not None
    with pytest.raises(MemoryPressure, match="less than 384 MiB, with which a snapshot is made"):
        cache.hold(version)
    left[0] = 5 << 30
    held = cache.hold(version)
    assert cache.figures.frugal == 0
    left[0] = 100 << 20
    cache.keep_using(held)
    assert cache.frugal
    left[0] = 10 << 20
    with pytest.raises(MemoryPressure, match="less than 64 MiB, with which keys are looked up"):
        cache.keep_using(held)
    figures = cache.figures
    assert (figures.pressure, figures.frugal, figures.table_reads) == (3, 1, 1)


LIMITED = """
import json, resource, sys
from pathlib import Path
import pyarrow as pa
from include.cache.snapshot import Snapshot

def kept(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(name))

snapshot, allowed = Snapshot(Path(sys.argv[1])), int(sys.argv[2])
snapshot.look_up([pa.array([0])], ["v"])
resource.setrlimit(resource.RLIMIT_DATA, 2 * (kept("VmData:") + allowed,))
try:
    bytearray(allowed + (1 << 20))
except MemoryError:
    pass
else:
    raise AssertionError("there is no limit")
before, most, found = kept("RssFile:"), 0, []
for start in range(0, 800, 100):
    matches = snapshot.look_up([pa.array(range(start, start + 100))], ["v"])
    snapshot.give_back()
    most = max(most, kept("RssFile:") - before)
    found.append(hash(tuple(matches.columns[0].to_pylist())))
print(json.dumps({"found": found, "kept": most}))
"""


def test_process_with_less_memory_than_the_snapshot_answers_the_same_and_keeps_no_page(tmp_path: Path) -> None:
    """A real limit of the kernel on the memory of the process's own; the snapshot is four times as large."""
    size, allowed = 4000, 12 << 20
    rows = pa.table({"k": np.arange(size), "v": [f"{number:07d}" * 2000 for number in range(size)]})
    write_deltalake(str(tmp_path / "d"), rows)
    cache = DimensionCache(tmp_path, Dimension("d", str(tmp_path / "d"), ("k",), ("v",)), lambda: PLENTY)
    version = cache.newest()
    assert version is not None
    held = cache.hold(version)
    assert held.meta.bytes > 4 * allowed
    said = []
    for bytes_ in (allowed, 40 * allowed):
        done = subprocess.run(
            [sys.executable, "-c", LIMITED, str(held.folder), str(bytes_)],
            env={**os.environ, "PYTHONHASHSEED": "0", "ARROW_DEFAULT_MEMORY_POOL": "system"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        said.append(json.loads(done.stdout))
    assert said[0]["found"] == said[1]["found"]
    assert len(set(said[0]["found"])) == 8
    assert said[0]["kept"] < allowed


def test_disk_that_is_too_full_is_said_before_the_table_is_read(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = table.cache()
    version = cache.newest()
    assert version is not None
    full = SimpleNamespace(free=0)
    with monkeypatch.context() as patched:
        patched.setattr("include.cache.making.shutil.disk_usage", lambda _folder: full)
        with pytest.raises(StorageError, match="0 MiB are free on that disk"):
            cache.hold(version)
    assert cache.figures.table_reads == 0
    table.check(cache.hold(version))


def test_times_of_any_year_are_those_that_spark_wrote(tmp_path: Path) -> None:
    """Files as Spark writes them by default, with times as 96-bit integers."""
    root = str(tmp_path / "d")
    far = [dt.datetime(year, 1, 1, 1, 2, 3, 4, dt.UTC) for year in (1, 1500, 2026, 9999)]
    schema = pa.schema([("k", pa.int64()), ("at", pa.timestamp("us", "UTC"))])

    def add(keys: list[int], times: list[dt.datetime]) -> None:
        write_deltalake(root, pa.table({"k": keys, "at": times}, schema=schema), mode="append", configuration=FEED)
        newest = max(Path(root).glob("*.parquet"), key=lambda file: file.stat().st_mtime_ns)
        rows = pq.read_table(newest)
        pq.write_table(rows, newest, use_deprecated_int96_timestamps=True)
        log = max(Path(root, "_delta_log").glob("*.json"))
        actions = [json.loads(line) for line in log.read_text().splitlines()]
        for action in actions:
            if "add" in action:
                action["add"]["size"] = newest.stat().st_size
        log.write_text("".join(json.dumps(action) + "\n" for action in actions))

    def check(keys: list[int]) -> list[str]:
        cache = DimensionCache(tmp_path, Dimension("d", root, ("k",), ("at",)), lambda: PLENTY)
        newest = cache.newest()
        assert newest is not None
        with cache.hold(newest).lease as held:
            found = Snapshot(held.folder).look_up([pa.array(keys)], ["at"]).columns[0].to_pylist()
        assert found == [far[key % 4] for key in keys]
        return list(cache.figures.refreshes)

    add([*range(400)], [far[key % 4] for key in range(400)])
    assert check([*range(400)]) == ["rebuilt"]
    add([400, 401], far[:2])
    assert check([0, 401]) == ["changed files"]  # the change feed would give other times
    add([402], far[2:3])
    assert check([401, 402]) == ["change feed"]


def test_memory_is_measured_of_the_host_or_its_smaller_control_group(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 1000 kB\nMemAvailable: 500 kB\n")
    none = tmp_path / "none"
    assert measure(meminfo, tmp_path, none) == Memory(500 * 1024, 1000 * 1024)
    (tmp_path / "memory.max").write_text("300000\n")
    (tmp_path / "memory.current").write_text("250000\n")
    (tmp_path / "memory.stat").write_text("inactive_file 20000\nactive_file 5000\n")
    assert measure(meminfo, tmp_path, none) == Memory(75_000, 300_000)
    first = tmp_path / "v1" / "memory"
    first.mkdir(parents=True)
    (first / "memory.usage_in_bytes").write_text("250000\n")
    (first / "memory.stat").write_text("cache 1\ntotal_inactive_file 20000\ntotal_active_file 5000\n")
    for limit, found in (("300000", Memory(75_000, 300_000)), (str(2**63 - 4096), Memory(500 * 1024, 1000 * 1024))):
        (first / "memory.limit_in_bytes").write_text(limit)
        assert measure(meminfo, tmp_path / "v1", none) == found


def test_limit_of_an_outer_control_group_holds_too(tmp_path: Path) -> None:
    meminfo, membership = tmp_path / "meminfo", tmp_path / "membership"
    meminfo.write_text("MemTotal: 1000 kB\nMemAvailable: 500 kB\n")
    membership.write_text("4:cpu,cpuacct:/else\n0::/system.slice/worker.service\n")
    inner = tmp_path / "cgroup" / "system.slice" / "worker.service"
    inner.mkdir(parents=True)
    for folder, limit in ((inner, "max"), (inner.parent, "300000")):
        (folder / "memory.max").write_text(limit)
        (folder / "memory.current").write_text("250000")
        (folder / "memory.stat").write_text("inactive_file 20000\nactive_file 5000\n")
    assert measure(meminfo, tmp_path / "cgroup", membership) == Memory(75_000, 300_000)


def test_column_that_was_gone_for_a_while_is_another_one(table: Table) -> None:
    table.hold().lease.close()
    keys = {"k": [1, 2], "n": ["n1", "n2"]}
    write_deltalake(table.root, pa.table(keys), mode="overwrite", schema_mode="overwrite")
    write_deltalake(table.root, pa.table({**keys, "v": ["c", "d"]}), mode="overwrite", schema_mode="overwrite")
    table.rows = {(1, "n1"): "c", (2, "n2"): "d"}
    table.check(table.hold())


def test_old_dates_in_the_calendar_of_spark_2_are_left_to_spark_also_when_a_change_brings_them(tmp_path: Path) -> None:
    root = str(tmp_path / "d")
    dimension = Dimension("d", root, ("k",), ("day",))

    def add(keys: list[int], day: dt.date, footer: dict[str, str]) -> None:
        write_deltalake(root, pa.table({"k": keys, "day": [day] * len(keys)}), mode="append")
        newest = max(Path(root).glob("*.parquet"), key=lambda file: file.stat().st_mtime_ns)
        size = newest.stat().st_size
        pq.write_table(pq.read_table(newest).replace_schema_metadata(footer), newest)
        log = max(Path(root, "_delta_log").glob("*.json"))
        log.write_text(log.read_text().replace(f'"size":{size}', f'"size":{newest.stat().st_size}'))

    def hold() -> None:
        cache = DimensionCache(tmp_path, dimension, lambda: PLENTY)
        newest = cache.newest()
        assert newest is not None
        cache.hold(newest).lease.close()

    old, young = dt.date(1500, 1, 1), dt.date(2020, 1, 1)
    add([*range(100)], old, {"org.apache.spark.version": "4.2.0"})
    add([100], young, {"org.apache.spark.version": "2.4.8"})
    add([101], old, {})
    hold()
    for number, footer in enumerate(({"version": "2.4.8"}, {"version": "4.2.0", "legacyDateTime": ""})):
        add([102 + number], old, {f"org.apache.spark.{key}": value for key, value in footer.items()})
        with pytest.raises(CannotCache, match="dates before 1900 in the calendar of Spark 2"):
            hold()
        DeltaTable(root).delete(f"k = {102 + number}")
        hold()


def test_rows_far_wider_than_the_others_are_looked_up_few_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("include.cache.snapshot.MOST_BYTES", 2_000_000)
    root = str(tmp_path / "d")
    write_deltalake(root, pa.table({"k": range(3000), "v": ["x"] * 3000}), configuration=FEED)
    cache = DimensionCache(tmp_path, Dimension("d", root, ("k",), ("v",)), lambda: PLENTY)
    counter = SimpleNamespace(add=lambda _number: None)

    def batches() -> list[int]:
        """The rows of each batch that a worker makes of 500 rows that all match the widest row."""
        newest = cache.newest()
        assert newest is not None
        with cache.hold(newest).lease as held:
            look_up = LookUp(str(held.folder), (0,), "left", ("v",), counter, counter, counter)
            return [rows.num_rows for rows in look_up(iter([pa.record_batch({"k": [7] * 500})]))]

    assert batches() == [500]
    DeltaTable(root).update(new_values={"v": "x" * 10_000}, predicate="k = 7")
    few = batches()
    assert (sum(few), max(few)) == (500, few[0])
    assert few[0] < 300
    DeltaTable(root).update(new_values={"v": "y"}, predicate="k = 8")
    assert batches() == few
    shutil.rmtree(tmp_path / "cache")
    assert batches() == few


@pytest.mark.parametrize("held", [True, False])
def test_dimension_that_nobody_uses_any_more_loses_its_snapshots(table: Table, held: bool) -> None:
    lease = table.hold().lease
    store = SnapshotStore.of(table.home, table.dimension)
    long_ago = time.time() - IDLE_SECONDS - 1
    (store.folder / "uses").write_text(f"{long_ago}\n")
    (meta,) = store.metas()
    file = store.folder / "snapshots" / f"{meta.table_id}-{meta.version}"
    write_meta(file, replace(meta, made_at=long_ago))
    if not held:
        lease.close()
    assert remove_idle(table.home) == (0 if held else 1)
    assert len(store.metas()) == (1 if held else 0)
    table.check(table.hold())
    assert remove_idle(table.home) == 0


def test_damaged_snapshot_is_made_again(table: Table) -> None:
    held = table.hold()
    held.lease.close()
    os.truncate(held.folder / "base-00000.arrow", 100)
    table.check(table.hold())


def test_two_that_need_it_at_once_make_it_once(table: Table) -> None:
    caches = [table.cache() for _ in range(4)]
    threads = [threading.Thread(target=lambda cache=cache: table.hold(cache)) for cache in caches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(cache.figures.table_reads for cache in caches) == 1


KILLED = """
import os, signal, sys
from pathlib import Path
from include.cache import build, cache, store
from include.cache.dimension import Dimension

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

home, root, where = sys.argv[1:]
if where == "half written":
    build.BaseBuilder.finish = die
elif where == "written, not moved":
    store._to_disk = die
elif where == "moved, old ones not removed":
    store.SnapshotStore.remove_unused = die
dimension = cache.DimensionCache(Path(home), Dimension("silver.d", root, ("n", "k"), ("v",)))
dimension.hold(dimension.newest())
print("held", flush=True)
signal.pause()
"""


@pytest.mark.parametrize("where", ["half written", "written, not moved", "moved, old ones not removed", "held"])
def test_kill_leaves_nothing_that_the_next_run_does_not_put_in_order(table: Table, where: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(table.home), table.root, where], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    if where == "held":
        assert process.stdout.readline() == "held\n"
        process.kill()
    assert process.wait(60) == -signal.SIGKILL
    process.stdout.close()
    table.delete(3)
    table.check(table.hold())
    snapshots = SnapshotStore.of(table.home, table.dimension).folder / "snapshots"
    assert [folder.name.rpartition("-")[2] for folder in snapshots.iterdir()] == ["1"]


def test_narrower_join_is_served_by_the_snapshot_of_a_wider_one(table: Table) -> None:
    table.hold().lease.close()
    narrow = Dimension("silver.d", table.root, ("k", "n"), ())
    cache = DimensionCache(table.home, narrow, lambda: PLENTY)
    version = cache.newest()
    assert version is not None
    cache.hold(version)
    assert cache.figures.hits == 1


def test_narrower_join_leaves_a_wider_snapshot_whose_column_is_gone(tmp_path: Path) -> None:
    root = str(tmp_path / "d")
    write_deltalake(root, pa.table({"k": [1, 2], "v": ["a", "b"], "w": [1, 2]}))

    def values(*columns: str) -> list[str]:
        cache = DimensionCache(tmp_path, Dimension("d", root, ("k",), columns), lambda: PLENTY)
        newest = cache.newest()
        assert newest is not None
        with cache.hold(newest).lease as held:
            found: list[str] = Snapshot(held.folder).look_up([pa.array([1, 2])], ["v"]).columns[0].to_pylist()
        return found

    assert values("v", "w") == ["a", "b"]
    write_deltalake(root, pa.table({"k": [1, 2], "v": ["c", "d"]}), mode="overwrite", schema_mode="overwrite")
    assert values("v") == values("v") == ["c", "d"]


def test_uses_are_remembered(table: Table) -> None:
    started = time.time()
    for _ in range(3):
        table.cache().note_use()
    uses = SnapshotStore.of(table.home, table.dimension).uses()
    assert len(uses) == 3
    assert uses[0] >= started - 1


@pytest.mark.parametrize("feed", [True, False])
def test_latest_of_several_rows_of_a_key_counts_also_after_appends_and_deletes(tmp_path: Path, feed: bool) -> None:
    rng = random.Random(5)
    root = str(tmp_path / "warehouse" / "d")
    dimension = Dimension("silver.d", root, ("k",), ("v",), "at")
    schema = pa.schema([("k", pa.int64()), ("at", pa.int64()), ("v", pa.string())])
    made: set[str] = set()
    times: set[tuple[int, int | None]] = set()
    for step in range(8):
        new = {
            (rng.randrange(30), rng.choice([None, rng.randrange(1000)])) for _ in range(60 if step == 0 else 2)
        } - times
        times |= new
        twice = [{"k": k, "at": at, "v": f"{step} {at}"} for k, at in new for _ in range(2)]
        config = {"delta.enableChangeDataFeed": str(feed).lower()}
        write_deltalake(root, pa.Table.from_pylist(twice, schema=schema), mode="append", configuration=config)
        if step % 4 == 3:
            DeltaTable(root).delete(f"k = {step}")
        cache = DimensionCache(tmp_path, dimension, lambda: PLENTY)
        version = cache.newest()
        assert version is not None
        held = cache.hold(version)
        with held.lease:
            found = Snapshot(held.folder).look_up([pa.array(range(31))], ["v"]).columns[0].to_pylist()
        made.add(held.meta.made)
        rows = DeltaTable(root).to_pyarrow_table().to_pylist()
        rows.sort(key=lambda row: -1 if row["at"] is None else row["at"])
        latest = {row["k"]: row["v"] for row in rows}
        assert found == [latest.get(k) for k in range(31)]
    assert made >= {"rebuilt", "change feed" if feed else "changed files"}


def test_two_latest_rows_that_differ_are_refused(tmp_path: Path) -> None:
    root = str(tmp_path / "warehouse" / "d")
    write_deltalake(root, pa.table({"k": [1, 1, 2], "at": [5, 5, 1], "v": ["a", "b", "c"]}))
    cache = DimensionCache(tmp_path, Dimension("silver.d", root, ("k",), ("v",), "at"), lambda: PLENTY)
    with pytest.raises(DuplicateKeys, match="several latest rows of the key k = 1"):
        cache.hold(TableVersion(str(DeltaTable(root).metadata().id), 0))
