"""A table follows its source exactly once: whatever was killed, whoever else committed, at whatever slicing."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from include.config.errors import ConfigError, DataRefused, StateLost, TableNotFound
from include.transform.commits import HistoryLost
from include.transform.outcomes import outcome_rows
from spark_jobs.engine.transform.problems import SourceChanged
from spark_jobs.engine.transform.source import FeedMissing
from tests.spark.transforming import Lake

SCHEMA = pa.schema([("id", pa.int64()), ("kind", pa.string())])
KINDS = pa.schema([("kind", pa.string()), ("label", pa.string())])


@pytest.fixture
def lake(tmp_path: Path, spark: SparkSession) -> Lake:
    made = Lake(tmp_path, spark)
    made.configure([{"filter": "id > 0"}, {"select": ["id", "id * 10 AS tenfold"]}])
    return made


def add(lake: Lake, *ids: int, feed: bool = True) -> None:
    lake.add([{"id": number, "kind": "a"} for number in ids], SCHEMA, feed=feed)


def ids(lake: Lake) -> list[int]:
    return [row["id"] for row in lake.rows("id")]


def test_first_run_reads_all_and_later_ones_only_what_is_new(lake: Lake) -> None:
    add(lake, 1, 2, 0)
    figures = lake.run()
    assert (figures.rows.loaded, figures.batches) == (2, 1)
    add(lake, 3)
    add(lake, 4)
    figures = lake.run()
    assert (figures.rows.loaded, figures.batches) == (2, 1)
    assert lake.rows("id", "tenfold") == [{"id": number, "tenfold": 10 * number} for number in (1, 2, 3, 4)]


def test_nothing_new_plans_no_work_also_after_the_source_was_optimized(lake: Lake) -> None:
    add(lake, 1)
    add(lake, 2)
    lake.run()
    lake.table("bronze.t").optimize.compact()
    assert not lake.plan().has_work
    add(lake, 3)
    lake.run()
    assert ids(lake) == [1, 2, 3]


@pytest.mark.parametrize("limit", ["maxVersionsPerTrigger", "maxBytesPerTrigger"])
def test_versions_are_cut_into_micro_batches_by_the_limits(lake: Lake, limit: str) -> None:
    lake.configure([{"filter": "true"}], options={limit: 1})
    add(lake, 1)
    lake.run()
    for number in (2, 3, 4):
        add(lake, number)
    assert lake.run().batches == 3
    assert ids(lake) == [1, 2, 3, 4]


def test_batch_whose_outcome_was_killed_is_counted_from_its_commit_and_not_done_again(lake: Lake) -> None:
    add(lake, 1, 2)
    lake.run()
    before = outcome_rows(lake.settings, "p")
    shutil.rmtree(lake.home / "state" / "p" / "outcomes")
    assert not lake.plan().has_work
    assert outcome_rows(lake.settings, "p") == before
    assert ids(lake) == [1, 2]


def test_job_that_is_started_twice_for_one_plan_writes_once(lake: Lake) -> None:
    add(lake, 1)
    lake.plan()
    assert lake.load() == 1
    assert lake.load() == 0
    assert ids(lake) == [1]


def test_plan_that_was_killed_before_its_job_is_done_by_the_next_run(lake: Lake) -> None:
    add(lake, 1)
    lake.plan()
    add(lake, 2)
    assert lake.run().batches == 2
    assert ids(lake) == [1, 2]


def test_deleted_plan_stops_the_run(lake: Lake) -> None:
    add(lake, 1)
    lake.run()
    shutil.rmtree(lake.home / "state" / "p" / "plan")
    with pytest.raises(StateLost):
        lake.plan()


def test_deleted_target_is_made_again_from_the_same_plan(lake: Lake) -> None:
    add(lake, 1)
    lake.run()
    add(lake, 2)
    lake.run()
    shutil.rmtree(lake.home / "warehouse" / "gold")
    lake.run()
    assert ids(lake) == [1, 2]


def test_source_made_anew_stops_the_run(lake: Lake) -> None:
    add(lake, 1)
    lake.run()
    shutil.rmtree(lake.home / "warehouse" / "bronze")
    add(lake, 1)
    with pytest.raises(HistoryLost):
        lake.plan()


def test_missing_source_is_named(lake: Lake) -> None:
    with pytest.raises(TableNotFound, match=r"bronze\.t"):
        lake.plan()


def test_table_without_change_feed_is_read_by_the_files_of_its_appends(lake: Lake) -> None:
    add(lake, 1, feed=False)
    lake.run()
    add(lake, 2, feed=False)
    lake.run()
    assert ids(lake) == [1, 2]
    lake.table("bronze.t").delete("id = 1")
    with pytest.raises(FeedMissing, match="change feed"):
        lake.run()


def test_deleted_source_rows_are_refused_or_passed_over_as_the_pipeline_says(lake: Lake) -> None:
    add(lake, 1, 2)
    lake.run()
    lake.table("bronze.t").delete("id = 1")
    add(lake, 3)
    with pytest.raises(SourceChanged, match="skipChangeCommits"):
        lake.run()
    assert ids(lake) == [1, 2]
    lake.configure(
        [{"filter": "id > 0"}, {"select": ["id", "id * 10 AS tenfold"]}], options={"skipChangeCommits": True}
    )
    lake.run()
    assert ids(lake) == [1, 2, 3]


def test_deletes_are_passed_over_where_the_pipeline_says_so(lake: Lake) -> None:
    lake.configure([{"filter": "true"}], options={"skipChangeCommits": True})
    add(lake, 1, 2)
    lake.run()
    lake.table("bronze.t").delete("id = 1")
    add(lake, 3)
    lake.run()
    assert ids(lake) == [1, 2, 3]


def test_joined_table_is_read_at_the_version_that_was_pinned_with_the_plan(lake: Lake) -> None:
    lake.configure([{"join": {"table": "bronze.kinds", "on": ["kind"], "how": "left"}}])
    lake.add([{"kind": "a", "label": "old"}], KINDS, "bronze.kinds")
    add(lake, 1)
    lake.plan()
    kinds = DeltaTable(lake.settings.table_root("bronze.kinds"))
    kinds.update(updates={"label": "'new'"})
    lake.load()
    add(lake, 2)
    lake.run()
    assert lake.rows("id", "label") == [{"id": 1, "label": "old"}, {"id": 2, "label": "new"}]
    assert lake.table().to_pyarrow_table().column_names == ["id", "kind", "label"]


def test_step_that_spark_does_not_understand_is_named_with_its_columns(lake: Lake) -> None:
    lake.configure([{"filter": "id > 0"}, {"select": ["nope"]}])
    add(lake, 1)
    with pytest.raises(ConfigError, match=r"steps\.1\.select.*nope") as refused:
        lake.run()
    assert "id, kind" in refused.value.remedy


def doubled(frame):  # type: ignore[no-untyped-def]
    return frame.union(frame)


def test_custom_step_is_the_users_function(lake: Lake) -> None:
    lake.configure([{"custom": "tests.spark.test_transform:doubled"}])
    add(lake, 1)
    lake.run()
    assert ids(lake) == [1, 1]


def test_first_row_of_a_key_is_kept_whatever_comes_later_and_is_killed_in_between(lake: Lake) -> None:
    lake.configure([{"deduplicate": {"keys": ["kind"]}}])
    lake.add([{"id": 2, "kind": "a"}, {"id": 1, "kind": "a"}, {"id": 3, "kind": None}], SCHEMA)
    lake.run()
    shutil.copytree(lake.home / "warehouse" / "gold", lake.home / "before")
    lake.add([{"id": 0, "kind": "a"}, {"id": 4, "kind": "b"}, {"id": 5, "kind": None}], SCHEMA)
    lake.run()
    kept = [{"id": 1, "kind": "a"}, {"id": 3, "kind": None}, {"id": 4, "kind": "b"}]
    assert lake.rows("id", "kind") == kept
    # As a kill between the commit of the keys and the target's leaves it.
    shutil.rmtree(lake.home / "warehouse" / "gold")
    shutil.move(lake.home / "before", lake.home / "warehouse" / "gold")
    lake.load()
    assert lake.rows("id", "kind") == kept


def test_duplicates_within_a_time_are_dropped_and_later_ones_are_not(lake: Lake) -> None:
    timed = pa.schema([("id", pa.int64()), ("at", pa.timestamp("us", "UTC"))])
    lake.configure([{"deduplicate": {"keys": ["id"], "time": "at", "within": "1 hour"}}])

    def add_at(*minutes: int | None) -> None:
        rows = [
            {"id": 1, "at": None if at is None else datetime(2026, 1, 1, 12, tzinfo=UTC) + timedelta(minutes=at)}
            for at in minutes
        ]
        lake.add(rows, timed)
        lake.run()

    add_at(50, 0, 100, None, None)
    add_at(130, -61, None, 30)
    minutes = [None if row["at"] is None else row["at"].hour * 60 + row["at"].minute - 720 for row in lake.rows("at")]
    assert sorted(minutes, key=str) == [-61, 0, 100, None]


def apart_by_order(rows: list[dict[str, Any]], hours: int) -> list[str]:
    """Of each key the rows in the order of v, without those near a kept one."""
    kept: list[dict[str, Any]] = []
    for row in sorted(rows, key=lambda row: (row["v"], str(row["at"]))):
        near = (abs(row["at"] - other["at"]) <= timedelta(hours=hours) for other in kept if other["k"] == row["k"])
        if not any(near):
            kept.append(row)
    return texts(kept)


def texts(rows: list[dict[str, Any]]) -> list[str]:
    return sorted(f"{row['k']} {row['at'].isoformat()} {row['v']}" for row in rows)


def test_row_that_an_order_puts_first_frees_those_that_were_near_the_one_it_replaces(lake: Lake) -> None:
    step = {"keys": ["k"], "order_by": ["v"], "time": "at", "within": "2 hours"}
    lake.configure([{"deduplicate": step}])
    schema, rng = pa.schema([("k", pa.string()), ("at", pa.timestamp("us", "UTC")), ("v", pa.int64())]), Random(4)
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    rows: list[dict[str, Any]] = [
        {"k": rng.choice(["a", None]), "at": noon + timedelta(hours=rng.randrange(9)), "v": rng.randrange(20)}
        for _ in range(30)
    ]
    for part in (rows[:20], rows[20:]):
        lake.add(part, schema)
        lake.run()
    found = texts(lake.rows("k", "at", "v"))
    assert found == apart_by_order(rows, 2)


def test_rows_that_fail_a_check_are_kept_aside_counted_or_stop_the_batch(lake: Lake) -> None:
    def check(action: str, expr: str) -> dict[str, str]:
        return {"name": action, "expr": expr, "action": action}

    lake.configure([{"checks": [check("quarantine", "id < 10"), check("drop", "id < 100"), check("warn", "id < 0")]}])
    add(lake, 1, 20, 300)
    figures = lake.run()
    assert (figures.rows.loaded, figures.rows.quarantined) == (1, 2)
    refused = lake.rows("id", "_check", table=f"{lake.home}/state/p/refused_0")
    assert refused == [{"id": 20, "_check": "quarantine"}, {"id": 300, "_check": "quarantine"}]
    lake.configure([{"checks": [check("fail", "id < 10")]}])
    add(lake, 11)
    with pytest.raises(DataRefused, match="1 rows fail 'id < 10'"):
        lake.run()
    assert ids(lake) == [1]
