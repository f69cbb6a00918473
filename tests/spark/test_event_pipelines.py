"""The pipelines of examples/events over `sluice generate`, in one session: each table equals DuckDB's over the files.

Two rounds. In the first a file is missing that comes with the second, so that its rows are behind the watermark.
"""

import contextlib
import io
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from include.cli.main import main
from include.config.errors import ConfigError
from include.config.reader import load_pipeline
from include.config.result import RunResult
from include.config.settings import PROJECT_ROOT, Settings, load_settings
from spark_jobs.notebook import run_pipeline

EXAMPLES = PROJECT_ROOT / "examples" / "events"
# Tables before those that are made of them.
ORDER = (
    "events",
    "users",
    "events_deduplicated",
    "events_5_minutes",
    "events_sliding",
    "events_watermark",
    "events_enriched",
    "user_sessions",
)
GENERATE = ["generate", "--rate", "0.4", "--seconds", "600", "--users", "30", "--duplicates", "5%", "--seed", "7"]
HELD_BACK = "seed-7-000002.json"

EVENTS = (
    "SELECT * FROM read_json('{landing}/events/*.json', columns = {{event_id: 'VARCHAR', timestamp: 'TIMESTAMPTZ', "
)
EVENTS += "user_id: 'VARCHAR', event_type: 'VARCHAR', value: 'DOUBLE', session_id: 'VARCHAR'}})"
# What each pipeline's table must hold; `landed` are all lines of the files, `events` each event once.
EXPECTED = {
    "events": "SELECT * FROM landed",
    "users": "SELECT * FROM users",
    "events_deduplicated": "SELECT * FROM events",
    "events_5_minutes": """
        SELECT time_bucket(INTERVAL 5 minutes, timestamp, epoch()) AS window_start,
               window_start + INTERVAL 5 minutes AS window_end, event_type, count(*) AS events,
               count(DISTINCT user_id) AS users, sum(CAST(value AS DECIMAL(12, 2))) AS revenue
        FROM events GROUP BY ALL""",
    "events_sliding": """
        SELECT time_bucket(INTERVAL 1 minute, timestamp, epoch()) - to_minutes(back) AS window_start,
               window_start + INTERVAL 5 minutes AS window_end, event_type, count(*) AS events
        FROM events, range(5) AS backs(back) GROUP BY ALL""",
    "events_enriched": "SELECT events.*, country, plan FROM events LEFT JOIN users USING (user_id)",
    "user_sessions": """
        WITH begun AS (SELECT *, coalesce(timestamp - lag(timestamp) OVER w > INTERVAL 30 minutes, true) AS first
                       FROM events WINDOW w AS (PARTITION BY user_id ORDER BY timestamp)),
             numbered AS (SELECT *, sum(first::INT) OVER (PARTITION BY user_id ORDER BY timestamp) AS number FROM begun)
        SELECT min(timestamp) AS window_start, max(timestamp) + INTERVAL 30 minutes AS window_end, user_id,
               count(*) AS events, min({'at': timestamp, 'type': event_type}).type AS first_event,
               max({'at': timestamp, 'type': event_type}).type AS last_event
        FROM numbered GROUP BY user_id, number""",
}


class Events:
    """A home with generated events, and DuckDB over its files."""

    def __init__(self, home: Path, spark: SparkSession) -> None:
        self.settings: Settings = load_settings({"SLUICE_HOME": str(home)}, home / "no-settings.yaml")
        self.landing = home / "landing"
        self.spark = spark
        self.first: dict[str, RunResult]
        self.second: dict[str, RunResult]

    def run_all(self) -> dict[str, RunResult]:
        return {
            name: run_pipeline(self.spark, str(EXAMPLES / f"{name}.yaml"), settings=self.settings) for name in ORDER
        }

    def table(self, pipeline: str) -> pa.Table:
        loaded = load_pipeline(EXAMPLES / f"{pipeline}.yaml")
        return DeltaTable(self.settings.table_root(loaded.targets[0])).to_pyarrow_table()

    def engine(self) -> duckdb.DuckDBPyConnection:
        engine = duckdb.connect()
        engine.execute("SET TimeZone = 'UTC'")
        engine.execute(f"CREATE TABLE landed AS {EVENTS.format(landing=self.landing)}")
        engine.execute("CREATE TABLE events AS SELECT DISTINCT * FROM landed")
        engine.execute(f"CREATE TABLE users AS SELECT * FROM read_json('{self.landing}/events_users/*.json')")
        engine.execute("CREATE MACRO epoch() AS TIMESTAMPTZ '1970-01-01 00:00:00+00'")
        return engine

    def differences(self, pipeline: str) -> list[tuple[Any, ...]]:
        """Rows that only the table has, and rows that only the query has."""
        with self.engine() as engine:
            engine.register("found", self.table(pipeline))
            engine.execute(f"CREATE TABLE wanted AS {EXPECTED[pipeline]}")
            names = ", ".join(name for name, *_ in engine.execute("DESCRIBE wanted").fetchall())
            both = (f"SELECT {names} FROM found", f"SELECT {names} FROM wanted")
            return [
                (which, *row)
                for which, one, other in (("too many", *both), ("missing", *reversed(both)))
                for row in engine.execute(f"{one} EXCEPT ALL {other}").fetchall()
            ]


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory, spark: SparkSession) -> Events:
    home = tmp_path_factory.mktemp("events")
    made = Events(home, spark)
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()):
        patch.setenv("SLUICE_HOME", str(home))
        assert main([*GENERATE, "--batches", "5"]) == 0
        held = (made.landing / "events" / HELD_BACK).rename(home / HELD_BACK)
        made.first = made.run_all()
        held.rename(made.landing / "events" / HELD_BACK)
        assert main([*GENERATE, "--batches", "8"]) == 0
        made.second = made.run_all()
    return made


def test_every_example_is_run() -> None:
    assert {file.stem for file in EXAMPLES.glob("*.yaml")} == set(ORDER)
    assert {*EXPECTED, "events_watermark"} == set(ORDER)


@pytest.mark.parametrize("pipeline", EXPECTED)
def test_table_equals_the_query_over_all_landed_events(events: Events, pipeline: str) -> None:
    assert events.differences(pipeline) == []
    assert events.table(pipeline).num_rows > 20


def test_rows_behind_the_watermark_stand_in_the_late_table_and_none_is_lost(events: Events) -> None:
    """Late is what is ten minutes older than the newest event of the round before."""
    result = events.second["events_watermark"]
    late = DeltaTable(events.settings.state_root("events_watermark", "late")).to_pyarrow_table()
    assert 0 < late.num_rows == result.rows.late
    with events.engine() as engine:
        engine.register("late", late)
        engine.register("found", events.table("events_watermark"))
        engine.register("silver", events.table("events_deduplicated"))
        newest = "(SELECT max(timestamp) FROM silver WHERE _batch = 1)"
        is_late = f"_batch > 1 AND timestamp < {newest} - INTERVAL 10 minutes"
        wanted = engine.execute(f"SELECT event_id FROM silver WHERE {is_late} ORDER BY 1").fetchall()
        assert engine.execute("SELECT event_id FROM late ORDER BY 1").fetchall() == wanted
        rest = f"""SELECT time_bucket(INTERVAL 5 minutes, timestamp, epoch()), event_type, count(*)
            FROM silver WHERE NOT ({is_late}) GROUP BY ALL"""
        merged = "SELECT window_start, event_type, events FROM found"
        assert engine.execute(f"({rest}) EXCEPT ALL ({merged})").fetchall() == []
        assert engine.execute(f"({merged}) EXCEPT ALL ({rest})").fetchall() == []


def test_nothing_new_costs_nothing_and_duplicates_were_left_out(events: Events) -> None:
    for name, result in events.run_all().items():
        assert result.status == "nothing_new", name
    loaded = {name: events.first[name].rows.loaded + events.second[name].rows.loaded for name in ORDER}
    assert loaded["events"] > loaded["events_deduplicated"] == loaded["events_5_minutes"] == loaded["user_sessions"]
    assert loaded["events_watermark"] + events.second["events_watermark"].rows.late == loaded["events_deduplicated"]


def test_what_needs_a_job_of_its_own_is_refused_in_a_session(events: Events, tmp_path: Path) -> None:
    file = tmp_path / "warm.yaml"
    file.write_text("cache: {table: bronze.users, keys: [user_id], columns: [country]}\n")
    with pytest.raises(ConfigError, match="is a cache pipeline, which does not run in a session"):
        run_pipeline(events.spark, str(file), settings=events.settings)
