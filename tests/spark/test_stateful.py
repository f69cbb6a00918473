"""Spark's own state, exactly once: what cannot be merged, with late rows apart, whatever became of the checkpoint."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql.streaming.stateful_processor import StatefulProcessor, StatefulProcessorHandle

from include.config.errors import ConfigError
from include.transform import inputs
from tests.spark.transforming import Lake

SCHEMA = pa.schema([("at", pa.timestamp("us", "UTC")), ("k", pa.string()), ("v", pa.int64())])
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
WINDOW = {"type": "tumbling", "time": "at", "size": "1 minute", "keys": ["k"]}
LATE = {"after": "10 minutes", "action": "divert"}
MODE = {"window": {**WINDOW, "late": LATE, "measures": {"usual": "mode(v, true)", "n": "count(*)"}}}
# Minutes and values of the rows of each micro-batch; of the third two rows are late: NOON + 20 - 10 is the watermark.
BATCHES: tuple[tuple[tuple[int | None, int], ...], ...] = (
    ((0, 1), (0, 2), (0, 2), (1, 5)),
    ((0, 1), (0, 1), (20, 3), (None, 9)),
    ((9, 7), (0, 8), (10, 4), (21, 6), (20, 3)),
    (),
    ((21, 7), (21, 7)),
)
EMPTY = 3
Trouble = Callable[[Path], None]


@pytest.fixture
def lake(tmp_path: Path, spark: SparkSession) -> Lake:
    return Lake(tmp_path, spark)


def rows(batch: tuple[tuple[int | None, int], ...]) -> list[dict[str, Any]]:
    return [{"at": None if at is None else NOON + timedelta(minutes=at), "k": "a", "v": v} for at, v in batch]


def lose_checkpoint(home: Path) -> None:
    shutil.rmtree(home / "state" / "p" / "checkpoint", ignore_errors=True)


def lose_last_commit(home: Path) -> None:
    """As a kill between the target's commit and the checkpoint's leaves it."""
    commits = home / "state" / "p" / "checkpoint" / "commits"
    last = max(int(entry.name) for entry in commits.iterdir() if entry.name.isdigit())
    for name in (f"{last}", f".{last}.crc"):
        (commits / name).unlink(missing_ok=True)
    shutil.rmtree(home / "state" / "p" / "outcomes")


def expected() -> list[dict[str, Any]]:
    """Of all rows that were not late when they came."""
    windows: dict[int, list[int]] = {}
    for number, batch in enumerate(BATCHES):
        for at, v in batch:
            if at is not None and not (number == 2 and at < 10):
                windows.setdefault(at, []).append(v)
    return [{"at": at, "usual": usual(values), "n": len(values)} for at, values in sorted(windows.items())]


def usual(values: list[int]) -> int:
    """The most frequent value, of several the least."""
    return min(Counter(values).items(), key=lambda item: (-item[1], item[0]))[0]


TROUBLES: dict[str, tuple[Trouble | None, ...]] = {
    "none": (None,),
    "lost checkpoints": (lose_checkpoint,),
    "lost commits": (lose_last_commit,),
    "one, then the other": (lose_last_commit, lose_checkpoint, lose_checkpoint),
}


@pytest.mark.parametrize(
    "kind", [*(pytest.param(kind, marks=pytest.mark.slow) for kind in [*TROUBLES][:3]), [*TROUBLES][3]]
)
def test_windows_of_what_cannot_be_merged_hold_each_row_once(
    lake: Lake, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "LEAST_PRUNED", 1)
    lake.configure([{"filter": "v < 100"}, MODE])
    late, loaded = [], []
    for number, batch in enumerate(BATCHES):
        lake.add(rows(batch) or [{"at": NOON, "k": "a", "v": 100}], SCHEMA)
        figures = lake.run()
        late.append(figures.rows.late)
        loaded.append(figures.rows.loaded)
        trouble = TROUBLES[kind][number % len(TROUBLES[kind])]
        if trouble is not None and number != EMPTY:  # which has no micro-batch
            trouble(lake.home)
    assert (loaded, late) == ([4, 3, 3, 0, 2], [0, 1, 2, 0, 0])
    # The rows of windows that are final have left the input: those of the first batch.
    staged = lake.table(f"{lake.home}/state/p/input")
    assert sorted(staged.to_pyarrow_table()["__sluice_batch"].unique().to_pylist()) == [2, 3, 5]
    assert len([*(lake.home / "state" / "p" / "input").glob("*.parquet")]) == 3
    found = lake.rows("window_start", "usual", "n")
    minutes = [(row["window_start"] - NOON).seconds // 60 for row in found]
    assert [
        {"at": at, "usual": row["usual"], "n": row["n"]} for at, row in zip(minutes, found, strict=True)
    ] == expected()
    apart = lake.rows("v", "_late_reason", "_watermark", table=f"{lake.home}/state/p/late")
    watermark = NOON + timedelta(minutes=10)
    assert [(row["v"], row["_watermark"]) for row in apart] == [
        (7, watermark),
        (8, watermark),
        (9, NOON - timedelta(minutes=9)),
    ]


def test_target_that_was_put_back_gets_its_windows_again(lake: Lake) -> None:
    lake.configure([MODE])
    gold, before = lake.home / "warehouse" / "gold", lake.home / "before"
    lake.add(rows(BATCHES[0]), SCHEMA)
    lake.run()
    shutil.copytree(gold, before)
    lake.add(rows(BATCHES[1]), SCHEMA)
    lake.run()
    shutil.rmtree(gold)
    shutil.move(before, gold)
    lake.load()
    assert [(row["usual"], row["n"]) for row in lake.rows("window_start", "usual", "n")] == [(1, 5), (5, 1), (3, 1)]


def test_sessions_come_when_they_are_final(lake: Lake) -> None:
    window = {"type": "session", "time": "at", "gap": "5 minutes", "keys": ["k"], "late": LATE}
    lake.configure([{"window": {**window, "measures": {"usual": "mode(v, true)"}}}])
    lake.add(rows(((0, 1), (4, 1), (8, 2))), SCHEMA)
    lake.run()
    assert lake.rows("usual") == []
    lake.add(rows(((30, 4),)), SCHEMA)
    lake.run()
    lake.add(rows(((31, 4),)), SCHEMA)
    lake.run()
    assert lake.rows("window_start", "window_end", "usual") == [
        {"window_start": NOON, "window_end": NOON + timedelta(minutes=13), "usual": 1}
    ]


class Killed(Exception):
    """As if the process had ended there."""


def kill_at(point: str, patch: pytest.MonkeyPatch) -> list[str]:
    """Where input is taken away, end there; returns a list that gets an entry each time."""
    killed: list[str] = []
    vacuum = DeltaTable.vacuum

    def end(table: DeltaTable, *_: Any, **__: Any) -> None:
        if point == "between two files":
            files = vacuum(table, 0, dry_run=True, enforce_retention_duration=False)
            Path(unquote(urlsplit(table.table_uri).path), files[0]).unlink()
        killed.append(point)
        raise Killed(point)

    patch.setattr(DeltaTable, "delete" if point == "before the commit" else "vacuum", end)
    return killed


@pytest.mark.slow
@pytest.mark.parametrize("point", ["before the commit", "after it", "between two files"])
def test_kill_while_the_input_of_final_windows_is_taken_away_loses_nothing(
    lake: Lake, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "LEAST_PRUNED", 2)
    lake.configure([MODE])
    with monkeypatch.context() as patch:
        killed = kill_at(point, patch)
        for number in range(5):
            lake.add(rows(((30 * number, number),)), SCHEMA)
            with suppress(Killed):
                lake.run()
    assert killed
    lose_checkpoint(lake.home)  # the state is made from what is left
    lake.add(rows(((120, 4), (121, 5))), SCHEMA)
    lake.run()
    lake.add(rows(((200, 6),)), SCHEMA)
    lake.run()
    found = [(row["usual"], row["n"]) for row in lake.rows("window_start", "usual", "n")]
    assert found == [(0, 1), (1, 1), (2, 1), (3, 1), (4, 2), (5, 1), (6, 1)]
    assert len([*(lake.home / "state" / "p" / "input").glob("*.parquet")]) <= 3


class Running(StatefulProcessor):
    """The running sum of each key."""

    def init(self, handle: StatefulProcessorHandle) -> None:
        self._sum = handle.getValueState("sum", "total BIGINT")

    def handleInputRows(self, key: Any, rows: Iterator[Row], timerValues: Any) -> Iterator[Row]:  # noqa: N802, N803
        before = self._sum.get()
        total = (0 if before is None else before[0]) + sum(row.v for row in rows)
        self._sum.update((total,))
        yield Row(k=key[0], total=total)

    def close(self) -> None:
        pass


def running(stream: DataFrame) -> DataFrame:
    return stream.groupBy("k").transformWithState(Running(), "k STRING, total BIGINT", "Update", "None")


def test_function_must_give_the_keys_that_its_rows_are_told_apart_by(lake: Lake) -> None:
    step = {"function": "tests.spark.test_stateful:running", "time": "at", "late": LATE, "keys": ["nope"]}
    lake.configure([{"stateful": step}])
    lake.add(rows(((0, 1),)), SCHEMA)
    with pytest.raises(ConfigError, match="gives no column nope"):
        lake.run()
