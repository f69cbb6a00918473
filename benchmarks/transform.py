"""Window tables: Sluice's merge engine against Spark's stateful streaming with Delta-Spark's MERGE, in one warm driver.

    python -m benchmarks.transform [--events 2000000] [--windows 1000000] [--rounds 3] [--minutes 60]

Rounds are interleaved; the table of medians goes to benchmarks/transform.md: wall seconds, and the CPU seconds of the
JVM and the driver, which other work on the machine does not move as much. Each scenario says what it compares:
- throughput: the same events, in the same micro-batches, into the same table by native update mode and by Sluice;
- flatness: 10,000 events into a table of many windows, and the same into an empty one;
- latency: 100 events into a small table.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import yaml
from delta.tables import DeltaTable as SparkDelta
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from include.config.reader import load_pipeline
from include.config.settings import PROJECT_ROOT, Settings, load_settings
from include.submit.profile import delta_jars
from include.transform.plan import plan_transform
from spark_jobs.engine.session import CONF
from spark_jobs.engine.transform.runner import run_batches

RESULT = PROJECT_ROOT / "benchmarks" / "transform.md"
COMMITS = 8
FILES = 2  # of each commit: so a micro-batch is a commit in both
KEYS = 50
MEASURES = {"events": "count(*)", "total": "sum(value)", "least": "min(value)", "most": "max(value)"}
DAY = 86_400


def session() -> SparkSession:
    class_path = os.pathsep.join(str(jar) for jar in delta_jars())
    os.environ["PYSPARK_SUBMIT_ARGS"] = f"--driver-memory 4g --driver-class-path {class_path} pyspark-shell"
    builder = SparkSession.builder.master("local[2]").config("spark.sql.shuffle.partitions", "2")
    builder = builder.config("spark.sql.extensions", "io.delta.sql.DeltaSparkSessionExtension")
    builder = builder.config("spark.sql.catalog.spark_catalog", "org.apache.spark.sql.delta.catalog.DeltaCatalog")
    for key, value in {**CONF, "spark.ui.enabled": "false", "spark.driver.host": "127.0.0.1"}.items():
        builder = builder.config(key, value)
    made = builder.getOrCreate()
    made.sparkContext.setLogLevel("ERROR")
    return made


class Cost(NamedTuple):
    """Seconds on the clock, and of the CPUs."""

    wall: float
    cpu: float

    def __add__(self, other: "Cost") -> "Cost":  # type: ignore[override]
        return Cost(self.wall + other.wall, self.cpu + other.cpu)


Rows = list[tuple[str, list[Cost]]]


class Bench:
    """One warehouse for all rounds."""

    def __init__(self, home: Path, spark: SparkSession) -> None:
        self.home = home
        self.spark = spark
        self._jvm = int(spark._jvm.java.lang.ProcessHandle.current().pid())  # type: ignore[union-attr]
        self.settings: Settings = load_settings({"SLUICE_HOME": str(home)}, home / "none.yaml")

    def measured(self, run: Callable[[], None]) -> Cost:
        """What a run took."""
        started, cpu = time.monotonic(), self._cpu()
        run()
        return Cost(time.monotonic() - started, self._cpu() - cpu)

    def _cpu(self) -> float:
        """CPU seconds of the JVM and of this process so far."""
        found = Path(f"/proc/{self._jvm}/stat").read_text().rpartition(")")[2].split()
        return (int(found[11]) + int(found[12])) / os.sysconf("SC_CLK_TCK") + time.process_time()

    def events(self, table: str, first: int, count: int, seconds: int) -> None:
        """One commit of `count` events from number `first` on, spread over `seconds` from a fixed day on."""
        rows = self.spark.range(first, first + count).select(
            F.timestamp_seconds(1_700_000_000 // DAY * DAY + (F.xxhash64("id") % seconds + seconds) % seconds).alias(
                "at"
            ),
            (F.xxhash64("id", F.lit(1)) % KEYS).alias("k"),
            (F.xxhash64("id", F.lit(2)) % 1000).alias("value"),
        )
        rows.coalesce(FILES).write.format("delta").mode("append").save(self.settings.table_root(table))

    def pipeline(self, name: str, source: str, target: str) -> Callable[[], Cost]:
        """A function that plans and does what is pending, and returns what it took."""
        window = {"type": "tumbling", "time": "at", "size": "1 minute", "keys": ["k"], "measures": MEASURES}
        options = {"maxVersionsPerTrigger": 1}
        section = {"source": source, "steps": [{"window": window}], "table": target, "options": options}
        file = self.home / f"{name}.yaml"
        file.write_text(yaml.safe_dump({"name": name, "transform": section}))
        loaded = load_pipeline(file)

        def run() -> None:
            plan_transform(loaded, self.settings, "bench")
            run_batches(self.spark, loaded, self.settings, "bench")

        return lambda: self.measured(run)

    def native(self, source: str, target: str, checkpoint: str) -> Cost:
        """What the native way took."""
        return self.measured(lambda: self._native(source, target, checkpoint))

    def _native(self, source: str, target: str, checkpoint: str) -> None:
        """Spark's own way: update mode with a watermark, each micro-batch's windows merged into the table."""
        location = self.settings.table_root(target)

        def upsert(frame: DataFrame, _epoch: int) -> None:
            rows = frame.select(
                F.col("w.start").alias("window_start"), F.col("w.end").alias("window_end"), "k", *MEASURES
            )
            if not SparkDelta.isDeltaTable(self.spark, location):
                rows.write.format("delta").save(location)
                return
            merge = (
                SparkDelta.forPath(self.spark, location)
                .alias("t")
                .merge(rows.alias("s"), "t.window_start = s.window_start AND t.k = s.k")
            )
            merge.whenMatchedUpdateAll().whenNotMatchedInsertAll().execute()

        stream = self.spark.readStream.format("delta").option("maxFilesPerTrigger", FILES)
        grouped = (
            stream.load(self.settings.table_root(source))
            .withWatermark("at", "30 days")
            .groupBy(F.window("at", "1 minute").alias("w"), "k")
            .agg(*(F.expr(text).alias(name) for name, text in MEASURES.items()))
        )
        query = (
            grouped.writeStream.outputMode("update")
            .foreachBatch(upsert)
            .option("checkpointLocation", str(self.home / checkpoint))
            .trigger(availableNow=True)
            .start()
        )
        query.awaitTermination()

    def sum_of(self, target: str) -> int:
        table = self.spark.read.format("delta").load(self.settings.table_root(target))
        return int(table.agg(F.sum("events")).collect()[0][0])


def throughput(bench: Bench, events: int, rounds: int, deadline: float) -> Rows:
    """Both see one commit first, then the others; what is measured is their runs, not the making of events."""
    ours, theirs = [], []
    share = events // COMMITS
    for number in range(rounds):
        if number and time.monotonic() > deadline:
            break
        source = f"bronze.t{number}"
        bench.events(source, 0, share, 2 * DAY)
        run = bench.pipeline(f"thru{number}", source, f"gold.t{number}")
        seconds = [bench.native(source, f"native.n{number}", f"check{number}"), run()]
        for commit in range(1, COMMITS):
            bench.events(source, commit * share, share, 2 * DAY)
        seconds = [seconds[0] + bench.native(source, f"native.n{number}", f"check{number}"), seconds[1] + run()]
        if not bench.sum_of(f"native.n{number}") == bench.sum_of(f"gold.t{number}") == share * COMMITS:
            raise SystemExit("the two tables do not hold the same events")
        theirs.append(seconds[0])
        ours.append(seconds[1])
    return [(f"{events:,} events, native update mode", theirs), (f"{events:,} events, Sluice", ours)]


def flatness(bench: Bench, windows: int, rounds: int) -> Rows:
    """A table of many windows and an empty one get the same batches, of the newest day."""
    days = max(1, windows // KEYS * 60 // DAY)
    at = F.timestamp_seconds(F.lit(1_700_000_000 // DAY * DAY - days * DAY) + F.floor(F.col("id") / KEYS) * 60)
    every = bench.spark.range(windows).select(
        at.alias("at"), (F.col("id") % KEYS).alias("k"), F.lit(1).cast("bigint").alias("value")
    )
    every.write.format("delta").save(bench.settings.table_root("bronze.many"))
    bench.events("bronze.few", 0, 1, DAY)
    runs = {name: bench.pipeline(name, f"bronze.{name}", f"gold.{name}") for name in ("many", "few")}
    seconds: dict[str, list[Cost]] = {"many": [], "few": [], "latency": []}
    for run in runs.values():
        run()
    for number in range(rounds + 1):
        for name, run in runs.items():
            bench.events(f"bronze.{name}", 1_000 + number * 10_000, 10_000, DAY)
            seconds[name].append(run())
    for number in range(rounds + 1):
        bench.events("bronze.few", 10_000_000 + number * 100, 100, 3600)
        seconds["latency"].append(runs["few"]())
    return [
        (f"10,000 events into {windows:,} windows", seconds["many"][1:]),
        ("10,000 events into an empty table", seconds["few"][1:]),
        ("100 events into a small table", seconds["latency"][1:]),
    ]


def _wall(costs: list[Cost]) -> float:
    return statistics.median(cost.wall for cost in costs)


def _cpu(costs: list[Cost]) -> float:
    return statistics.median(cost.cpu for cost in costs)


def compared(rows: dict[str, list[Cost]], events: int) -> list[str]:
    """The ratios that matter, in words."""
    many, few, latency, native, ours = rows.values()
    return [
        f"- Against native update mode: {_wall(native) / _wall(ours):.2f}x the events a second, "
        f"{_cpu(native) / _cpu(ours):.2f}x a second of CPU: {events / _cpu(ours):,.0f} events against "
        f"{events / _cpu(native):,.0f}.",
        f"- The same 10,000 events take {_wall(many) / _wall(few):.2f} times as long where the table is large "
        f"({_cpu(many) / _cpu(few):.2f} times the CPU).",
        f"- A micro-batch of 100 events: {_wall(latency):.2f} s, planned and committed.",
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--windows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=60, help="after which no further round begins")
    args = parser.parse_args()
    deadline = time.monotonic() + 60 * args.minutes
    home = Path(tempfile.mkdtemp(prefix="sluice-bench-"))
    try:
        bench = Bench(home, session())
        rows = [*flatness(bench, args.windows, args.rounds), *throughput(bench, args.events, args.rounds, deadline)]
    finally:
        shutil.rmtree(home, ignore_errors=True)
    lines = ["| scenario | median s | all rounds | median CPU s |", "|---|---:|---|---:|"]
    for name, costs in rows:
        walls = ", ".join(f"{cost.wall:.2f}" for cost in costs)
        lines.append(f"| {name} | {_wall(costs):.2f} | {walls} | {_cpu(costs):.2f} |")
    lines += ["", *compared(dict(rows), args.events)]
    RESULT.write_text(f"{(__doc__ or '').splitlines()[0]}\n\n" + "\n".join(lines) + "\n")
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
