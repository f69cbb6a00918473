"""Sluice against Spark's own file source -> Delta with default options: same data, same cores, runs interleaved.

    make bench                                   all scenarios, writes benchmarks/ingest.md
    python -m benchmarks.ingest small bulk       some of them, whose lines are written anew

Each round runs both, one after the other, on tables of their own; a figure is the median of the rounds, a ratio is
that of the medians. Both are whole processes: `sluice run` with its discovery, and a spark-submit of
file_source_job.py with default JVM flags and the two Delta jars local.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake

from include.submit.job import spark_home
from include.submit.profile import delta_jars

REPORT = Path(__file__).with_name("ingest.md")
SCHEMA = "id BIGINT, name STRING, amount DOUBLE, flag BOOLEAN, day STRING, note STRING"
PIPELINE = """\
name: bench
ingest:
  source: in
  table: bronze.t
  schema: "{schema}"
  options: {{cloudFiles.format: json}}
"""


@dataclass(frozen=True)
class Run:
    """Wall and CPU seconds of a process and its children."""

    wall: float
    cpu: float


@dataclass(frozen=True)
class Row:
    """One line of the table: what was measured, the two medians, the goal."""

    scenario: str
    sluice: str
    file_source: str
    ratio: str
    goal: str


class Site:
    """A home with a landing folder, and a table of each side."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.landing = folder / "landing" / "in"
        self.landing.mkdir(parents=True)
        self.pipeline = folder / "bench.yaml"
        self.pipeline.write_text(PIPELINE.format(schema=SCHEMA))

    def sluice(self) -> Run:
        """One `sluice run`."""
        command = [str(Path(sys.executable).with_name("sluice")), "run", str(self.pipeline), "--json"]
        return measured(command, {"SLUICE_HOME": str(self.folder)})

    def file_source(self, memory: str = "1g") -> Run:
        """One availableNow run of the file source, with Spark's default memory unless it needs more."""
        submit = str(spark_home() / "bin" / "spark-submit")
        conf = {
            "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
            "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
            "spark.log.level": "ERROR",
            "spark.driver.memory": memory,
        }
        flags = [part for key, value in conf.items() for part in ("--conf", f"{key}={value}")]
        jars = ",".join(str(jar) for jar in delta_jars())
        job = [str(Path(__file__).with_name("file_source_job.py")), "--source", str(self.landing), "--schema", SCHEMA]
        own = ["--table", str(self.folder / "plain"), "--checkpoint", str(self.folder / "plain-checkpoint")]
        return measured([submit, "--master", "local[*]", "--jars", jars, *flags, *job, *own], {})

    def rows(self) -> tuple[int, int]:
        """Rows of the two tables."""
        tables = (self.folder / "warehouse" / "bronze" / "t", self.folder / "plain")
        sluice, plain = (DeltaTable(str(table)).count() for table in tables)
        return sluice, plain

    def forget_loads(self) -> None:
        """Back to before the first load, the landing folder kept."""
        for name in ("warehouse", "state", "plain", "plain-checkpoint"):
            shutil.rmtree(self.folder / name, ignore_errors=True)


def measured(command: Sequence[str], environment: dict[str, str]) -> Run:
    """Run a process to its end; it must succeed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.monotonic()
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    wall = time.monotonic() - started
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Run(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def write_files(folder: Path, files: int, rows: int, first: int = 0) -> int:
    """`files` JSON files of `rows` records each; returns their bytes."""
    size = 0
    for number in range(first, first + files):
        lines = [json.dumps(record(number * rows + at)) + "\n" for at in range(rows)]
        size += (folder / f"{number:07d}.json").write_text("".join(lines))
    return size


def record(n: int) -> dict[str, object]:
    """The n-th record."""
    return {
        "id": n,
        "name": f"customer {n % 9973}",
        "amount": n * 0.25,
        "flag": n % 3 == 0,
        "day": f"2026-{n % 12 + 1:02d}-{n % 28 + 1:02d}",
        "note": "the quick brown fox jumps over the lazy dog"[: n % 40],
    }


def interleaved(site: Site, rounds: int, expected_rows: int) -> tuple[list[Run], list[Run]]:
    """Both sides load the landing folder from scratch, `rounds` times, in turn."""
    ours: list[Run] = []
    theirs: list[Run] = []
    for number in range(rounds):
        site.forget_loads()
        for side in (0, 1) if number % 2 == 0 else (1, 0):
            (ours if side == 0 else theirs).append(site.sluice() if side == 0 else site.file_source())
        if site.rows() != (expected_rows, expected_rows):
            raise RuntimeError(f"expected {expected_rows} rows on both sides, found {site.rows()}")
        say(f"  round {number + 1}: sluice {ours[-1].wall:.1f} s, file source {theirs[-1].wall:.1f} s")
    return ours, theirs


def compared(name: str, ours: Sequence[Run], theirs: Sequence[Run], goal: str, *, faster: bool) -> Row:
    """A table line of two lists of runs; `faster` gives the ratio as theirs / ours."""
    our_wall, their_wall = (statistics.median(run.wall for run in runs) for runs in (ours, theirs))
    our_cpu, their_cpu = (statistics.median(run.cpu for run in runs) for runs in (ours, theirs))
    ratio = f"{their_wall / our_wall:.2f}x as fast" if faster else f"{our_wall / their_wall:.2f}x the time"
    return Row(name, f"{our_wall:.1f} s (CPU {our_cpu:.1f})", f"{their_wall:.1f} s (CPU {their_cpu:.1f})", ratio, goal)


def small(folder: Path) -> list[Row]:
    """A small increment: whole processes."""
    site = Site(folder)
    write_files(site.landing, 100, 100)
    ours, theirs = interleaved(site, 3, 10_000)
    first = compared("100 files, 10,000 rows, first load", ours, theirs, "at most 0.7x the time", faster=False)
    ours, theirs = [], []
    for number in range(1, 4):
        write_files(site.landing, 100, 100, first=100 * number)
        ours.append(site.sluice())
        theirs.append(site.file_source())
        say(f"  increment {number}: sluice {ours[-1].wall:.1f} s, file source {theirs[-1].wall:.1f} s")
    return [first, compared("100 more files, 10,000 rows", ours, theirs, "at most 0.7x the time", faster=False)]


def many(folder: Path) -> list[Row]:
    """Many small files."""
    site = Site(folder)
    write_files(site.landing, 6_000, 10)
    ours, theirs = interleaved(site, 3, 60_000)
    return [compared("6,000 files of 10 rows", ours, theirs, "at least 2.5x as fast", faster=True)]


def bulk(folder: Path) -> list[Row]:
    """A bulk load, with the strict accounting on."""
    site = Site(folder)
    size = write_files(site.landing, 20, 100_000)
    ours, theirs = interleaved(site, 3, 2_000_000)
    name = f"bulk: 2,000,000 rows, {size / 1e6:.0f} MB in 20 files"
    return [compared(name, ours, theirs, "at least 0.95x as fast", faster=True)]


def nothing_new(folder: Path) -> list[Row]:
    """A run that finds nothing new, less the start of the interpreter."""
    site = Site(folder)
    write_files(site.landing, 400, 10)
    site.sluice()
    site.file_source()
    bare = statistics.median(measured([sys.executable, "-c", "pass"], {}).cpu for _ in range(5))
    command = [sys.executable, "-m", "benchmarks.discover_once", str(site.pipeline)]
    found = [measured(command, _home(site)) for _ in range(5)]
    ours = [site.sluice() for _ in range(5)]
    theirs = [site.file_source() for _ in range(2)]
    discovery = statistics.median(run.cpu for run in found) - bare
    whole = statistics.median(run.cpu for run in ours) - bare
    wall, their_wall = (statistics.median(run.wall for run in runs) for runs in (ours, theirs))
    return [
        Row(
            "nothing new among 400 files",
            f"{wall:.2f} s; CPU beyond the interpreter's start: discover {discovery:.2f} s, `sluice run` {whole:.2f} s",
            f"{their_wall:.1f} s (CPU {statistics.median(run.cpu for run in theirs):.1f})",
            f"{their_wall / wall:.0f}x as fast",
            "discover under 0.5 s CPU, no JVM",
        )
    ]


def million(folder: Path, seen: int = 1_000_000) -> list[Row]:
    """100 new files among a million that both sides have seen.

    Loading the million would take the file source hours, so each side's memory of them is written directly: the
    batches as committed in the target's log, the entries in the file source's own log. The landing files are real.
    With Spark's default of 1 GB the file source did not get through in eight minutes, so it is given 4.
    """
    site = Site(folder)
    write_files(site.landing, 1, 1)
    site.file_source()
    site.sluice()
    say(f"  writing {seen:,} files")
    for number in range(1, seen):
        (site.landing / f"{number:07d}.json").write_text('{"id":1}\n')
    _pretend_seen_by_file_source(site)
    plan = measured([sys.executable, "-m", "benchmarks.discover_once", str(site.pipeline)], _home(site))
    say(f"  sluice planned them in {plan.wall:.1f} s")
    _pretend_loaded_by_sluice(site)
    ours, theirs, discoveries = [], [], []
    for number in range(3):
        write_files(site.landing, 100, 100, first=seen + 100 * number)
        discoveries.append(
            measured([sys.executable, "-m", "benchmarks.discover_once", str(site.pipeline)], _home(site))
        )
        ours.append(site.sluice())
        theirs.append(site.file_source("4g"))
        say(
            f"  round {number + 1}: discovery {discoveries[-1].wall:.1f} s, "
            f"sluice {ours[-1].wall:.1f} s, file source {theirs[-1].wall:.1f} s"
        )
    found = statistics.median(run.wall for run in discoveries)
    row = compared(f"100 new among {seen:,} seen files", ours, theirs, "at least 3x as fast", faster=True)
    alone = Row(f"of that, discovery among {seen:,}", f"{found:.1f} s", "", "", "at most 12 s")
    return [row, alone]


def _home(site: Site) -> dict[str, str]:
    return {"SLUICE_HOME": str(site.folder)}


def _pretend_loaded_by_sluice(site: Site) -> None:
    ledger = DeltaTable(str(site.folder / "state" / "bench" / "ledger"))
    last = ledger.transaction_version("sluice-ledger")
    target = DeltaTable(str(site.folder / "warehouse" / "bronze" / "t"))
    outcomes = DeltaTable(str(site.folder / "state" / "bench" / "outcomes"))
    for table, app_id in ((target, "sluice:bench"), (outcomes, "sluice:bench:outcomes")):
        nothing = pa.table(table.to_pyarrow_dataset().schema.empty_table())
        properties = CommitProperties(app_transactions=[Transaction(app_id, int(last or 0))])
        write_deltalake(table, nothing, mode="append", commit_properties=properties)


def _pretend_seen_by_file_source(site: Site) -> None:
    log = site.folder / "plain-checkpoint" / "sources" / "0" / "0"
    checksum = log.with_name(".0.crc")
    checksum.unlink(missing_ok=True)
    with log.open("w") as out:
        out.write("v1\n")
        for entry in os.scandir(site.landing):
            seen = {"path": f"file://{entry.path}", "timestamp": int(entry.stat().st_mtime * 1000), "batchId": 0}
            out.write(json.dumps(seen) + "\n")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


SCENARIOS: dict[str, Callable[[Path], list[Row]]] = {
    "nothing": nothing_new,
    "small": small,
    "many": many,
    "bulk": bulk,
    "million": million,
}


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    head = "| scenario | Sluice | Spark's file source | ratio | goal |\n|---|---|---|---|---|\n"
    return head + "".join(f"| {r.scenario} | {r.sluice} | {r.file_source} | {r.ratio} | {r.goal} |\n" for r in rows)


def merged(rows: Sequence[Row], page: str) -> list[Row]:
    """The rows of the page that stands, in its order, with those that were measured anew; then what is new."""
    lines = [line for line in page.splitlines() if line.startswith("| ")][1:]
    standing = [Row(*(cell.strip() for cell in line.strip("|").split("|"))) for line in lines]
    anew = {row.scenario: row for row in rows}
    kept = [anew.pop(row.scenario, row) for row in standing]
    return [*kept, *anew.values()]


def report(rows: Sequence[Row]) -> str:
    """The whole page."""
    cores = len(os.sched_getaffinity(0))
    return (
        "# Ingestion: Sluice and Spark's own file source\n\n"
        f"Written by `make bench` on {datetime.now(UTC):%Y-%m-%d}, {cores} cores, Spark 4.2.0, Delta 4.4.0.\n"
        "Medians of interleaved runs of whole processes; `benchmarks/ingest.py` says what is run.\n\n" + table(rows)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenarios", nargs="*", choices=[*SCENARIOS, []], default=[])
    names = parser.parse_args().scenarios or list(SCENARIOS)
    rows: list[Row] = []
    for name in names:
        say(f"{name}: {SCENARIOS[name].__doc__}".splitlines()[0])
        with tempfile.TemporaryDirectory(prefix="sluice-bench-") as folder:
            rows.extend(SCENARIOS[name](Path(folder)))
            # Before the folder goes: a million files take minutes to remove.
            standing = REPORT.read_text() if REPORT.exists() else ""
            REPORT.write_text(report(merged(rows, standing)))
            say(table(rows))
    print(table(rows))


if __name__ == "__main__":
    main()
