"""COPY INTO over many files that are known: a run with nothing new, and one with one new file.

    make bench-copy-into        (or: python -m benchmarks.copy_into [FILES] [ROUNDS])

Whole processes, interleaved, on the same files: `sluice copy-into`; Spark's file source, availableNow, which keeps the
files that it saw in its checkpoint; and a batch that reads the folder and drops what the table holds by an anti join on
`_metadata.file_path`. Loading the files is not measured: each side's memory of them is written directly, Sluice's by
its own plan and the commit and outcomes of one statement, the file source's into its log, the anti join's into its
table.

That no JVM is started is seen from outside: the processes below the command are looked at every few milliseconds.
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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake

from include.config.settings import load_settings
from include.copy_into.notes import packed
from include.copy_into.plan import plan_statements
from include.copy_into.recovery import NOTE, account
from include.copy_into.state import APP_ID, TableState
from include.copy_into.statement import read_statement
from include.submit.job import spark_home
from include.submit.profile import delta_jars

REPORT = Path(__file__).with_name("copy_into.md")
SCHEMA = "id BIGINT, name STRING"
SQL = "COPY INTO bronze.t FROM 'in' FILEFORMAT = JSON COPY_OPTIONS ('mergeSchema' = 'true')"
FILES, FOLDER, ROUNDS = 100_000, 1_000, 3
POLL_SECONDS = 0.005
GOAL_SECONDS = 5.0  # "seconds", of a run with nothing new
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Run:
    """One process: wall seconds, CPU seconds with its children, and whether a JVM was seen."""

    wall: float
    cpu: float
    jvm: bool


class Site:
    """A landing folder of one-record files, and a table of each side."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder = folder
        self.landing = folder / "landing" / "in"
        self.plain, self.joined = folder / "plain", folder / "joined"
        self.settings = load_settings({"SLUICE_HOME": str(folder)}, folder / "no-settings.yaml")
        self.count = 0
        self.drop(1)
        self.file_source()  # makes the table and the checkpoint
        self.drop(count - 1)
        self._remember_by_sluice()
        self._remember_by_file_source()
        self._remember_by_anti_join()

    def drop(self, count: int) -> None:
        """Write `count` more files of one record each."""
        for number in range(self.count, self.count + count):
            folder = self.landing / f"{number // FOLDER:04}"
            if number % FOLDER == 0:
                folder.mkdir(parents=True)
            (folder / f"{number:07}.json").write_bytes(b'{"id": %d, "name": "n%d"}\n' % (number, number))
        self.count += count

    def sluice(self) -> Run:
        """One statement."""
        command = [str(Path(sys.executable).with_name("sluice")), "copy-into", SQL, "--json"]
        return watched(command, {"SLUICE_HOME": str(self.folder)})

    def file_source(self) -> Run:
        """One availableNow run."""
        return self._submit("file_source_job.py", self.plain, "--checkpoint", str(self.folder / "checkpoint"))

    def anti_join(self) -> Run:
        """One batch."""
        return self._submit("anti_join_job.py", self.joined)

    def rows(self) -> tuple[int, ...]:
        """Rows of the three tables."""
        tables = (self.settings.table_root("bronze.t"), self.plain, self.joined)
        return tuple(DeltaTable(str(table)).count() for table in tables)

    def _submit(self, job: str, table: Path, *more: str) -> Run:
        conf = {
            "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
            "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
            "spark.log.level": "ERROR",
            "spark.driver.memory": "4g",
        }
        flags = [part for key, value in conf.items() for part in ("--conf", f"{key}={value}")]
        submit = [str(spark_home() / "bin" / "spark-submit"), "--master", "local[*]"]
        jars = ["--jars", ",".join(map(str, delta_jars()))]
        # The file source takes folders one level down by a pattern; the anti join reads recursively.
        source = f"{self.landing}/*" if job == "file_source_job.py" else str(self.landing)
        own = [str(Path(__file__).with_name(job)), "--source", source, "--table", str(table), "--schema", SCHEMA]
        return watched([*submit, *jars, *flags, *own, *more], {})

    # ---- what each side remembers of the files that are there

    def _remember_by_sluice(self) -> None:
        plan_statements(self.settings, [read_statement(SQL)], "bench")
        state = TableState(self.settings, "bronze.t")
        [planned] = state.batches(1, 1)
        figures = {"status": "loaded", "records": 1, "rows_loaded": 1, "rows_quarantined": 0, "error": None}
        note = {"batch": 1, "id": "bench", **packed([{**asdict(file), **figures} for file in planned.files])}
        properties = CommitProperties(
            app_transactions=[Transaction(APP_ID, 1)], custom_metadata={"userMetadata": json.dumps({NOTE: note})}
        )
        write_deltalake(self.settings.table_root("bronze.t"), self._records(), commit_properties=properties)
        account(state, planned, "bench")

    def _remember_by_file_source(self) -> None:
        log = self.folder / "checkpoint" / "sources" / "0" / "0"
        log.with_name(".0.crc").unlink()
        with log.open("w") as out:
            out.write("v1\n")
            for path in self._paths():
                seen = {"path": f"file://{path}", "timestamp": int(path.stat().st_mtime * 1000), "batchId": 0}
                out.write(json.dumps(seen) + "\n")
        write_deltalake(str(self.plain), self._records().slice(1), mode="append")

    def _remember_by_anti_join(self) -> None:
        names = pa.array([f"file:{path}" for path in self._paths()])  # as `_metadata.file_path` has it
        write_deltalake(str(self.joined), self._records().append_column("file", names))

    def _paths(self) -> list[Path]:
        return sorted(self.landing.glob("*/*.json"))

    def _records(self) -> pa.Table:
        numbers = range(self.count)
        return pa.table({"id": pa.array(numbers, pa.int64()), "name": [f"n{number}" for number in numbers]})


def watched(command: Sequence[str], environment: Mapping[str, str]) -> Run:
    """Run a process to its end; it must succeed."""
    before, started = os.times(), time.monotonic()
    with tempfile.TemporaryFile() as told:
        process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=told, stderr=subprocess.STDOUT)
        jvm = False
        while process.poll() is None:
            jvm = jvm or "java" in names_below(process.pid)
            time.sleep(POLL_SECONDS)
        wall, after = time.monotonic() - started, os.times()
        told.seek(0)
        if process.returncode != 0:
            raise RuntimeError(f"{command[0]} ended with {process.returncode}:\n{told.read().decode()[-3000:]}")
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return Run(wall, spent, jvm)


def names_below(parent: int) -> list[str]:
    """The names of a process and of all processes below it."""
    try:
        names = [Path(f"/proc/{parent}/comm").read_text().strip()]
        tasks = Path(f"/proc/{parent}/task").iterdir()
        below = [pid for task in tasks for pid in (task / "children").read_text().split()]
    except OSError:  # it ended meanwhile
        return []
    return [*names, *(name for pid in below for name in names_below(int(pid)))]


def measure(site: Site, rounds: int) -> dict[str, dict[str, list[Run]]]:
    """The runs of each side with nothing new, then with one new file; refuses runs that did something else."""
    sides: dict[str, Callable[[], Run]] = {
        "`sluice copy-into`": site.sluice,
        "Spark's file source": site.file_source,
        "read and anti join": site.anti_join,
    }
    found: dict[str, dict[str, list[Run]]] = {"nothing new": {}, "one new file": {}}
    for number in range(rounds):
        for scenario, new in (("nothing new", 0), ("one new file", 1)):
            site.drop(new)
            order = list(sides) if number % 2 == 0 else list(reversed(sides))
            for name in order:
                found[scenario].setdefault(name, []).append(sides[name]())
                print(f"  {scenario}, {name}: {found[scenario][name][-1]}", file=sys.stderr, flush=True)
            if site.rows() != (site.count,) * 3:
                raise RuntimeError(f"{site.count} rows are due, found {site.rows()}")
    if any(run.jvm for run in found["nothing new"]["`sluice copy-into`"]):
        raise RuntimeError("a JVM was started with nothing new")
    if not all(run.jvm for run in found["one new file"]["`sluice copy-into`"]):
        raise RuntimeError("no JVM was seen where there must be one: the watch is blind")
    return found


def report(count: int, rounds: int, found: Mapping[str, Mapping[str, Sequence[Run]]]) -> str:
    """The page."""
    idle = statistics.median(run.wall for run in found["nothing new"]["`sluice copy-into`"])
    goal = f"**Goal** (nothing new: seconds, no JVM): {'met' if idle <= GOAL_SECONDS else 'missed'}, {idle:.1f} s."
    lines = [line(scenario, name, runs) for scenario, sides in found.items() for name, runs in sides.items()]
    return "\n".join(
        [
            "# COPY INTO with many known files",
            "",
            f"Written by `python -m benchmarks.copy_into {count} {rounds}` (`make bench-copy-into`): {count:,} known",
            f"JSON files of one record in {-(-count // FOLDER):,} folders, {len(os.sched_getaffinity(0))} cores, local",
            f"disk, Spark 4.2.0, Delta 4.4.0. Whole processes; medians (least to most) of {rounds} interleaved rounds;",
            "the module says what is run.",
            "",
            "| run | by | wall, s | CPU, s | JVM |",
            "|---|---|---|---|---|",
            *lines,
            "",
            goal,
            "",
        ]
    )


def line(scenario: str, name: str, runs: Sequence[Run]) -> str:
    """A line of the table."""

    def shown(values: Sequence[float]) -> str:
        return f"{statistics.median(values):,.1f} ({min(values):,.1f} to {max(values):,.1f})"

    wall, cpu = shown([run.wall for run in runs]), shown([run.cpu for run in runs])
    return f"| {scenario} | {name} | {wall} | {cpu} | {'yes' if any(run.jvm for run in runs) else 'none'} |"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="?", type=int, default=FILES)
    parser.add_argument("rounds", nargs="?", type=int, default=ROUNDS)
    parser.add_argument("--report", type=Path, default=REPORT)
    args = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="sluice-bench-"))
    try:
        page = report(args.files, args.rounds, measure(Site(folder, args.files), args.rounds))
        args.report.write_text(page)
        print(page)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
