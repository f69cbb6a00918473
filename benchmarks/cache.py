"""Joining micro-batches with a large Delta table: cached, and read each time. Writes benchmarks/cache.md and cache.svg.

    python -m benchmarks.cache                 the short form, a few minutes
    python -m benchmarks.cache --batches 600   the published experiment's length, at 1,000,000 rows

One driver, local[2]; per round each way joins the same 10,000 rows, in an order that turns with the round. `floor` is
the batch without a join, `wide` one that has the joined columns already: the cost of such rows alone; `lean` is cached,
written without statistics and dictionaries.
The first batch of a new driver is measured in processes of its own, with the JVM options that Sluice gives to jobs of
that size. `--home FOLDER` keeps the tables for the next time.
"""

import argparse
import importlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable, write_deltalake
from pyspark.sql import DataFrame, SparkSession

from benchmarks.cache_limits import limits
from benchmarks.cache_report import write_report
from include.cache.cache import LOOK_UP_NEEDS, MIN_FREE_SHARE, DimensionCache
from include.cache.dimension import Dimension, current_version
from include.cache.memory import Memory
from include.cache.memory import measure as measure_memory
from include.config.settings import Settings, load_settings
from include.submit.java import find_java
from include.submit.job import CACHED_DAEMON
from include.submit.profile import SMALL, class_archive, delta_jars, java_options
from spark_jobs.engine.cache.joins import CachedJoins, refuse_duplicates
from spark_jobs.engine.session import build_session

BATCH_ROWS = 10_000
COLUMNS = tuple(f"s{index}" for index in range(6))
TEXT = 80  # characters of each of them
SIZES = {100_000: 10, 1_000_000: 30, 4_000_000: 4}  # rows of the table: batches joined with it
MAIN = 1_000_000
SINK_ROUNDS = 8
WAYS = ("floor", "cached", "uncached")
SINK_WAYS = ("floor", "wide", "cached", "lean", "uncached")


@dataclass
class Measured:
    """One batch: wall seconds, and CPU seconds of the JVM and the Python workers."""

    way: str
    rows: int
    sink: str
    seconds: float
    cpu: float


def make_table(root: str, rows: int) -> None:
    """A table of about 500 bytes a row that does not compress well, with the change feed on."""
    if DeltaTable.is_deltatable(root):
        return
    rng = np.random.default_rng(rows)
    step = 250_000
    for start in range(0, rows, step):
        count = min(step, rows - start)
        columns = {"id": pa.array(np.arange(start, start + count)), **texts(rng, count)}
        feed = {"delta.enableChangeDataFeed": "true"}
        write_deltalake(root, pa.table(columns), mode="append", configuration=feed if start == 0 else None)


def texts(rng: np.random.Generator, count: int) -> dict[str, pa.Array]:
    """The table's columns beside the key."""
    ends = pa.py_buffer(np.arange(0, TEXT * count + 1, TEXT, dtype=np.int32).tobytes())
    data = {name: pa.py_buffer(rng.bytes(TEXT // 2 * count).hex().encode()) for name in COLUMNS}
    return {name: pa.Array.from_buffers(pa.string(), count, [None, ends, text]) for name, text in data.items()}


def make_batches(folder: Path, rows: int, count: int) -> list[str]:
    """Facts whose keys are drawn from the table's, one in twenty from beyond it."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(7)
    files = []
    for number in range(count):
        keys = pa.array(rng.integers(0, int(rows / 0.95), BATCH_ROWS))
        values = pa.array(rng.random(BATCH_ROWS))
        file = folder / f"{number}.parquet"
        pq.write_table(pa.table({"id": keys, "value": values}), file)
        if number < SINK_ROUNDS:
            pq.write_table(pa.table({"id": keys, "value": values, **texts(rng, BATCH_ROWS)}), f"{file}.wide")
        files.append(str(file))
    return files


def start_spark(options: str = "") -> SparkSession:
    """A session with the class path and the workers that include.submit gives a job, and the JVM's `options`."""
    jars = os.pathsep.join(str(jar) for jar in delta_jars())
    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ["PYSPARK_SUBMIT_ARGS"] = (
        f"--master local[2] --driver-memory 4g --driver-class-path {jars} --driver-java-options '{options}' "
        "--conf spark.sql.extensions=io.delta.sql.DeltaSparkSessionExtension "
        "--conf spark.sql.catalog.spark_catalog=org.apache.spark.sql.delta.catalog.DeltaCatalog "
        "--conf spark.hadoop.fs.file.impl=org.apache.hadoop.fs.RawLocalFileSystem "
        f"--conf spark.python.daemon.module={CACHED_DAEMON} "
        "--conf spark.ui.enabled=false --conf spark.ui.showConsoleProgress=false "
        "--conf spark.sql.shuffle.partitions=16 --conf spark.driver.host=127.0.0.1 pyspark-shell"
    )
    spark = build_session("bench-cache")
    spark.sparkContext.setLogLevel("ERROR")
    return spark


class Joiner:
    """The ways to join a batch with one table."""

    def __init__(self, spark: SparkSession, settings: Settings, table: str) -> None:
        self._spark = spark
        self._root = settings.table_root(table)
        self.dimension = Dimension(table, self._root, ("id",), COLUMNS)
        self.joins = CachedJoins(spark, settings, self._measured)
        self.left: int | None = None  # as if so many bytes of memory were left

    def frame(self, way: str, file: str) -> DataFrame:
        """The batch in `file`, joined."""
        batch = self._spark.read.parquet(f"{file}.wide" if way == "wide" else file)
        if way in ("floor", "wide"):
            return batch
        if way == "uncached":
            return self._uncached(batch)
        version = current_version(self._root)  # what pinning costs is part of it
        if version is None:
            raise AssertionError(self._root)
        return self.joins.join(batch, self.dimension, version, "left", lambda: self._instead(batch))

    def _uncached(self, batch: DataFrame) -> DataFrame:
        table = self._spark.read.format("delta").load(self._root)
        return batch.join(table, on=["id"], how="left").select(*batch.columns, *COLUMNS)

    def _instead(self, batch: DataFrame) -> DataFrame:
        """What the transform job does while the cache cannot serve."""
        if self.left is None:
            raise AssertionError(self.joins.figures())
        refuse_duplicates(self._spark.read.format("delta").load(self._root), self.dimension.keys, self.dimension.table)
        return self._uncached(batch)

    def _measured(self) -> Memory:
        found = measure_memory()
        return found if self.left is None else replace(found, available=self.left)


def noop(frame: DataFrame) -> None:
    """Compute all rows and drop them."""
    frame.write.format("noop").mode("overwrite").save()


def append(spark: SparkSession, frame: DataFrame, location: str, *, lean: bool) -> None:
    """Append to a Delta table; `lean` without the statistics and dictionaries of its columns."""
    collect, hadoop = "spark.databricks.delta.stats.collect", spark.sparkContext._jsc.hadoopConfiguration()
    spark.conf.set(collect, str(not lean).lower())
    hadoop.set("parquet.enable.dictionary", str(not lean).lower())
    frame.write.format("delta").mode("append").save(location)


def run_rounds(
    joiner: Joiner,
    files: list[str],
    rows: int,
    sink: str,
    write: Callable[[str, DataFrame], None],
    ways: tuple[str, ...] = WAYS,
) -> list[Measured]:
    """Each way once for each file, interleaved; two rounds before are not counted."""
    found = []
    for number, file in enumerate([*files[:2], *files]):
        turned = ways[number % len(ways) :] + ways[: number % len(ways)]
        for way in turned:
            cpu, started = cpu_seconds(), time.perf_counter()
            write(way, joiner.frame(way, file))
            seconds = time.perf_counter() - started
            if number >= 2:
                found.append(Measured(way, rows, sink, seconds, cpu_seconds() - cpu))
    return found


def processes() -> list[int]:
    """This process and all below it."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except FileNotFoundError:
                continue  # ended meanwhile
            parents.setdefault(parent, []).append(int(entry.name))
    found = [os.getpid()]
    for pid in found:
        found += parents.get(pid, [])
    return found


def cpu_seconds() -> float:
    """CPU used so far by this process and all below it, with children that ended."""
    ticks = 0
    for pid in processes():
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except FileNotFoundError:
            continue
        ticks += sum(int(value) for value in fields[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def memory_of(pids: list[int]) -> dict[str, int]:
    """Bytes: the most that the JVM ever held, what the Python workers hold of their own, and their file pages."""
    found = {"jvm": 0, "own": 0, "mapped": 0}
    for pid in pids:
        try:
            if Path(f"/proc/{pid}/comm").read_text().strip() == "java":
                found["jvm"] = max(found["jvm"], _sizes(f"/proc/{pid}/status")["VmHWM:"])
            elif b"pyspark" in Path(f"/proc/{pid}/cmdline").read_bytes():
                sizes = _sizes(f"/proc/{pid}/smaps_rollup")
                found["own"] += sizes["Pss_Anon:"]
                found["mapped"] += sizes["Pss_File:"]
        except (FileNotFoundError, ProcessLookupError):
            continue  # ended meanwhile
    return found


def _sizes(file: str) -> dict[str, int]:
    lines = [line.split() for line in Path(file).read_text().splitlines()]
    return {words[0]: int(words[1]) * 1024 for words in lines if words[-1] == "kB"}


def first_batch(home: Path, way: str) -> None:
    """In a new process: seconds and memory of the first batch after the session stands, as the last line on stdout."""
    settings = load_settings({"SLUICE_HOME": str(home)}, home / "none.yaml")
    with ThreadPoolExecutor(1) as background:  # as the transform job has it
        imported = background.submit(importlib.import_module, "pandas")
        spark = start_spark(java_options(SMALL, class_archive(find_java(), delta_jars())))
        imported.result()
    started, cpu = time.perf_counter(), cpu_seconds()
    joiner = Joiner(spark, settings, f"d.t{MAIN}")
    noop(joiner.frame(way, str(home / f"batches-{MAIN}" / "0.parquet")))
    seconds, used = time.perf_counter() - started, cpu_seconds() - cpu
    print(json.dumps({"seconds": seconds, "cpu": used, **memory_of(processes()[1:])}), flush=True)
    joiner.joins.close()
    spark.stop()


def new_drivers(home: Path, rounds: int = 3) -> dict[str, dict[str, float]]:
    """The median first batch of each way, each in a driver of its own, interleaved."""
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way in WAYS:
            command = [sys.executable, "-m", "benchmarks.cache", "--first-batch", way, "--home", str(home)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found[way].append(json.loads(done.stdout.splitlines()[-1]))
    return {way: sorted(runs, key=lambda run: run["seconds"])[rounds // 2] for way, runs in found.items()}


def refreshes(settings: Settings, table: str) -> dict[str, object]:
    """Seconds and bytes to make the snapshot: from nothing, and after 1 % of the rows changed."""
    root = settings.table_root(table)
    dimension = Dimension(table, root, ("id",), COLUMNS)
    found: dict[str, object] = {}

    def make(name: str) -> None:
        cache = DimensionCache(settings.home, dimension)
        version = cache.newest()
        if version is None:
            raise AssertionError(root)
        started = time.perf_counter()
        held = cache.hold(version)
        found[name] = {
            "seconds": time.perf_counter() - started,
            "made": held.meta.made,
            "table_bytes": cache.figures.table_bytes,
            "snapshot_bytes": held.meta.bytes,
        }
        held.lease.close()

    make("built from the table")
    rows = DeltaTable(root).count()
    changed = np.random.default_rng(3).choice(rows, rows // 100, replace=False)
    data = pa.table({"id": changed, **{name: [f"changed {key}" for key in changed] for name in COLUMNS}})
    merger = DeltaTable(root).merge(data, "t.id = s.id", "s", "t")
    merger.when_matched_update_all().when_not_matched_insert_all().execute()
    make("1 % of the rows changed")
    checks = []
    for _ in range(50):
        started = time.perf_counter()
        current_version(root)
        checks.append(time.perf_counter() - started)
    found["change detection"] = {
        "seconds": statistics.median(checks),
        "made": "",
        "table_bytes": 0,
        "snapshot_bytes": 0,
    }
    return found


def prepare(settings: Settings, batches: int) -> dict[int, list[str]]:
    """The tables and the files of the batches, by rows of the table."""
    files = {}
    for rows, count in {**SIZES, MAIN: batches}.items():
        make_table(settings.table_root(f"d.t{rows}"), rows)
        files[rows] = make_batches(settings.home / f"batches-{rows}", rows, max(count, SINK_ROUNDS))
    return files


def measure(settings: Settings, batches: int) -> dict[str, object]:
    """Everything, as the report takes it."""
    home = settings.home
    files = prepare(settings, batches)
    for left in ("cache", *(f"out-{way}" for way in SINK_WAYS)):
        shutil.rmtree(home / left, ignore_errors=True)
    made = refreshes(settings, f"d.t{MAIN}")
    drivers = new_drivers(home)
    spark = start_spark()
    measured: list[Measured] = []
    figures = []
    for rows, count in {**SIZES, MAIN: batches}.items():
        joiner = Joiner(spark, settings, f"d.t{rows}")
        measured += run_rounds(joiner, files[rows][:count], rows, "none", lambda _way, frame: noop(frame))
        if rows == MAIN:
            measured += run_rounds(
                joiner,
                files[rows][:SINK_ROUNDS],
                rows,
                "Delta",
                lambda way, frame: append(spark, frame, str(home / f"out-{way}"), lean=way == "lean"),
                SINK_WAYS,
            )
            measured += under_pressure(joiner, files[rows][:4], rows)
        figures += [item.to_dict() for item in joiner.joins.figures()]
        joiner.joins.close()
    memory = memory_of(processes()[1:])
    spark.stop()
    return {
        "measured": [asdict(item) for item in measured],
        "figures": figures,
        "refreshes": made,
        "drivers": drivers,
        "memory": memory,
        "limits": limits(settings, SIZES),
        "table_bytes": {rows: _bytes(settings.table_root(f"d.t{rows}")) for rows in SIZES},
        "batch_rows": BATCH_ROWS,
        "main": MAIN,
    }


def under_pressure(joiner: Joiner, files: list[str], rows: int) -> list[Measured]:
    """Batches in turn with enough memory, with less than 5 % of it, and with less than a worker needs."""
    states = {"short": int(MIN_FREE_SHARE * measure_memory().total * 0.9), "pressed": LOOK_UP_NEEDS // 2, "back": None}
    found = []
    for file in files:
        for way, left in states.items():
            joiner.left = left
            started = time.perf_counter()
            noop(joiner.frame("cached", file))
            found.append(Measured(way, rows, "none", time.perf_counter() - started, 0.0))
    return found


def _bytes(root: str) -> int:
    return sum(int(size) for size in pa.table(DeltaTable(root).get_add_actions())["size_bytes"].to_pylist())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=SIZES[MAIN], help="batches at 1,000,000 rows")
    parser.add_argument("--first-batch", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--home", type=Path, help="a folder for the tables, which stay there")
    parser.add_argument("--prepare", action="store_true", help="make the tables in --home, and measure nothing")
    args = parser.parse_args()
    if args.first_batch:
        first_batch(args.home, args.first_batch)
        return
    home = args.home or Path(tempfile.mkdtemp(prefix="bench-cache-"))
    settings = load_settings({"SLUICE_HOME": str(home)}, home / "none.yaml")
    try:
        if args.prepare:
            prepare(settings, args.batches)
        else:
            write_report(measure(settings, args.batches))
    finally:
        if args.home is None:
            shutil.rmtree(home)


if __name__ == "__main__":
    main()
