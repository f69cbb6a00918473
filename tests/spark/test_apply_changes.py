"""The newest rows, and the histories, do not depend on the order in which changes arrive, nor on kills."""

import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from include.config.errors import DataRefused
from tests.spark.transforming import Lake

SCHEMA = pa.schema([("k", pa.string()), ("seq", pa.int64()), ("v", pa.int64()), ("op", pa.string())])
Row = dict[str, Any]


def history(changes: list[Row]) -> list[Row]:
    """What SCD 2 must hold, computed key by key."""
    rows: list[Row] = []
    for key in {change["k"] for change in changes}:
        best: dict[int, Row] = {}
        for change in (change for change in changes if change["k"] == key):
            rank = (change["op"] == "d", change["v"])
            standing = best.get(change["seq"])
            if standing is None or rank > (standing["op"] == "d", standing["v"]):
                best[change["seq"]] = change
        ends = [*sorted(best), None]
        rows += [
            {"k": key, "v": best[at]["v"], "start": at, "end": ends[number + 1]}
            for number, at in enumerate(sorted(best))
            if best[at]["op"] != "d"
        ]
    return sorted(rows, key=lambda row: (str(row["k"]), row["start"]))


@pytest.fixture
def lake(tmp_path: Path, spark: SparkSession) -> Lake:
    return Lake(tmp_path, spark)


@pytest.mark.parametrize("scd", [1, 2])
def test_changes_that_arrive_out_of_order_give_the_same_table(lake: Lake, scd: int) -> None:
    step = {"keys": ["k"], "sequence_by": "seq", "delete_when": "op = 'd'", "scd": scd}
    lake.configure([{"apply_changes": step}])
    rng = random.Random(5)
    changes = [
        {
            "k": rng.choice(["a", "b", "c", None]),
            "seq": rng.randrange(20),
            "v": rng.randrange(10),
            "op": rng.choice("uud"),
        }
        for _ in range(60)
    ]
    for begin, end in ((0, 5), (5, 40), (40, 60)):
        lake.add(changes[begin:end], SCHEMA)
        lake.run()
    wanted = history(changes)
    if scd == 1:
        wanted = [row for row in wanted if row["end"] is None]
        found = [{"k": row["k"], "v": row["v"], "start": row["seq"], "end": None} for row in lake.rows("k", "v", "seq")]
    else:
        rows = lake.rows("k", "v", "__start_at", "__end_at")
        found = [{"k": r["k"], "v": r["v"], "start": r["__start_at"], "end": r["__end_at"]} for r in rows]
    assert sorted(found, key=lambda row: (str(row["k"]), row["start"])) == wanted


def test_change_without_a_sequence_is_refused(lake: Lake) -> None:
    lake.configure([{"apply_changes": {"keys": ["k"], "sequence_by": "seq"}}])
    lake.add([{"k": "a", "seq": None, "v": 1, "op": "u"}], SCHEMA)
    with pytest.raises(DataRefused, match="seq"):
        lake.run()
