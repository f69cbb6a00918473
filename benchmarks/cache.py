"""Joining micro-batches with a large Delta table: cached, and read each time. Writes benchmarks/cache.md and cache.svg.

    python -m benchmarks.cache                 the short form, a few minutes
    python -m benchmarks.cache --batches 600   the published experiment's length, at 1,000,000 rows

One driver, local[2]; per round each way joins the same 10,000 rows, in an order that turns with the round. `floor` is
the batch without a join. The first batch of a new driver is measured in processes of its own.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable, write_deltalake
from pyspark.sql import DataFrame, SparkSession

from benchmarks.cache_report import write_report
from include.cache.cache import DimensionCache
from include.cache.dimension import Dimension, current_version
from include.config.settings import Settings, load_settings
from include.submit.profile import delta_jars
from spark_jobs.engine.cache.joins import CachedJoins
from spark_jobs.engine.session import build_session

BATCH_ROWS = 10_000
COLUMNS = tuple(f"s{index}" for index in range(6))
TEXT = 80  # characters of each of them
SIZES = {100_000: 10, 1_000_000: 30, 4_000_000: 4}  # rows of the table: batches joined with it
MAIN = 1_000_000
SINK_ROUNDS = 8
WAYS = ("floor", "cached", "uncached")


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
    rng = np.random.default_rng(rows)
    step = 250_000
    for start in range(0, rows, step):
        count = min(step, rows - start)
        columns: dict[str, pa.Array] = {"id": pa.array(np.arange(start, start + count))}
        for name in COLUMNS:
            text = rng.bytes(TEXT // 2 * count).hex().encode()
            ends = pa.py_buffer(np.arange(0, TEXT * count + 1, TEXT, dtype=np.int32).tobytes())
            columns[name] = pa.Array.from_buffers(pa.string(), count, [None, ends, pa.py_buffer(text)])
        feed = {"delta.enableChangeDataFeed": "true"}
        write_deltalake(root, pa.table(columns), mode="append", configuration=feed if start == 0 else None)


def make_batches(folder: Path, rows: int, count: int) -> list[str]:
    """Facts whose keys are drawn from the table's, one in twenty from beyond it."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(7)
    files = []
    for number in range(count):
        keys = pa.array(rng.integers(0, int(rows / 0.95), BATCH_ROWS))
        values = pa.array(rng.random(BATCH_ROWS))
        file = folder / f"{number}.parquet"
        pq.write_table(pa.table({"id": keys, "value": values}), file)
        files.append(str(file))
    return files


def start_spark() -> SparkSession:
    """A session with the class path that include.submit gives a job."""
    jars = os.pathsep.join(str(jar) for jar in delta_jars())
    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ["PYSPARK_SUBMIT_ARGS"] = (
        f"--master local[2] --driver-memory 4g --driver-class-path {jars} "
        "--conf spark.sql.extensions=io.delta.sql.DeltaSparkSessionExtension "
        "--conf spark.sql.catalog.spark_catalog=org.apache.spark.sql.delta.catalog.DeltaCatalog "
        "--conf spark.hadoop.fs.file.impl=org.apache.hadoop.fs.RawLocalFileSystem "
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
        self.joins = CachedJoins(spark, settings)

    def frame(self, way: str, file: str) -> DataFrame:
        """The batch in `file`, joined."""
        batch = self._spark.read.parquet(file)
        if way == "floor":
            return batch
        if way == "uncached":
            return self._uncached(batch)
        version = current_version(self._root)  # what pinning costs is part of it
        if version is None:
            raise AssertionError(self._root)
        return self.joins.join(batch, self.dimension, version, "left", self._fail)

    def _uncached(self, batch: DataFrame) -> DataFrame:
        table = self._spark.read.format("delta").load(self._root)
        return batch.join(table, on=["id"], how="left").select(*batch.columns, *COLUMNS)

    def _fail(self) -> DataFrame:
        raise AssertionError(self.joins.figures())


def noop(frame: DataFrame) -> None:
    """Compute all rows and drop them."""
    frame.write.format("noop").mode("overwrite").save()


def run_rounds(
    joiner: Joiner, files: list[str], rows: int, sink: str, write: Callable[[str, DataFrame], None]
) -> list[Measured]:
    """Each way once for each file, interleaved; two rounds before are not counted."""
    found = []
    for number, file in enumerate([*files[:2], *files]):
        turned = WAYS[number % 3 :] + WAYS[: number % 3]
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


def workers_memory() -> tuple[int, int]:
    """Bytes of the Python workers: memory of their own, and mapped file pages, which they share."""
    own = mapped = 0
    for pid in processes()[1:]:
        try:
            if b"pyspark" not in Path(f"/proc/{pid}/cmdline").read_bytes():
                continue
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
        except (FileNotFoundError, ProcessLookupError):
            continue
        sizes = {line.split()[0]: int(line.split()[1]) * 1024 for line in lines}
        if "java" in Path(f"/proc/{pid}/comm").read_text():
            continue
        own += sizes["Pss_Anon:"]
        mapped += sizes["Pss_File:"]
    return own, mapped


def first_batch(home: Path, way: str) -> None:
    """In a new process: seconds of the first batch after the session stands, as the last line on stdout."""
    settings = load_settings({"SLUICE_HOME": str(home)}, home / "none.yaml")
    spark = start_spark()
    joiner = Joiner(spark, settings, f"d.t{MAIN}")
    started = time.perf_counter()
    noop(joiner.frame(way, str(home / f"batches-{MAIN}" / "0.parquet")))
    print(json.dumps(time.perf_counter() - started), flush=True)
    spark.stop()


def new_drivers(home: Path, rounds: int = 2) -> dict[str, float]:
    """The best first batch of each way, each in a driver of its own, interleaved."""
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way in WAYS:
            command = [sys.executable, "-m", "benchmarks.cache", "--first-batch", way, "--home", str(home)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found[way].append(float(done.stdout.splitlines()[-1]))
    return {way: statistics.median(values) for way, values in found.items()}


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


def measure(home: Path, batches: int) -> dict[str, object]:
    """Everything, as the report takes it."""
    settings = load_settings({"SLUICE_HOME": str(home)}, home / "none.yaml")
    counts = {**SIZES, MAIN: batches}
    files = {}
    for rows, count in counts.items():
        make_table(settings.table_root(f"d.t{rows}"), rows)
        files[rows] = make_batches(home / f"batches-{rows}", rows, max(count, SINK_ROUNDS))
    made = refreshes(settings, f"d.t{MAIN}")
    drivers = new_drivers(home)
    spark = start_spark()
    measured: list[Measured] = []
    figures = []
    for rows, count in counts.items():
        joiner = Joiner(spark, settings, f"d.t{rows}")
        measured += run_rounds(joiner, files[rows][:count], rows, "none", lambda _way, frame: noop(frame))
        if rows == MAIN:
            measured += run_rounds(
                joiner,
                files[rows][:SINK_ROUNDS],
                rows,
                "Delta",
                lambda way, frame: frame.write.format("delta").mode("append").save(str(home / f"out-{way}")),
            )
        figures += [item.to_dict() for item in joiner.joins.figures()]
        joiner.joins.close()
    memory = workers_memory()
    spark.stop()
    sizes = {rows: _bytes(settings.table_root(f"d.t{rows}")) for rows in counts}
    return {
        "measured": [asdict(item) for item in measured],
        "figures": figures,
        "refreshes": made,
        "drivers": drivers,
        "memory": {"own": memory[0], "mapped": memory[1]},
        "table_bytes": sizes,
        "batch_rows": BATCH_ROWS,
        "main": MAIN,
    }


def _bytes(root: str) -> int:
    return sum(int(size) for size in pa.table(DeltaTable(root).get_add_actions())["size_bytes"].to_pylist())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=SIZES[MAIN], help="batches at 1,000,000 rows")
    parser.add_argument("--first-batch", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.first_batch:
        first_batch(args.home, args.first_batch)
        return
    home = Path(tempfile.mkdtemp(prefix="bench-cache-"))
    try:
        write_report(measure(home, args.batches))
    finally:
        shutil.rmtree(home)


if __name__ == "__main__":
    main()
