"""What `make demo` tells at its end: what each pipeline loaded, a few rows, and what to try next."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, QueryBuilder
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from include.config.settings import Settings
from include.ledger.outcomes import read_outcomes
from include.transform.outcomes import outcome_rows
from tools.demo_check import Checked, print_checks

# Silver, then gold: they read tables, not files.
TRANSFORMATIONS = (
    "flights_silver",
    "departures_hourly",
    "departures_sliding",
    "aircraft_sessions",
    "aircraft_features",
    "late_departures",
)
SAMPLE_TABLE = "gold.departures_hourly"
SAMPLE_COLUMNS = ("window_start", "origin", "flights", "cancelled", "mean_delay", "p90_delay", "aircraft")
SAMPLE_ROWS = 6


@dataclass(frozen=True)
class Totals:
    """What a pipeline has done since it exists, counted from its outcomes."""

    files: int = 0
    rows: int = 0
    quarantined: int = 0

    def summary(self) -> str:
        """In words."""
        if not self.rows and not self.files:
            return "nothing new"
        return f"{self.files:,} files, {self.rows:,} rows" if self.files else f"{self.rows:,} rows"

    def __sub__(self, earlier: "Totals") -> "Totals":
        return Totals(self.files - earlier.files, self.rows - earlier.rows, self.quarantined - earlier.quarantined)


@dataclass(frozen=True)
class Loaded:
    """One pipeline's part of the demo: what this run added, what stands there now, and the wall seconds of its DAG."""

    pipeline: str
    added: Totals
    total: Totals
    seconds: float


def totals(settings: Settings, pipeline: str) -> Totals:
    """The sums over all outcomes of a pipeline; zeros before its first load."""
    if pipeline in TRANSFORMATIONS:
        return Totals(rows=sum(int(row["rows_loaded"]) for row in outcome_rows(settings, pipeline)))
    outcomes = read_outcomes(settings, pipeline, ["status", "rows_loaded", "rows_quarantined"])
    loaded = pc.equal(outcomes["status"], "loaded")
    return Totals(
        files=int(pc.sum(loaded).as_py() or 0),
        rows=_sum(outcomes, "rows_loaded"),
        quarantined=_sum(outcomes, "rows_quarantined"),
    )


def _sum(rows: pa.Table, column: str) -> int:
    return int(pc.sum(rows[column]).as_py() or 0)


def print_report(console: Console, settings: Settings, results: list[Loaded], checks: list[Checked]) -> None:
    """The figures, sample rows, what another engine says of the tables, and the next steps.

    Raises:
        Differs: a table does not hold what the landing files say.
    """
    console.print(figures_table(results))
    console.print(sample_table(settings))
    print_checks(console, checks)
    if any(result.added.files for result in results):
        console.print(
            "Each file was loaded once. Run [bold]make demo[/] again: it finds nothing new and loads nothing."
        )
    else:
        console.print("[bold]Nothing new:[/] all files were loaded before, so nothing was loaded again.")
    console.print(next_steps(settings), highlight=False, soft_wrap=True)


def figures_table(results: list[Loaded]) -> Table:
    """One line a pipeline: this run's files, rows and seconds, and all rows ever loaded."""
    table = Table(title="What this run loaded", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("pipeline")
    for heading in ("files", "rows", "quarantined", "seconds", "rows so far"):
        table.add_column(heading, justify="right")
    for result in results:
        added = result.added
        table.add_row(
            result.pipeline,
            *(f"{figure:,}" for figure in (added.files, added.rows, added.quarantined)),
            f"{result.seconds:.1f}",
            f"{result.total.rows:,}",
        )
    return table


def sample_table(settings: Settings) -> Table:
    """The worst hours of the year, read without Spark."""
    # Not a pyarrow dataset's head(): its reads ahead go on in threads that abort Python when they outlive it.
    query = (
        f"SELECT {', '.join(SAMPLE_COLUMNS)} FROM hours WHERE flights >= 10 "
        f"ORDER BY mean_delay DESC NULLS LAST LIMIT {SAMPLE_ROWS}"
    )
    found = QueryBuilder().register("hours", DeltaTable(settings.table_root(SAMPLE_TABLE))).execute(query)
    rows: list[Mapping[str, object]] = pa.table(found.read_all()).to_pylist()
    table = Table(
        title=f"{SAMPLE_TABLE}: the hours with the longest delays (minutes)", title_justify="left", box=SIMPLE_HEAD
    )
    for column in SAMPLE_COLUMNS:
        table.add_column(column)
    for row in rows:
        table.add_row(*(_cell(row[column]) for column in SAMPLE_COLUMNS))
    return table


def _cell(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, float):
        return f"{value:,.1f}"
    return "" if value is None else str(value)


def next_steps(settings: Settings) -> str:
    """Three things to try, with the paths of this installation."""
    landing = escape(f"{settings.landing}/flights")
    return (
        "\n[bold]Try next[/]\n"
        f"  head -n 100 {landing}/2013-01-01.json > {landing}/late.json   # a file lands\n"
        "  .venv/bin/sluice run flights        # only that one is loaded\n"
        "  .venv/bin/sluice files flights      # what became of each file\n"
        "  make ui                             # the same pipelines in Airflow's web interface"
    )
