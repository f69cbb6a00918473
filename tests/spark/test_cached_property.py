"""Whatever happens to the dimension between and during micro-batches, and wherever a run breaks: each batch is joined
with the version that was pinned when it was planned, once.
"""

import random
import shutil
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from pyspark.sql import DataFrame, SparkSession

from include.transform.plan_table import PlanTable
from tests.spark.test_cached_anything import seeds
from tests.spark.transforming import Lake

FACTS = pa.schema([("id", pa.int64()), ("kind", pa.string())])
KINDS = pa.schema([("kind", pa.string()), ("label", pa.string())])
ALL_KINDS = [f"k{number}" for number in range(40)]
_disturbances: list[Any] = []


class Broken(Exception):
    """What stands for a process that ends."""


def disturb(frame: DataFrame) -> DataFrame:
    """A step of the pipeline under test: what the test wants to happen in the middle of a batch."""
    for happening in _disturbances:
        happening()
    return frame


@pytest.fixture
def disturbances() -> Iterator[list[Any]]:
    yield _disturbances
    _disturbances.clear()


def change(rng: random.Random, lake: Lake) -> None:
    """One commit of the dimension, whose keys stay unique."""
    table = DeltaTable(lake.settings.table_root("silver.kinds"))
    there = {row["kind"] for row in table.to_pyarrow_table(columns=["kind"]).to_pylist()}
    some = rng.sample(ALL_KINDS, 3)
    match rng.choice(["add", "update", "delete", "compact"]):
        case "add":
            rows = [{"kind": kind, "label": f"v{table.version()}"} for kind in some if kind not in there]
            lake.add(rows, KINDS, "silver.kinds")
        case "update":
            table.update({"label": f"'u{table.version()}'"}, predicate=f"kind = '{some[0]}'")
        case "delete":
            table.delete(f"kind = '{some[0]}'")
        case "compact":
            table.optimize.compact()


def expected(lake: Lake) -> list[tuple[int, str | None]]:
    """The rows that the target must have, by the plan alone: each batch's facts, its pinned labels."""
    plan = PlanTable(lake.settings, "p")
    facts = DeltaTable(lake.settings.table_root("bronze.t"))
    found = []
    before: set[int] = set()
    for planned in plan.ranges(1, plan.last_batch):
        facts.load_as_version(planned.versions.last)
        kinds = DeltaTable(lake.settings.table_root("silver.kinds"), version=planned.pinned["silver.kinds"].version)
        labels = {row["kind"]: row["label"] for row in kinds.to_pyarrow_table().to_pylist()}
        rows = [row for row in facts.to_pyarrow_table().to_pylist() if row["id"] not in before]
        before |= {row["id"] for row in rows}
        found += [(row["id"], labels.get(row["kind"])) for row in rows]
    return sorted(found, key=str)


@pytest.mark.parametrize("seed", seeds("1"))
def test_each_batch_has_its_pinned_version_whatever_happens(lake: Lake, disturbances: list[Any], seed: int) -> None:
    rng = random.Random(seed)
    lake.add([{"kind": kind, "label": "first"} for kind in ALL_KINDS[:25]], KINDS, "silver.kinds")

    def breaks() -> None:
        if rng.random() < 0.3:
            raise Broken

    disturbances += [lambda: change(rng, lake), breaks]
    ids = iter(range(10**6))
    for _ in range(4):
        for _ in range(rng.randint(1, 2)):
            lake.add([{"id": next(ids), "kind": rng.choice([*ALL_KINDS, None])} for _ in range(20)], FACTS)
        lake.plan()
        change(rng, lake)
        if rng.random() < 0.3:
            shutil.rmtree(lake.home / "cache", ignore_errors=True)
        load(lake)
    rows = [(row["id"], row["label"]) for row in lake.rows("id", "label")]
    assert sorted(rows, key=str) == expected(lake)


def load(lake: Lake) -> None:
    """Until nothing is pending, as retries would."""
    for _ in range(20):
        try:
            lake.load()
        except Broken:
            continue
        return
    raise AssertionError("it broke 20 times")


@pytest.fixture
def lake(tmp_path: Any, spark: SparkSession) -> Lake:
    made = Lake(tmp_path, spark)
    join = {"table": "silver.kinds", "on": ["kind"], "how": "left", "columns": ["label"], "cached": True}
    step = {"custom": "tests.spark.test_cached_property:disturb"}
    made.configure([step, {"join": join}, dict(step)], options={"maxVersionsPerTrigger": 1})
    return made
