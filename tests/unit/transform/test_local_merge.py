"""A merge without Spark: each row in its place, exactly once, or left to Delta-Spark."""

import os
import shutil
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from hypothesis import given, settings
from hypothesis import strategies as st

from include.config.errors import TableLocked
from include.transform import local_merge, rewrite
from include.transform.commits import log_entry as log_entry_of
from include.transform.commits import parse_commit
from include.transform.local_merge import LocalMerge
from include.transform.log_entry import statistics
from include.transform.near_rows import Identity, NotMerged, Span, Spans

NOON = datetime(2026, 3, 1, 12, 0, 0, 123_999, tzinfo=UTC)  # statistics have 123 ms
SCHEMA = pa.schema(
    [("at", pa.timestamp("us", "UTC")), ("k", pa.string()), ("n", pa.int64()), ("two words", pa.int64())]
)
FEED = {"delta.enableChangeDataFeed": "true"}
GONE = pa.field("gone", pa.bool_())


def rows(*found: tuple[int, str | None, int], gone: bool | None = None) -> pa.Table:
    dicts = [{"at": NOON + timedelta(days=d), "k": k, "n": n, "two words": -n, "gone": gone} for d, k, n in found]
    return pa.Table.from_pylist(dicts, schema=SCHEMA if gone is None else SCHEMA.append(GONE))


def micros(day: int) -> int:
    return round((NOON + timedelta(days=day)).timestamp() * 1_000_000)


def spans(*days: int) -> Spans:
    return Spans("at", "at", [Span(micros(day), micros(day)) for day in days])


def merge(location: str, fresh: pa.Table, *days: int, note: str = "", batch: int = 1, gone: str = "") -> None:
    commit(opened(location), fresh, *days, note=note, batch=batch, gone=gone)


def commit(into: LocalMerge, fresh: pa.Table, *days: int, note: str = "", batch: int = 1, gone: str = "") -> None:
    near = into.near(spans(*days))
    assert near is not None
    into.commit(near, fresh, Identity("at", ("k",)), note, ("app", batch), gone)


def opened(location: str) -> LocalMerge:
    found = LocalMerge.open(location, ("at", "k"))
    assert found is not None
    return found


def content(location: str) -> set[tuple[int, str | None, int, int]]:
    found = DeltaTable(location).to_pyarrow_table().to_pylist()
    table = [((row["at"] - NOON).days, row["k"], row["n"], row["two words"]) for row in found]
    assert len(table) == len(set(table))
    return set(table)


@pytest.fixture
def table(tmp_path: Path) -> str:
    """Three files, of a day each."""
    for day in range(3):
        made = rows((day, "a", 1), (day, None, 2))
        write_deltalake(str(tmp_path / "t"), made, mode="append", configuration=FEED)
    return str(tmp_path / "t")


def test_rows_take_the_place_of_those_with_equal_keys_and_others_are_added(table: str) -> None:
    merge(table, rows((1, "a", 10), (1, None, 20), (2, "b", 30)), 1, 2, note="a note", batch=7)
    kept = {(0, "a", 1, -1), (0, None, 2, -2), (2, "a", 1, -1), (2, None, 2, -2)}
    assert content(table) == kept | {(1, "a", 10, -10), (1, None, 20, -20), (2, "b", 30, -30)}
    now = DeltaTable(table)
    assert (now.version(), now.transaction_version("app")) == (3, 7)
    assert now.history(1)[0]["userMetadata"] == "a note"


def test_rows_that_are_gone_are_deleted_and_the_change_feed_tells_all(table: str) -> None:
    both = pa.concat_tables([rows((1, "a", 10), gone=False), rows((1, None, 0), (0, "x", 0), gone=True)])
    merge(table, both, 0, 1, gone="gone")
    kept = {(0, "a", 1, -1), (0, None, 2, -2), (2, "a", 1, -1), (2, None, 2, -2)}
    assert content(table) == kept | {(1, "a", 10, -10)}
    feed = pa.RecordBatchReader.from_stream(DeltaTable(table).load_cdf(starting_version=3, ending_version=3))
    told = sorted((row["_change_type"], row["k"], row["n"]) for row in feed.read_all().to_pylist())
    assert told == [("delete", None, 2), ("update_postimage", "a", 10), ("update_preimage", "a", 1)]


def test_only_the_files_of_the_times_are_read(table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    into = opened(table)

    def read(found: Spans | None) -> int:
        near = into.near(found)
        assert near is not None
        return len(near.files)

    assert [read(spans(1)), read(spans(0, 2)), read(spans(9)), read(None)] == [1, 2, 0, 3]
    monkeypatch.setattr(local_merge, "MOST_BYTES", 10)
    assert into.near(spans(1)) is None


def test_commit_of_another_process_in_between_is_no_lost_update(table: str) -> None:
    into = opened(table)
    merge(table, rows((1, "a", 10)), 1)
    with pytest.raises(TableLocked):
        commit(into, rows((1, "a", 99)), 1)
    assert (1, "a", 10, -10) in content(table)


def test_what_cannot_be_done_here_is_told_and_nothing_is_committed(table: str) -> None:
    wrong = rows((1, "a", 10)).set_column(2, "n", pa.array(["ten"]))
    with pytest.raises(NotMerged):
        merge(table, wrong, 1)
    assert DeltaTable(table).version() == 2


@pytest.mark.parametrize(
    ("keys", "more"),
    [
        (("at", "f"), {}),
        (("at", "nope"), {}),
        (("at",), {"partition_by": ["k"]}),
        (("at", "k"), {"name": "constrained"}),
        (("at",), {"configuration": {"delta.enableDeletionVectors": "true"}}),
    ],
)
def test_what_would_not_be_done_alike_is_left_to_spark(
    tmp_path: Path, keys: tuple[str, ...], more: Mapping[str, Any]
) -> None:
    made = rows((0, "a", 1)).append_column("f", pa.array([1.0]))
    write_deltalake(str(tmp_path / "t"), made, **more)
    if more.get("name") == "constrained":
        assert LocalMerge.open(str(tmp_path / "t"), keys) is not None
        DeltaTable(str(tmp_path / "t")).alter.add_constraint({"positive": "n > 0"})
    assert LocalMerge.open(str(tmp_path / "t"), keys) is None
    assert LocalMerge.open("s3://bucket/t", keys) is None
    assert LocalMerge.open(str(tmp_path / "none"), keys) is None


def files(location: str) -> list[tuple[datetime, datetime, int]]:
    found = pa.RecordBatchReader.from_stream(DeltaTable(location).get_add_actions(flatten=True)).read_all().to_pylist()
    return sorted((file["min.at"], file["max.at"], file["num_records"]) for file in found)


def test_files_that_grow_are_cut_by_time_and_reach_over_none_that_stays(
    table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rewrite, "ROWS_PER_FILE", 3)
    fresh = [(2, f"key {number}", number) for number in range(5)] + [(day, "later", day) for day in range(3, 9)]
    merge(table, rows((0, "a", 10), *fresh), *range(9))
    cut = files(table)
    assert sum(count for _, _, count in cut) == 6 + len(fresh)
    assert all(most < least for (_, most, _), (least, _, _) in pairwise(cut))  # rows of one time stay together
    assert max(count for least, _, count in cut if least > NOON + timedelta(days=2)) <= 3
    middle = DeltaTable(table).history(1)[0]["operationMetrics"]
    assert middle["numTargetFilesRemoved"] == "2"  # the file of day 1 is as it was


def test_rows_that_only_come_are_an_append(table: str) -> None:
    merge(table, rows((1, "new", 1)), 1)
    last = parse_commit(3, log_entry_of(table, 3))
    assert (last.changes, last.rows, last.files) == (False, 1, 1)


def test_statistics_say_what_lies_in_a_file() -> None:
    made = pa.table(
        {
            "at": pa.array([NOON, None], pa.timestamp("us", "UTC")),
            "plain": pa.array([NOON.replace(tzinfo=None), None], pa.timestamp("us")),
            "day": [NOON.date(), None],
            "long": ["x" * 99, "y"],
            "f": [float("nan"), 1.0],
            "none": pa.nulls(2, pa.int64()),
            "old": pa.array([-(1 << 62), 0], pa.timestamp("us", "UTC")),
        }
    )
    found = statistics(made)
    bounds = {"at": "2026-03-01T12:00:00.123999Z", "plain": "2026-03-01T12:00:00.123999", "day": "2026-03-01"}
    assert (found["numRecords"], found["minValues"], found["maxValues"]) == (2, bounds, bounds)
    assert found["nullCount"] == {"at": 1, "plain": 1, "day": 1, "long": 0, "f": 0, "none": 2, "old": 0}


def test_a_checkpoint_comes_as_often_as_the_table_says(tmp_path: Path) -> None:
    location = str(tmp_path / "t")
    write_deltalake(location, rows((0, "a", 0)), configuration={**FEED, "delta.checkpointInterval": "4"})
    for number in range(1, 6):
        merge(location, rows((0, "a", number)), 0, batch=number)
    assert sorted(path.name for path in (tmp_path / "t" / "_delta_log").glob("*.checkpoint.parquet")) == [
        "00000000000000000004.checkpoint.parquet"
    ]
    assert content(location) == {(0, "a", 5, -5)}
    assert DeltaTable(location).transaction_version("app") == 5


FRESH = st.dictionaries(
    st.tuples(st.integers(0, 9), st.sampled_from(["a", "b", None])),
    st.tuples(st.integers(0, 99), st.booleans()),
    max_size=12,
)


@settings(max_examples=int(os.environ.get("SLUICE_EXAMPLES", "25")), deadline=None, derandomize=True)
@given(merges=st.lists(FRESH, min_size=1, max_size=6))
def test_any_merges_leave_each_key_once_and_a_feed_that_tells_them(merges: Any) -> None:
    folder = tempfile.mkdtemp(prefix="sluice-merges-")
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(rewrite, "ROWS_PER_FILE", 3)
            write_deltalake(folder, rows((0, "a", 1), (5, None, 2)), configuration=FEED)
            model = {(0, "a"): 1, (5, None): 2}
            for number, fresh in enumerate(merges, 1):
                comes = [rows((day, k, n), gone=gone) for (day, k), (n, gone) in fresh.items()]
                merge(folder, pa.concat_tables([rows(gone=False), *comes]), *range(10), batch=number, gone="gone")
                before = dict(model)
                model.update({key: n for key, (n, _) in fresh.items()})
                model = {key: n for key, n in model.items() if key not in fresh or not fresh[key][1]}
                assert content(folder) == {(day, k, n, -n) for (day, k), n in model.items()}
                assert told(folder, number, before) == model
    finally:
        shutil.rmtree(folder)


def told(location: str, version: int, before: dict[tuple[int, str | None], int]) -> dict[tuple[int, str | None], int]:
    """What stood before, with what the change feed of a version says."""
    if parse_commit(version, log_entry_of(location, version)).empty:
        return before
    feed = DeltaTable(location).load_cdf(starting_version=version, ending_version=version)
    now = dict(before)
    order = {"delete": 0, "update_preimage": 1, "update_postimage": 2, "insert": 3}
    rows_told = pa.RecordBatchReader.from_stream(feed).read_all().to_pylist()
    for row in sorted(rows_told, key=lambda row: order[row["_change_type"]]):
        key = ((row["at"] - NOON).days, row["k"])
        if row["_change_type"] in ("delete", "update_preimage"):
            assert now.pop(key) == row["n"]
        else:
            assert key not in now
            now[key] = row["n"]
    return now
