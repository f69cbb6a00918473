"""`join: {cached: true}` in a pipeline: one pinned version for each micro-batch, read at most once, never stale."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from include.cache.dimension import Dimension, current_version
from include.cache.errors import DuplicateKeys
from include.cache.memory import Memory
from include.config.errors import ConfigError
from include.transform.commits import HistoryLost
from spark_jobs.engine.cache.joins import CachedJoins
from tests.spark.transforming import Lake

FACTS = pa.schema([("id", pa.int64()), ("kind", pa.string())])
KINDS = pa.schema([("kind", pa.string()), ("label", pa.string()), ("size", pa.int32())])
JOIN = {"table": "silver.kinds", "on": ["kind"], "how": "left", "columns": ["label"], "cached": True}


@pytest.fixture
def lake(tmp_path: Path, spark: SparkSession) -> Lake:
    made = Lake(tmp_path, spark)
    made.configure([{"join": JOIN}])
    label(made, a="A", b="B")
    return made


def label(lake: Lake, **labels: str) -> None:
    lake.add([{"kind": kind, "label": text, "size": 1} for kind, text in labels.items()], KINDS, "silver.kinds")


def add(lake: Lake, *kinds: str | None) -> None:
    lake.add([{"id": number, "kind": kind} for number, kind in enumerate(kinds)], FACTS)


def labels(lake: Lake) -> list[Any]:
    return sorted(str(row["label"]) for row in lake.rows("label"))


def test_table_is_read_once_and_later_runs_use_the_snapshot(lake: Lake) -> None:
    add(lake, "a", "b", None, "z")
    first = lake.run().cache[0]
    assert (first["table_reads"], first["hits"], first["misses"]) == (1, 0, 1)
    assert (first["rows_matched"], first["rows_unmatched"]) == (2, 2)
    assert labels(lake) == ["A", "B", "None", "None"]
    add(lake, "b")
    second = lake.run().cache[0]
    assert (second["table_reads"], second["hits"], second["misses"]) == (0, 1, 0)


def test_change_of_the_dimension_is_taken_by_the_next_batch_without_reading_the_table(lake: Lake) -> None:
    label(lake, **{f"k{number}": "other" for number in range(20)})
    add(lake, "a")
    lake.run()
    label(lake, c="C")
    DeltaTable(lake.settings.table_root("silver.kinds")).update({"label": "'A2'"}, predicate="kind = 'a'")
    add(lake, "a", "c")
    figures = lake.run().cache[0]
    assert labels(lake) == ["A", "A2", "C"]
    assert (figures["table_reads"], figures["stale_hits_avoided"]) == (0, 1)
    assert list(figures["refreshes"]) == ["change feed"]


@pytest.mark.parametrize("lost", [False, True])
def test_batch_joins_with_the_version_that_was_pinned_when_it_was_planned(lake: Lake, lost: bool) -> None:
    add(lake, "a")
    lake.run()
    add(lake, "a", "c")
    lake.plan()
    label(lake, c="too late")
    if lost:
        shutil.rmtree(lake.home / "cache")
    lake.load()
    assert labels(lake) == ["A", "A", "None"]


def test_duplicate_keys_are_refused_with_the_key_and_nothing_is_written(lake: Lake) -> None:
    label(lake, b="B again")
    add(lake, "a")
    with pytest.raises(DuplicateKeys, match=r"2 rows of the key kind = 'b'"):
        lake.run()
    assert not Path(lake.settings.table_root("gold.t")).exists()


def test_batch_that_was_refused_for_its_dimension_takes_the_one_that_was_put_right(lake: Lake) -> None:
    root = lake.settings.table_root("silver.kinds")
    label(lake, b="B again")
    add(lake, "a", "b")
    with pytest.raises(DuplicateKeys):
        lake.run()
    DeltaTable(root).delete("label = 'B again'")
    add(lake, "a")
    lake.plan()
    narrow = pa.table({"kind": ["a"], "size": pa.array([1], pa.int32())})
    write_deltalake(root, narrow, mode="overwrite", schema_mode="overwrite")
    assert lake.load() == 2
    assert labels(lake) == ["A", "A", "B"]
    add(lake, "a")
    with pytest.raises(ConfigError, match="has no label"):
        lake.run()
    again = pa.table({"kind": ["a"], "label": ["A2"], "size": pa.array([1], pa.int32())})
    write_deltalake(root, again, mode="overwrite", schema_mode="overwrite")
    lake.run()
    assert labels(lake) == ["A", "A", "A2", "B"]


@pytest.mark.parametrize("cached", [True, False])
def test_latest_row_of_a_key_is_picked(lake: Lake, cached: bool) -> None:
    for size, text in ((7, "B7"), (3, "B3")):
        lake.add([{"kind": "b", "label": text, "size": size}], KINDS, "silver.kinds")
    lake.configure([{"join": {**JOIN, "cached": cached, "pick": "latest", "latest_by": "size"}}])
    add(lake, "a", "b", "z")
    lake.run()
    assert labels(lake) == ["A", "B7", "None"]
    lake.add([{"kind": "a", "label": "A2", "size": 1}], KINDS, "silver.kinds")
    add(lake, "b")
    with pytest.raises(DuplicateKeys, match="several latest rows of the key kind = 'a'"):
        lake.run()


def made_anew(lake: Lake) -> None:
    shutil.rmtree(lake.settings.table_root("silver.kinds"))
    label(lake, a="other table")


def vacuumed(lake: Lake) -> None:
    table = DeltaTable(lake.settings.table_root("silver.kinds"))
    table.update({"label": "'newer'"})
    table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize(("lose", "found"), [(made_anew, "other table"), (vacuumed, "newer")])
def test_batch_whose_pinned_version_is_gone_is_planned_again_with_the_newest(
    lake: Lake, lose: Callable[[Lake], None], found: str, cached: bool
) -> None:
    lake.configure([{"join": {**JOIN, "cached": cached}}])
    add(lake, "a")
    lake.plan()
    lose(lake)
    with pytest.raises((HistoryLost, PySparkException, Py4JJavaError)):
        lake.load()
    assert lake.run().batches == 1
    assert labels(lake) == [found]


def test_batch_that_has_rows_in_a_side_table_keeps_the_version_that_it_joined_with(lake: Lake) -> None:
    check = {"name": "known", "expr": "label IS NOT NULL", "action": "quarantine"}
    broken = {"filter": "assert_true(false) IS NULL"}
    lake.configure([{"join": JOIN}, {"checks": [check]}, broken])
    add(lake, "a", "z")
    lake.plan()
    with pytest.raises((PySparkException, Py4JJavaError)):
        lake.load()
    made_anew(lake)
    lake.configure([{"join": JOIN}, {"checks": [check]}])
    lake.run()  # the snapshot of the version that is gone still stands
    assert labels(lake) == ["A"]


def test_column_that_the_dimension_gains_is_joined_from_the_next_batch_on(lake: Lake) -> None:
    lake.configure([{"join": {**JOIN, "columns": None}}])
    add(lake, "a")
    lake.run()
    wider = KINDS.append(pa.field("colour", pa.string()))
    data = pa.Table.from_pylist([{"kind": "c", "label": "C", "size": 2, "colour": "red"}], schema=wider)
    write_deltalake(lake.settings.table_root("silver.kinds"), data, mode="append", schema_mode="merge")
    lake.configure([{"join": {**JOIN, "columns": ["label", "colour"]}}], name="q", table="gold.q")
    add(lake, "c")
    lake.run()
    assert sorted(str(row["colour"]) for row in lake.rows("colour", table="gold.q")) == ["None", "red"]


def test_under_memory_pressure_the_snapshot_serves_without_keeping_pages_and_at_its_end_spark_joins(
    lake: Lake, spark: SparkSession
) -> None:
    root = lake.settings.table_root("silver.kinds")
    dimension = Dimension("silver.kinds", root, ("kind",), ("label",))
    version = current_version(root)
    assert version is not None
    frame = spark.createDataFrame([(1, "a")], "id int, kind string")
    left = [0]
    joins = CachedJoins(spark, lake.settings, lambda: Memory(available=left[0] << 20, total=10 << 30))

    def uncached() -> Any:
        return frame.selectExpr("id", "kind", "'uncached' AS label")

    served = []
    for mebibytes in (10, 100, 8000, 100, 10, 8000):
        left[0] = mebibytes
        served.append(joins.join(frame, dimension, version, "left", uncached).collect()[0]["label"])
    joins.close()
    assert served == ["uncached", "uncached", "A", "A", "uncached", "A"]  # 100 MiB make no snapshot, and read one
    figures = joins.figures()[0]
    assert (figures.fallbacks, figures.pressure, figures.frugal, figures.table_reads) == (3, 4, 1, 1)


def test_key_of_another_type_is_joined_by_spark_and_said_so(lake: Lake, spark: SparkSession) -> None:
    lake.add([{"id": 1, "kind": "x"}], FACTS, "silver.numbers")
    lake.configure(
        [
            {"select": ["CAST(id AS STRING) AS id", "kind AS was"]},
            {"join": {**JOIN, "table": "silver.numbers", "on": ["id"], "columns": ["kind"]}},
        ]
    )
    add(lake, "a", "b")
    figures = lake.run().cache[0]
    assert sorted(str(row["kind"]) for row in lake.rows("kind")) == ["None", "x"]
    assert figures["fallback_reasons"][0].startswith("[CannotCache] The key id is string in the micro-batch and bigint")
