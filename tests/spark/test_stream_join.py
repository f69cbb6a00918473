"""Each pair of two growing tables comes once, whatever arrives first; rows that stay alone come when that is final."""

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from tests.spark.transforming import Lake

LEFT = pa.schema([("k", pa.string()), ("at", pa.timestamp("us", "UTC")), ("id", pa.int64())])
RIGHT = pa.schema([("k", pa.string()), ("seen", pa.timestamp("us", "UTC")), ("temp", pa.int64())])
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
QUERY = """SELECT l.id, r.temp FROM l {how} JOIN r ON l.k = r.k
    AND r.seen BETWEEN l."at" - INTERVAL 60 SECONDS AND l."at" + INTERVAL 30 SECONDS"""
FINAL = """ WHERE r.temp IS NOT NULL OR l."at" IS NULL OR l."at" + INTERVAL 30 SECONDS < (SELECT max(seen) FROM r)"""


@pytest.mark.parametrize("how", [pytest.param("inner", marks=pytest.mark.slow), "left"])
def test_pairs_equal_the_batch_query_whatever_arrives_first(tmp_path: Path, spark: SparkSession, how: str) -> None:
    lake = Lake(tmp_path, spark)
    bounds = {"before": "60 seconds", "after": "30 seconds"}
    step = {"table": "bronze.r", "on": ["k"], "time": "at", "other_time": "seen", "how": how, "columns": ["temp"]}
    known = {"name": "known", "expr": "id < 900", "action": "quarantine"}
    lake.configure([{"checks": [known]}, {"stream_join": {**step, **bounds}}])
    rng = random.Random(2)

    def moment() -> datetime:
        return NOON + timedelta(seconds=rng.randrange(600))

    left: list[dict[str, Any]] = [
        {"k": rng.choice(["a", "b", None]), "at": None if number % 17 == 5 else moment(), "id": number // 2}
        for number in range(40)
    ]
    right = [{"k": rng.choice("ab"), "seen": moment(), "temp": number} for number in range(30)]
    for part in range(4):
        # The right rows of the last part are older than those before them: late partners.
        lake.add([*left[part * 10 : part * 10 + 10], *[{"k": "a", "at": NOON, "id": 900}] * part], LEFT)
        if part != 2:
            first = (0, 10, 0, 20)[part]
            lake.add(right[first : first + 10], RIGHT, "bronze.r")
        assert lake.run().rows.quarantined == part
        lake.load()
    lake.add([{"k": "a", "seen": NOON + timedelta(hours=1), "temp": 99}], RIGHT, "bronze.r")
    assert lake.run().batches == 1
    right.append({"k": "a", "seen": NOON + timedelta(hours=1), "temp": 99})
    with duckdb.connect() as engine:
        engine.register("l", pa.Table.from_pylist(left, schema=LEFT))
        engine.register("r", pa.Table.from_pylist(right, schema=RIGHT))
        wanted = engine.sql(QUERY.format(how=how) + (FINAL if how == "left" else "")).fetchall()
    found = [(row["id"], row["temp"]) for row in lake.rows("id", "temp")]
    assert sorted(found, key=str) == sorted(wanted, key=str)
    assert not lake.plan().has_work
