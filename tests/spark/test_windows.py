"""A window table equals the batch query of another engine, whatever the order, slicing, lateness and crashes."""

import random
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake
from pyspark.sql import SparkSession

from include.config.errors import ConfigError
from include.transform.local_merge import LocalMerge
from include.transform.near_rows import NotMerged
from tests.spark.oracle import MEASURES, SCHEMA, Row, differences, expected, in_order
from tests.spark.transforming import Lake

WINDOWS: dict[str, dict[str, Any]] = {
    "tumbling": {"type": "tumbling", "size": 60},
    "sliding": {"type": "sliding", "size": 90, "slide": 30},
    "session": {"type": "session", "gap": 20},
}
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def event(rng: random.Random) -> Row:
    """Minutes around noon, on one of several days; sometimes without a key, a value or a time."""
    days = rng.choice([0, 0, 0, 0, -1, -9])
    at = NOON + timedelta(days=days, seconds=rng.randrange(600))
    return {
        "at": None if rng.random() < 0.02 else at,
        "k": rng.choice(["a", "b", None]),
        "v": None if rng.random() < 0.1 else rng.randrange(-100, 100),
        "price": None if rng.random() < 0.1 else Decimal(rng.randrange(10_000)) / 100,
        "who": rng.choice(["x", "y", "z", None]),
    }


def events(seed: int, count: int) -> list[Row]:
    rng = random.Random(seed)
    return [event(rng) for _ in range(count)]


def configure(lake: Lake, kind: str, late: Any = None, measures: dict[str, str] | None = None, **more: Any) -> None:
    window = dict(WINDOWS[kind])
    lengths = {name: f"{value} seconds" for name, value in window.items() if name != "type"}
    texts = measures or {name: ours for name, (ours, _) in MEASURES.items()}
    step = {"type": kind, **lengths, "time": "at", "keys": ["k"], "measures": texts}
    lake.configure([{"window": {**step, "late": late} if late else step}], **more)


def found(lake: Lake) -> list[Row]:
    return in_order(lake.rows("window_start", "k", *MEASURES))


def assert_equals_batch_query(lake: Lake, rows: Sequence[Row], kind: str) -> None:
    assert differences(found(lake), expected(rows, WINDOWS[kind])) == []


@pytest.fixture
def lake(tmp_path: Path, spark: SparkSession) -> Lake:
    return Lake(tmp_path, spark)


def not_merged(*_: Any) -> None:
    raise NotMerged("as if delta-rs could not")


@pytest.mark.parametrize("kind", ["tumbling", "session", pytest.param("sliding", marks=pytest.mark.slow)])
def test_merged_table_equals_the_batch_query_whatever_the_slicing_lateness_and_replays(
    lake: Lake, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = events(seed=1, count=120)
    configure(lake, kind)
    for number, size in enumerate((40, 3, 50, 27)):
        begin = (0, 40, 43, 93)[number]
        lake.add(rows[begin : begin + size], SCHEMA)
        with monkeypatch.context() as patch:
            if number == 2:  # then Delta-Spark's MERGE does it
                patch.setattr(LocalMerge, "commit", not_merged)
            figures = lake.run()
        lake.load()  # started again: nothing is pending
        shutil.rmtree(lake.home / "state" / "p" / "outcomes")  # as after a kill behind the commit
        untimed = sum(row["at"] is None for row in rows[begin : begin + size])
        assert (figures.rows.loaded, figures.rows.late) == (size - untimed, untimed)
    assert_equals_batch_query(lake, rows, kind)
    engines = [commit.get("engineInfo", "").partition("/")[0] for commit in reversed(lake.table().history())]
    assert engines == ["Apache-Spark", "Sluice", "Apache-Spark", "Sluice"]
    assert len(lake.rows("k", table=f"{lake.home}/state/p/late")) == sum(row["at"] is None for row in rows)


@pytest.mark.parametrize("kind", ["tumbling", pytest.param("session", marks=pytest.mark.slow)])
def test_rows_of_years_that_python_has_not_do_not_stop_the_others(
    lake: Lake, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(lake, kind, measures={"n": "count(*)"})
    far = [(year - 1970) * 365 * 86_400_000_000 for year in (-2000, 900, 2026, 12_000)]
    rows = pa.table({"at": pa.array(far).cast(pa.timestamp("us", "UTC")), "k": ["a"] * 4})
    for batch in range(3):
        write_deltalake(lake.settings.table_root("bronze.t"), rows, mode="append")
        with monkeypatch.context() as patch:
            if batch == 2:  # then Delta-Spark's MERGE does it
                patch.setattr(LocalMerge, "commit", not_merged)
            assert lake.run().rows.loaded == 4
    table = pa.RecordBatchReader.from_stream(lake.table().scan(columns=["n"])).read_all()
    assert table["n"].to_pylist() == [3] * 4


@pytest.mark.parametrize("kind", ["tumbling", "session", pytest.param("sliding", marks=pytest.mark.slow)])
def test_rows_that_were_replaced_upstream_are_replaced_in_the_windows(lake: Lake, kind: str) -> None:
    rows = events(seed=3, count=60)
    configure(lake, kind)
    lake.add(rows, SCHEMA)
    lake.run()
    source = lake.table("bronze.t")
    gone = [row for row in rows if row["who"] == "x"]
    source.delete("who = 'x'")
    source.update(updates={"v": "v + 1"}, predicate="k = 'a'")
    lake.run()
    kept = [row for row in rows if row not in gone]
    moved = [{**row, "v": row["v"] + 1} if row["k"] == "a" and row["v"] is not None else row for row in kept]
    assert_equals_batch_query(lake, moved, kind)


def test_diverted_rows_stand_in_the_late_table_and_rows_in_are_aggregated_plus_late(lake: Lake) -> None:
    configure(lake, "tumbling", late={"after": "1 minute", "action": "divert"}, measures={"n": "count(*)"})
    row: Row = {"k": "a", "v": 1, "price": None, "who": None}
    lake.add([{**row, "at": NOON}, {**row, "at": NOON - timedelta(hours=5)}], SCHEMA)
    lake.run()
    lake.add([{**row, "at": NOON - timedelta(minutes=m)} for m in (0, 1, 2)], SCHEMA)
    figures = lake.run()
    assert (figures.rows.loaded, figures.rows.late) == (2, 1)
    late = lake.rows("at", "_late_reason", "_watermark", "_late_batch", table=f"{lake.home}/state/p/late")
    assert [(row["at"], row["_watermark"], row["_late_batch"]) for row in late] == [
        (NOON - timedelta(minutes=2), NOON - timedelta(minutes=1), 2)
    ]
    assert sum(row["n"] for row in lake.rows("n")) == 4


def test_late_rows_of_a_batch_that_was_killed_before_its_commit_stand_there_once(lake: Lake) -> None:
    configure(lake, "tumbling", late={"after": "1 minute", "action": "divert"}, measures={"n": "count(*)"})
    row: Row = {"k": "a", "v": 1, "price": None, "who": None}
    lake.add([{**row, "at": NOON}], SCHEMA)
    lake.run()
    shutil.copytree(lake.home / "warehouse" / "gold", lake.home / "before")
    lake.add([{**row, "at": NOON - timedelta(minutes=m)} for m in (0, 9)], SCHEMA)
    lake.run()
    # As a kill between the late table's commit and the target's leaves it.
    shutil.rmtree(lake.home / "warehouse" / "gold")
    shutil.move(lake.home / "before", lake.home / "warehouse" / "gold")
    lake.load()
    assert len(lake.rows("at", table=f"{lake.home}/state/p/late")) == 1
    assert sum(row["n"] for row in lake.rows("n")) == 2


def test_window_step_that_changed_is_refused(lake: Lake) -> None:
    configure(lake, "tumbling", measures={"n": "count(*)"})
    lake.add(events(1, 5), SCHEMA)
    lake.run()
    configure(lake, "tumbling", measures={"n": "count(v)"})
    lake.add(events(2, 5), SCHEMA)
    with pytest.raises(ConfigError, match="measures changed"):
        lake.run()
