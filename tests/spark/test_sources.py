"""Several source tables, and made-up events, enter a table once, whatever the slicing, the changes and the kills."""

import shutil
from datetime import datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from include.config.errors import ConfigError
from include.generator.events import Stream, batches
from tests.spark.oracle import SCHEMA, Row
from tests.spark.test_windows import assert_equals_batch_query, configure, events
from tests.spark.transforming import Lake

GENERATE = {"rate": 5, "seconds": 60, "users": 7, "duplicates": "5%", "late": "20%"}
MEASURES = {"n": "count(*)", "people": "count(DISTINCT user_id)", "most": "max(event_id)"}


@pytest.fixture
def lake(tmp_path: Path, spark: SparkSession) -> Lake:
    return Lake(tmp_path, spark)


def again_after_a_kill_before_the_commit(lake: Lake) -> None:
    """The run's batches are done a second time on the table as it was."""
    gold, before = lake.home / "warehouse" / "gold", lake.home / "before"
    shutil.copytree(gold, before)
    lake.run()
    shutil.rmtree(gold)
    shutil.move(before, gold)
    lake.run()
    lake.load()


def test_windows_over_two_tables_equal_the_batch_query_over_both(lake: Lake) -> None:
    rows = events(seed=5, count=90)
    configure(lake, "tumbling", source=["bronze.t", "bronze.u"])
    lake.add(rows[:20], SCHEMA)
    lake.add(rows[20:40], SCHEMA, "bronze.u")
    lake.run()
    lake.add(rows[40:60], SCHEMA)
    lake.add(rows[60:70], SCHEMA, "bronze.u", feed=False)
    lake.add(rows[70:], SCHEMA, "bronze.u")
    again_after_a_kill_before_the_commit(lake)
    assert_equals_batch_query(lake, rows, "tumbling")
    lake.table("bronze.u").delete("who = 'x'")
    lake.run()
    of_u = [*rows[20:40], *rows[60:]]
    kept = [row for row in rows if row not in of_u or row["who"] != "x"]
    assert_equals_batch_query(lake, kept, "tumbling")


def test_rows_say_which_table_they_are_from_and_types_must_agree(lake: Lake) -> None:
    lake.configure([{"filter": "true"}], source=["bronze.t", "bronze.u"])
    narrow, wide = pa.schema([("id", pa.int32())]), pa.schema([("id", pa.int64()), ("more", pa.string())])
    lake.add([{"id": 1}], narrow)
    lake.add([{"id": 2, "more": "a"}], wide, "bronze.u")
    lake.run()
    assert lake.rows("id", "more", "_source_table") == [
        {"id": 1, "more": None, "_source_table": "bronze.t"},
        {"id": 2, "more": "a", "_source_table": "bronze.u"},
    ]
    lake.add([{"id": "3"}], pa.schema([("id", pa.string())]), "bronze.v")
    lake.configure([{"filter": "true"}], source=["bronze.t", "bronze.u", "bronze.v"])
    with pytest.raises(ConfigError, match=r"id is string in bronze\.v and int in bronze\.t"):
        lake.run()


def test_made_up_events_are_the_same_at_a_replay_and_each_enters_once(lake: Lake) -> None:
    window = {"type": "tumbling", "time": "timestamp", "size": "1 minute", "keys": ["event_type"], "measures": MEASURES}
    lake.configure([{"window": window}], source={"generate": {**GENERATE, "per_run": 2, "batches": 5}})
    lake.run()
    again_after_a_kill_before_the_commit(lake)
    while lake.plan().has_work:
        lake.load()
    stream = Stream(rate=5, seconds=60, users=7, duplicates=0.05, late=0.2, batches=5)
    made: list[Row] = [
        {**event, "timestamp": datetime.fromisoformat(event["timestamp"])} for part in batches(stream) for event in part
    ]
    sql = """SELECT time_bucket(INTERVAL '60 seconds', "timestamp", TIMESTAMPTZ '1970-01-01 00:00:00+00'), event_type,
        count(*), count(DISTINCT user_id), max(event_id) FROM made GROUP BY ALL"""
    with duckdb.connect() as engine:
        engine.execute("SET TimeZone = 'UTC'")
        engine.register("made", pa.Table.from_pylist(made))
        wanted = engine.sql(sql).fetchall()
    found = [tuple(row.values()) for row in lake.rows("window_start", "event_type", *MEASURES)]
    assert sorted((str(at), *rest) for at, *rest in found) == sorted((str(at), *rest) for at, *rest in wanted)
