"""A merge by delta-rs: each row in its place, exactly once, or left to Delta-Spark."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from include.config.errors import TableLocked
from include.transform import local_merge
from include.transform.local_merge import Identity, LocalMerge, NotMerged, Span, Spans

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


def identity(*days: int) -> Identity:
    return Identity(("at",), ("k",), Spans("at", "at", [Span(micros(day), micros(day)) for day in days]))


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
    opened(table).commit(rows((1, "a", 10), (1, None, 20), (2, "b", 30)), identity(1, 2), "a note", ("app", 7))
    kept = {(0, "a", 1, -1), (0, None, 2, -2), (2, "a", 1, -1), (2, None, 2, -2)}
    assert content(table) == kept | {(1, "a", 10, -10), (1, None, 20, -20), (2, "b", 30, -30)}
    now = DeltaTable(table)
    assert (now.version(), now.transaction_version("app")) == (3, 7)
    assert now.history(1)[0]["userMetadata"] == "a note"


def test_rows_that_are_gone_are_deleted_and_the_change_feed_tells_all(table: str) -> None:
    both = pa.concat_tables([rows((1, "a", 10), gone=False), rows((1, None, 0), (0, "x", 0), gone=True)])
    opened(table).commit(both, identity(0, 1), "", ("app", 1), "gone")
    kept = {(0, "a", 1, -1), (0, None, 2, -2), (2, "a", 1, -1), (2, None, 2, -2)}
    assert content(table) == kept | {(1, "a", 10, -10)}
    feed = pa.RecordBatchReader.from_stream(DeltaTable(table).load_cdf(starting_version=3, ending_version=3))
    told = sorted((row["_change_type"], row["k"], row["n"]) for row in feed.read_all().to_pylist())
    assert told == [("delete", None, 2), ("update_postimage", "a", 10), ("update_preimage", "a", 1)]


def test_only_the_files_of_the_times_are_read(table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    merge = opened(table)
    assert len(merge.files(identity(1).spans) or ()) == 1
    assert len(merge.files(identity(0, 2).spans) or ()) == 2
    assert merge.files(identity(9).spans) == []
    assert len(merge.files(None) or ()) == 3
    monkeypatch.setattr(local_merge, "MOST_BYTES", 10)
    assert merge.files(identity(1).spans) is None


def test_commit_of_another_process_in_between_is_no_lost_update(table: str) -> None:
    merge = opened(table)
    opened(table).commit(rows((1, "a", 10)), identity(1), "", ("app", 1))
    with pytest.raises(TableLocked):
        merge.commit(rows((1, "a", 99)), identity(1), "", ("app", 1))
    assert (1, "a", 10, -10) in content(table)


def test_what_delta_rs_cannot_do_is_told_and_nothing_is_committed(table: str) -> None:
    wrong = rows((1, "a", 10)).set_column(2, "n", pa.array(["ten"]))
    with pytest.raises(NotMerged):
        opened(table).commit(wrong, identity(1), "", ("app", 1))
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
def test_what_delta_rs_would_not_do_alike_is_left_to_spark(
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
