"""The pipelines of examples/events, micro-batch by micro-batch, in one warm driver: how long, and what of each row.

    python -m benchmarks.streaming [--batches 12] [--rounds 3]

Events of `sluice generate` land, a file a batch, and all pipelines run over each before the next one lands. First
`batches` of a minute at 100 events a second; then batches of other sizes, in turns. A time is that of a whole run, as
`sluice run` does it in a JVM that is there: planning, micro-batch, commit, figures. Writes results/streaming_metrics.md
and results/performance_charts.png.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from deltalake import DeltaTable
from pyspark.sql import SparkSession

from benchmarks.streaming_report import write_report
from include.config.reader import load_pipeline
from include.config.settings import PROJECT_ROOT, Settings, load_settings
from include.generator.events import START, Event, Stream, batches, users
from spark_jobs.notebook import local_session, run_pipeline

EXAMPLES = PROJECT_ROOT / "examples" / "events"
# Tables before those that are made of them; the word is the pipeline's kind in the report.
KINDS = {
    "events": "pass-through",
    "users": "static table",
    "events_deduplicated": "deduplicate within 1 h",
    "events_5_minutes": "tumbling 5 min",
    "events_sliding": "sliding 5/1 min",
    "events_watermark": "watermark 10 min",
    "events_enriched": "stream-static join",
    "user_sessions": "sessions 30 min",
}
RATE, SECONDS = 100, 60
WARM_UP = 2
SIZES = (100, 1_000, 10_000, 50_000)
USERS = 1_000


@dataclass(frozen=True)
class Run:
    """One pipeline's run over one batch: wall seconds, and its figures."""

    pipeline: str
    batch: int
    phase: str
    landed: int
    seconds: float
    loaded: int
    late: int


@dataclass
class Bench:
    """A home, the session, and what was measured."""

    home: Path
    spark: SparkSession
    settings: Settings
    runs: list[Run] = field(default_factory=list)
    number: int = 0

    def land(self, folder: str, name: str, rows: list[Event]) -> None:
        file = self.home / "landing" / folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_name(f".{name}.part")
        partial.write_text("".join(json.dumps(row) + "\n" for row in rows))
        partial.replace(file)

    def batch(self, events: list[Event], phase: str) -> None:
        """Land a batch and run every pipeline over it."""
        self.land("events", f"{self.number:06d}.json", events)
        for name in KINDS:
            started = time.monotonic()
            result = run_pipeline(self.spark, str(EXAMPLES / f"{name}.yaml"), settings=self.settings)
            seconds = time.monotonic() - started
            if result.status == "loaded":
                rows = result.rows
                self.runs.append(Run(name, self.number, phase, len(events), seconds, rows.loaded, rows.late))
        self.number += 1

    def table_rows(self) -> dict[str, int]:
        """The rows of each pipeline's table at the end."""
        return {
            name: DeltaTable(self.settings.table_root(load_pipeline(EXAMPLES / f"{name}.yaml").targets[0]))
            .to_pyarrow_dataset()
            .count_rows()
            for name in KINDS
        }


def measure(bench: Bench, count: int, rounds: int) -> None:
    """All batches: those of a steady stream, then those of other sizes, in turns."""
    stream = Stream(rate=RATE, seconds=SECONDS, batches=count + WARM_UP, users=USERS)
    bench.land("events_users", "users.json", users(stream))
    arrivals = list(batches(stream))
    arrivals.append(arrivals.pop(WARM_UP))  # one that comes last: behind the watermark
    for number, events in enumerate(arrivals):
        bench.batch(events, "warm-up" if number < WARM_UP else "stream")
    for number in range(rounds):
        for size in SIZES:
            start = START + timedelta(seconds=SECONDS * bench.number)
            one = Stream(size / SECONDS, 1, SECONDS, users=USERS, seed=1000 + bench.number, start=start)
            bench.batch(next(batches(one)), f"size {size}")
        sys.stderr.write(f"round {number + 1} of {rounds} done\n")


def main() -> int:
    """Measure, check that no row is lost, and write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="sluice-streaming-"))
    started = time.monotonic()
    try:
        settings = load_settings({"SLUICE_HOME": str(home)}, home / "none.yaml")
        bench = Bench(home, local_session("sluice streaming"), settings)
        measure(bench, args.batches, args.rounds)
        report = {
            "runs": bench.runs,
            "kinds": KINDS,
            "rows": bench.table_rows(),
            "cores": os.cpu_count(),
            "rate": RATE,
            "seconds": SECONDS,
            "sizes": SIZES,
            "took": time.monotonic() - started,
        }
        bench.spark.stop()
    finally:
        shutil.rmtree(home, ignore_errors=True)
    write_report(report, PROJECT_ROOT / "results")
    return 0


if __name__ == "__main__":
    sys.exit(main())
