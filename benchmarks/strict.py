"""What strictness costs: CPU of Sluice's look and read against Spark's plain lax typed read of the same files.

    make bench-strict          (or: python -m benchmarks.strict [ROWS] [ROUNDS])

One warm session, clean files, no sink but `noop`; rounds are interleaved, CPU is that of the JVM, this process and the
probe's workers together, medians. For JSON and CSV also with 1, 10 and 100 % of lines that do not parse. Writes
benchmarks/strict.md and its chart, strict.svg.
"""

import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession

from include.config.ingest import Ingest
from include.probe.plain_values import exact_columns
from include.probe.probe import ProbeTask
from include.probe.records import spec_of
from include.probe.streams import Planned
from include.probe.workers import ProbePool
from include.submit.profile import delta_jars
from spark_jobs.engine.batch_files import BatchFile
from spark_jobs.engine.frames import FILE
from spark_jobs.engine.misfits import is_misfit
from spark_jobs.engine.readers import read_files

SCHEMA = "id bigint, carrier string, origin string, distance double, delay bigint, at string"
COLUMNS = tuple(column.split()[0] for column in SCHEMA.split(", "))
FILES = 8
OUT = Path(__file__).with_name("strict.md")
CHART = OUT.with_suffix(".svg")
GOALS = {"json": 1.4, "csv": 1.3, "parquet": 1.05}
COLOURS = {"json": "#2a78d6", "csv": "#d65f2a"}
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Case:
    """One line of the table."""

    format: str
    dirty: int  # percent of lines
    paths: tuple[str, ...]
    options: Mapping[str, str]


def record(number: int) -> tuple[object, ...]:
    """A row like those of the demo."""
    return (
        number,
        f"C{number % 17}",
        "JFK, NY" if number % 3 else "EWR",
        number / 8,
        number % 120,
        "2013-01-01T05:00:00Z",
    )


def write_files(folder: Path, kind: str, rows: int, dirty: int) -> tuple[str, ...]:
    """`rows` in FILES files of a format, `dirty` percent of them broken."""
    paths = []
    for file in range(FILES):
        numbers = range(file, rows, FILES)
        path = folder / f"{kind}-{dirty}-{file}.{kind}"
        if kind == "parquet":
            columns = dict(zip(COLUMNS, zip(*map(record, numbers), strict=True), strict=True))
            pq.write_table(pa.table(columns), path)
        else:
            with path.open("w", newline="") as out:
                out.writelines(_lines(kind, numbers, dirty))
        paths.append(str(path))
    return tuple(paths)


def _lines(kind: str, numbers: range, dirty: int) -> Iterator[str]:
    if kind == "csv":
        yield ",".join(COLUMNS) + "\n"
    for position, number in enumerate(numbers):
        broken = position % 100 < dirty
        if kind == "json":
            line = json.dumps(dict(zip(COLUMNS, record(number), strict=True)))
            yield (line[:-1] if broken else line) + "\n"
        else:
            fields = [_field(value) for value in record(number)]
            yield ",".join(['"' + fields[0] if broken else fields[0], *fields[1:]]) + "\n"


def _field(value: object) -> str:
    text = str(value)
    return f'"{text}"' if "," in text else text


def cpu_seconds(pids: list[int]) -> float:
    """CPU spent so far by some processes, user and system."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


class Bench:
    """Both ways to read, in one session."""

    def __init__(self, rows: int, folder: Path) -> None:
        self.rows, self.folder = rows, folder
        os.environ["PYSPARK_SUBMIT_ARGS"] = (
            f"--driver-class-path {os.pathsep.join(map(str, delta_jars()))} pyspark-shell"
        )
        builder = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
        self.spark = builder.config("spark.driver.memory", "2g").getOrCreate()
        self.spark.sparkContext.setLogLevel("ERROR")
        self.pool = ProbePool(2)
        jvm = int(self.spark._jvm.java.lang.ProcessHandle.current().pid())  # type: ignore[union-attr]
        self.fixed = [jvm, os.getpid()]
        self.schema = self.spark.createDataFrame([], SCHEMA).schema

    def lax(self, case: Case) -> None:
        """Spark's own reader."""
        reader = self.spark.read.format(case.format).options(**case.options).schema(SCHEMA)
        _to_noop(reader.load(list(case.paths)))

    def strict(self, case: Case) -> None:
        """The probe, then the engine's readers: the same columns."""
        _to_noop(self._strict(case).select(*COLUMNS))

    def named(self, case: Case) -> None:
        """The same with the name of each record's file beside it, as a load writes it."""
        _to_noop(self._strict(case).select(*COLUMNS, FILE))

    def _strict(self, case: Case) -> DataFrame:
        ingest = Ingest.model_validate(
            {
                "source": str(self.folder),
                "table": "a.b",
                "schema": SCHEMA,
                "options": {"cloudFiles.format": case.format, **case.options},
            }
        )
        spec = spec_of(json.loads(self.schema.json())) if case.format == "json" else None
        exact = exact_columns(json.loads(self.schema.json()))
        spool = str(self.folder / "spool")
        plans = [_planned(path) for path in case.paths]
        reports = self.pool.map(
            [ProbeTask(p.uri, p, case.format, spec, ingest.options.reader, spool=spool, exact=exact) for p in plans]
        )
        files = [BatchFile(plan.uri, 1, plan, report) for plan, report in zip(plans, reports, strict=True)]
        frame = read_files(self.spark, ingest, self.schema, files, fail_fast=True)
        return frame.where(~is_misfit(ingest))

    def cpu(self, read: Callable[[Case], None], case: Case) -> float:
        """CPU seconds of one read."""
        pids = [*self.fixed, *self.pool.pids()]
        before = cpu_seconds(pids)
        read(case)
        return cpu_seconds(pids) - before


def _to_noop(frame: DataFrame) -> None:
    frame.write.format("noop").mode("overwrite").save()


def _planned(path: str) -> Planned:
    status = Path(path).stat()
    return Planned(path, status.st_size, status.st_mtime_ns // 1000)


@dataclass(frozen=True)
class Measured:
    """Medians of a case, CPU seconds: Spark's own read, the strict one, and that with each record's file beside it."""

    case: Case
    lax: float
    strict: float
    named: float

    @property
    def ratio(self) -> float:
        """How many times the CPU of Spark's own read."""
        return self.strict / self.lax

    def line(self) -> str:
        """A line of the table."""
        goal = GOALS[self.case.format] if self.case.dirty == 0 else ""
        figures = f"{self.lax:.2f} | {self.strict:.2f} | {self.ratio:.2f} | {goal} | {self.named:.2f}"
        return f"| {self.case.format} | {self.case.dirty} % | {figures} |"


def run(rows: int, rounds: int) -> list[Measured]:
    """Every case."""
    measured = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bench = Bench(rows, folder)
        cases = [
            Case(kind, dirty, write_files(folder, kind, rows, dirty), {"header": "true"} if kind == "csv" else {})
            for kind, steps in (("json", (0, 1, 10, 100)), ("csv", (0, 1, 10, 100)), ("parquet", (0,)))
            for dirty in steps
        ]
        ways = (bench.lax, bench.strict, bench.named)
        for case in cases:
            for way in ways:
                way(case)
            rows_of = [[bench.cpu(way, case) for way in ways] for _ in range(rounds)]
            measured.append(Measured(case, *(statistics.median(column) for column in zip(*rows_of, strict=True))))
            sys.stderr.write(measured[-1].line() + "\n")
        bench.pool.close()
        bench.spark.stop()
    return measured


def draw(measured: list[Measured]) -> None:
    """The ratio by the share of dirty lines, a line a format."""
    plt.switch_backend("Agg")  # a file, on a machine without a display
    plt.rcParams["svg.hashsalt"] = "sluice"  # the same figures give the same file
    figure, axes = plt.subplots(figsize=(7, 3.6), constrained_layout=True)
    for kind, colour in COLOURS.items():
        found = [one for one in measured if one.case.format == kind]
        places = range(len(found))
        offset = (0, 7 if kind == "json" else -14)
        axes.plot(places, [one.ratio for one in found], "o-", color=colour, label=kind)
        for place, one in zip(places, found, strict=True):
            axes.annotate(f"{one.ratio:.2f}", (place, one.ratio), offset, textcoords="offset points", ha="center")
        axes.set_xticks(list(places), [f"{one.case.dirty} %" for one in found])
    axes.axhline(1, color="#9a9a9a", linewidth=1)
    axes.set(xlabel="lines that do not parse", ylabel="CPU, Spark's plain lax read = 1")
    axes.set_ylim(0, 1.15 * max(one.ratio for one in measured))
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(CHART, metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    """Entry."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    measured = run(rows, rounds)
    draw(measured)
    lines = [
        "# What strictness costs",
        "",
        f"Written by `python -m benchmarks.strict {rows} {rounds}`: {rows:,} rows in {FILES} files a case, medians of "
        f"{rounds} interleaved rounds in one warm session, {os.cpu_count()} cores.",
        "",
        "![CPU of the strict read by the share of dirty lines](strict.svg)",
        "",
        "| format | dirty lines | lax, CPU s | strict, CPU s | ratio | goal | strict, with each record's file, CPU s |",
        "|---|---|---|---|---|---|---|",
        *(one.line() for one in measured),
    ]
    OUT.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
