"""A table that is merged into without Spark is one like any other to Delta-Spark: to read, to write, to clean."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from delta.tables import DeltaTable as SparkTable
from deltalake import DeltaTable
from pyspark.sql import Row, SparkSession

from include.transform.local_merge import LocalMerge
from include.transform.near_rows import Identity, Span, Spans

NOON = datetime(2026, 3, 1, 12, 0, 0, 123_999, tzinfo=UTC)
SCHEMA = pa.schema(
    [
        ("at", pa.timestamp("us", "UTC")),
        ("k", pa.string()),
        ("n", pa.int64()),
        ("price", pa.decimal128(9, 2)),
        ("deep", pa.struct([("t", pa.timestamp("us", "UTC")), ("m", pa.map_(pa.string(), pa.list_(pa.int32())))])),
    ]
)


def rows(*found: tuple[int, str | None, int]) -> pa.Table:
    deep = {"t": NOON, "m": [("a", [1, None])]}
    made = [{"at": NOON + timedelta(hours=h), "k": k, "n": n, "price": None, "deep": deep} for h, k, n in found]
    return pa.Table.from_pylist(made, schema=SCHEMA)


def merge(location: str, batch: int, *found: tuple[int, str | None, int]) -> None:
    into = LocalMerge.open(location, ("at", "k"))
    assert into is not None
    near = into.near(Spans("at", "at", [Span(-(1 << 60), 1 << 60)]))
    assert near is not None
    into.commit(near, rows(*found), Identity("at", ("k",)), f"batch {batch}", ("app", batch))


def by_spark(spark: SparkSession, location: str, where: str = "TRUE") -> list[Row]:
    frame = spark.read.format("delta").load(location).where(where)
    return frame.selectExpr(
        "at", "k", "n", "deep.t = TIMESTAMP '2026-03-01 12:00:00.123999Z'", "deep.m['a'][0]"
    ).collect()


def content(spark: SparkSession, location: str) -> set[tuple[int, str | None, int]]:
    """What Spark reads, which is what delta-rs reads."""
    table = DeltaTable(location).to_pyarrow_table().to_pylist()
    mine = {((row["at"] - NOON) // timedelta(hours=1), row["k"], row["n"]) for row in table}
    theirs = by_spark(spark, location)
    assert all((same, first) == (True, 1) for *_, same, first in theirs)
    found = {((at.astimezone(UTC) - NOON) // timedelta(hours=1), k, n) for at, k, n, *_ in theirs}
    assert len(theirs) == len(table) == len(found)
    assert found == mine
    return found


@pytest.mark.slow
def test_delta_spark_and_merges_without_it_take_turns_on_a_table(spark: SparkSession, tmp_path: Path) -> None:
    location = str(tmp_path / "t")
    first = spark.createDataFrame(rows((0, "a", 1), (1, None, 1), (2, "c", 1)))
    writer = first.repartition(2).write.format("delta").option("delta.enableChangeDataFeed", "true")
    writer.save(location)
    merge(location, 1, (0, "a", 2), (1, None, 2), (3, "d", 2))
    assert content(spark, location) == {(0, "a", 2), (1, None, 2), (2, "c", 1), (3, "d", 2)}
    edge = "at = TIMESTAMP '2026-03-01 15:00:00.123999Z'"
    assert [row["k"] for row in by_spark(spark, location, edge)] == ["d"]

    feed = spark.read.format("delta").option("readChangeFeed", "true").option("startingVersion", 1).load(location)
    told = {(row["_change_type"], row["k"], row["n"]) for row in feed.select("_change_type", "k", "n").collect()}
    assert told == {
        *(("update_preimage", k, 1) for k in ("a", None)),
        *(("update_postimage", k, 2) for k in ("a", None)),
        ("insert", "d", 2),
    }

    table = SparkTable.forPath(spark, location)
    table.update("k = 'c'", {"n": "3"})
    merge(location, 2, (2, "c", 4), (9, "z", 4))
    table.optimize().executeCompaction()
    merge(location, 3, (9, "z", 5))
    spark.conf.set("spark.databricks.delta.retentionDurationCheck.enabled", "false")
    table.vacuum(0)
    spark.conf.unset("spark.databricks.delta.retentionDurationCheck.enabled")
    assert content(spark, location) == {(0, "a", 2), (1, None, 2), (2, "c", 4), (3, "d", 2), (9, "z", 5)}
    notes = [row["userMetadata"] for row in table.history().select("userMetadata").collect()]
    assert [note for note in notes if note] == ["batch 3", "batch 2", "batch 1"]
