"""The cached join gives what Spark's join gives: over random changes of the dimension, all kinds of joins and keys."""

import datetime as dt
import random
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from include.cache.dimension import Dimension, TableVersion, current_version
from include.cache.memory import Memory
from include.config.settings import Settings, load_settings
from spark_jobs.engine.cache.joins import CachedJoins

HOWS = ("inner", "left", "left_semi", "left_anti")
PLENTY = Memory(available=8 << 30, total=16 << 30)
SCHEMA = pa.schema(
    [
        ("code", pa.string()),
        ("day", pa.date32()),
        ("number", pa.int64()),
        ("price", pa.decimal128(12, 2)),
        ("at", pa.timestamp("us", "UTC")),
        ("tags", pa.list_(pa.string())),
        ("place", pa.struct([("lat", pa.float64())])),
    ]
)
KEYS = ("code", "day")
ADDED = ("price", "at", "tags", "place")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings({"SLUICE_HOME": str(tmp_path)}, tmp_path / "none.yaml")


def row(rng: random.Random, code: str | None, day: dt.date | None) -> dict[str, Any]:
    return {
        "code": code,
        "day": day,
        "number": rng.choice([None, rng.randrange(10)]),
        "price": rng.choice([None, Decimal(rng.randrange(10**6)) / 100]),
        "at": dt.datetime(2026, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=rng.randrange(10**12)),
        "tags": rng.choice([None, [], ["a", None], ["ü" * rng.randrange(9)]]),
        "place": rng.choice([None, {"lat": None}, {"lat": rng.random()}]),
    }


def all_keys() -> list[tuple[str, dt.date]]:
    codes = ["", "a", "ab", "abcdefgh", "abcdefghi", "ü", "x" * 40]
    return [(code, dt.date(2026, 1, day)) for code in codes for day in range(1, 9)]


def change(rng: random.Random, root: str) -> None:
    """One random commit; keys stay unique but for NULL ones."""
    present = {(r["code"], r["day"]) for r in DeltaTable(root).to_pyarrow_table(columns=list(KEYS)).to_pylist()}
    some = rng.sample(all_keys(), 5)
    match rng.choice(["append", "delete", "merge", "null", "compact"]):
        case "append":
            rows = [row(rng, *key) for key in some if key not in present]
            write_deltalake(root, pa.Table.from_pylist(rows, schema=SCHEMA), mode="append")
        case "delete":
            DeltaTable(root).delete(f"code = '{some[0][0]}' AND number > 4")
        case "merge":
            rows = pa.Table.from_pylist([row(rng, *key) for key in some], schema=SCHEMA)
            merger = DeltaTable(root).merge(rows, "t.code = s.code AND t.day = s.day", "s", "t")
            merger.when_matched_update_all().when_not_matched_insert_all().execute()
        case "null":
            rows = pa.Table.from_pylist([row(rng, None, some[0][1]), row(rng, None, some[0][1])], schema=SCHEMA)
            write_deltalake(root, rows, mode="append")
        case "compact":
            DeltaTable(root).optimize.compact()


def batch(spark: SparkSession, rng: random.Random) -> DataFrame:
    keys = [
        *rng.choices(all_keys(), k=40),
        (None, dt.date(2026, 1, 1)),
        ("a", None),
        ("not there", dt.date(2026, 1, 1)),
    ]
    rows = [(number, code, day) for number, (code, day) in enumerate(keys)]
    return spark.createDataFrame(rows, "id int, code string, day date").repartition(3)


def at_version(spark: SparkSession, root: str, version: TableVersion) -> DataFrame:
    return spark.read.format("delta").option("versionAsOf", version.version).load(root)


def partners(frame: DataFrame, other: DataFrame, added: tuple[str, ...]) -> DataFrame:
    """Spark's own left join, with a column that says which rows have a partner."""
    marked = other.select(*KEYS, *added, F.lit(True).alias("matched"))
    return frame.join(marked, on=list(KEYS), how="left").select(*frame.columns, *added, "matched")


def expected(rows: list[Row], how: str) -> list[str]:
    kept = [row for row in rows if how == "left" or bool(row["matched"]) == (how != "left_anti")]
    width = len(rows[0]) - 1 if how in ("inner", "left") else len(rows[0]) - 1 - len(ADDED)
    return sorted(repr(tuple(row)[:width]) for row in kept)


@pytest.mark.parametrize("feed", ["true", "false"])
def test_a_cached_join_equals_sparks_over_random_changes(
    spark: SparkSession, settings: Settings, tmp_path: Path, feed: str
) -> None:
    rng = random.Random(feed)
    root = str(tmp_path / "warehouse" / "d")
    first = [row(rng, *key) for key in rng.sample(all_keys(), 30)]
    config = {"delta.enableChangeDataFeed": feed}
    write_deltalake(root, pa.Table.from_pylist(first, schema=SCHEMA), configuration=config)
    dimension = Dimension("silver.d", root, KEYS, ADDED)
    made: set[str] = set()
    for number in range(4):
        for _ in range(rng.randint(0, 2)):
            change(rng, root)
        joins = CachedJoins(spark, settings, lambda: PLENTY)  # a new run
        version = current_version(root)
        assert version is not None
        frame = batch(spark, rng)
        spark_says = partners(frame, at_version(spark, root, version), ADDED)
        rows = spark_says.collect()
        for how in HOWS[number % 2 :: 2]:
            cached = joins.join(frame, dimension, version, how, lambda: pytest.fail("not cached"))
            assert sorted(repr(tuple(row)) for row in cached.collect()) == expected(rows, how)
        assert cached.schema.fields[: len(frame.columns)] == frame.schema.fields
        made |= set(joins.figures()[0].refreshes)
        joins.close()
    assert made >= ({"rebuilt", "change feed"} if feed == "true" else {"rebuilt"})
