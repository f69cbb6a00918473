"""What a table may be, and what may lie in it, so that it is merged into without Spark; and how a commit gets there."""

import errno
import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from include.config.errors import TableLocked
from include.transform import local_merge
from include.transform.local_merge import LocalMerge
from include.transform.near_rows import Identity, NotMerged, Span, Spans

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
UTC_TIME = pa.timestamp("us", "UTC")
ALWAYS = Spans("at", "at", [Span(-(1 << 62), 1 << 62)])
FEED = {"delta.enableChangeDataFeed": "true"}


def merged(location: Path, fresh: pa.Table, keys: Sequence[str] = ("k",), batch: int = 1) -> list[Mapping[str, Any]]:
    """The table's rows after a merge, by their keys."""
    into = LocalMerge.open(str(location), ("at", *keys))
    assert into is not None
    near = into.near(ALWAYS)
    assert near is not None
    into.commit(near, fresh, Identity("at", keys), "", ("app", batch))
    now = DeltaTable(str(location)).to_pyarrow_table()
    if pa.types.is_timestamp(now["k"].type):  # of years that Python has not
        now = now.set_column(1, "k", now["k"].cast(pa.int64()))
    found: list[Mapping[str, Any]] = now.to_pylist()
    return sorted(found, key=lambda row: str([row[key] for key in keys]))


def rows(*found: tuple[str, int]) -> pa.Table:
    schema = pa.schema([("at", UTC_TIME), ("k", pa.string()), ("n", pa.int64())])
    return pa.Table.from_pylist([{"at": NOON, "k": k, "n": n} for k, n in found], schema=schema)


def first_entry(location: Path) -> Path:
    return location / "_delta_log" / f"{0:020d}.json"


# ---- what a table may be


def rewritten(location: Path, change: Any) -> None:
    """The table's first entry with other actions."""
    actions = [json.loads(line) for line in first_entry(location).read_text().splitlines()]
    first_entry(location).write_text("".join(json.dumps(change(action)) + "\n" for action in actions))


READERS_KNOW = ("columnMapping", "deletionVectors", "typeWidening", "v2Checkpoint", "variantType")


@pytest.mark.parametrize(
    "feature",
    [
        "allowColumnDefaults",
        "checkConstraints",
        "clustering",
        "collations-preview",
        "columnMapping",
        "deletionVectors",
        "domainMetadata",
        "generatedColumns",
        "icebergCompatV2",
        "identityColumns",
        "inCommitTimestamp",
        "rowTracking",
        "typeWidening",
        "v2Checkpoint",
        "variantType",
        "a feature of next year",
    ],
)
def test_table_with_a_feature_that_writers_must_know_is_left_to_spark(tmp_path: Path, feature: str) -> None:
    write_deltalake(tmp_path, rows(("a", 1)))

    def with_feature(action: Any) -> Any:
        if "protocol" in action:
            features = {
                "writerFeatures": ["appendOnly", feature],
                "readerFeatures": [feature] * (feature in READERS_KNOW),
            }
            action["protocol"] = {"minReaderVersion": 3, "minWriterVersion": 7, **features}
        return action

    rewritten(tmp_path, with_feature)
    assert LocalMerge.open(str(tmp_path), ("at", "k")) is None


@pytest.mark.parametrize(("version", "plain"), [(2, True), (4, True), (5, False), (6, False)])
def test_table_of_a_writer_version_that_is_not_known_is_left_to_spark(
    tmp_path: Path, version: int, plain: bool
) -> None:
    write_deltalake(tmp_path, rows(("a", 1)))
    new = {"protocol": {"minReaderVersion": 1, "minWriterVersion": version}}
    rewritten(tmp_path, lambda action: new if "protocol" in action else action)
    assert (LocalMerge.open(str(tmp_path), ("at", "k")) is not None) is plain


NESTED = {"type": "struct", "fields": [{"name": "x", "type": "long", "nullable": True, "metadata": {}}]}


@pytest.mark.parametrize(
    ("metadata", "plain"),
    [
        ({"comment": "how many"}, True),
        ({"sluice.source": "N"}, True),
        ({"__CHAR_VARCHAR_TYPE_STRING": "varchar(3)"}, False),
        ({"delta.invariants": '{"expression":{"expression":"n > 0"}}'}, False),
        ({"delta.generationExpression": "1"}, False),
        ({"delta.identity.start": 1}, False),
        ({"delta.columnMapping.id": 1}, False),
        ({"CURRENT_DEFAULT": "1"}, False),
        ({"what": "nobody knows"}, False),
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_column_that_is_more_than_its_values_is_left_to_spark(
    tmp_path: Path, metadata: Any, plain: bool, nested: bool
) -> None:
    kind = pa.struct([("x", pa.int64())]) if nested else pa.int64()
    write_deltalake(tmp_path, rows(("a", 1)).append_column("more", pa.nulls(1, kind)))

    def with_metadata(action: Any) -> Any:
        if "metaData" in action:
            schema = json.loads(action["metaData"]["schemaString"])
            field = schema["fields"][-1]
            (field["type"]["fields"][0] if nested else field)["metadata"] = metadata
            action["metaData"]["schemaString"] = json.dumps(schema)
        return action

    rewritten(tmp_path, with_metadata)
    assert (LocalMerge.open(str(tmp_path), ("at", "k")) is not None) is plain


# ---- what may lie in it

KEYS = {
    "text": pa.array(["a", "", None, "ä\U0001f600", "x" * 99]),
    "byte": pa.array([1, -1, None, 127, -128], pa.int8()),
    "short": pa.array([1, -1, None, 2, 3], pa.int16()),
    "int": pa.array([1, -1, None, 2, 3], pa.int32()),
    "long": pa.array([1, -1, None, (1 << 63) - 1, -(1 << 63)], pa.int64()),
    "flag": pa.array([True, False, None], pa.bool_()),
    "day": pa.array([date(1, 1, 1), date(2026, 1, 1), None, date(9999, 12, 31)]),
    "moment": pa.array([0, -1, None, 1 << 61, -(1 << 61)], pa.int64()).cast(UTC_TIME),
    "price": pa.array([Decimal("1.10"), Decimal("-1.10"), None, Decimal("1.1")], pa.decimal128(9, 2)),
    "big": pa.array([Decimal(10**37), Decimal(-1), None], pa.decimal128(38, 0)),
}


def of_keys(name: str, n: int) -> pa.Table:
    keys = KEYS[name].unique()
    columns = {"at": pa.array([NOON] * len(keys), UTC_TIME), "k": keys, "n": pa.array([n] * len(keys))}
    return pa.table(columns)


@pytest.mark.parametrize("name", KEYS)
def test_keys_of_each_type_are_told_apart(tmp_path: Path, name: str) -> None:
    write_deltalake(tmp_path, of_keys(name, 1))
    found = merged(tmp_path, of_keys(name, 2))
    assert [row["n"] for row in found] == [2] * len(KEYS[name].unique())


VALUES: Mapping[str, tuple[pa.DataType, list[Any]]] = {
    "float": (pa.float32(), [1.5, float("inf"), None]),
    "double": (pa.float64(), [-0.0, 1e308, None]),
    "bytes": (pa.binary(), [b"", b"\x00\xff", None]),
    "plain time": (pa.timestamp("us"), [datetime(2026, 3, 1), None, datetime(1, 1, 1)]),
    "list": (pa.list_(pa.int64()), [[], [1, None], None]),
    "struct": (pa.struct([("a", pa.string()), ("t", UTC_TIME)]), [{"a": "x", "t": NOON}, {"a": None, "t": None}, None]),
    "map": (pa.map_(pa.string(), pa.int64()), [[("a", 1)], [], None]),
    "deep": (pa.list_(pa.struct([("m", pa.map_(pa.string(), pa.list_(pa.float64())))])), [[{"m": [("a", [1.0])]}], []]),
}


@pytest.mark.parametrize("name", VALUES)
def test_values_of_each_type_are_as_they_were_when_their_file_is_written_anew(tmp_path: Path, name: str) -> None:
    kind, values = VALUES[name]
    stands = rows(*((f"{at}", at) for at in range(len(values)))).append_column("v", pa.array(values, kind))
    comes = rows(("0", 0), ("new", 9)).append_column("v", pa.array([values[-1], values[0]], kind))
    write_deltalake(tmp_path, stands, configuration=FEED)
    found = {row["k"]: row["v"] for row in merged(tmp_path, comes)}
    was = {str(at): value for at, value in enumerate(stands["v"].to_pylist())}
    assert found == {**was, "0": comes["v"][0].as_py(), "new": comes["v"][1].as_py()}


def test_column_that_came_later_is_null_in_older_files(tmp_path: Path) -> None:
    write_deltalake(tmp_path, rows(("a", 1), ("b", 1)))
    wider = rows(("c", 1)).append_column("more", pa.array([7]))
    write_deltalake(tmp_path, wider, mode="append", schema_mode="merge")
    found = merged(tmp_path, rows(("a", 2)).append_column("more", pa.array([8])))
    assert [(row["k"], row["n"], row["more"]) for row in found] == [("a", 2, 8), ("b", 1, None), ("c", 1, 7)]


def test_file_whose_name_is_percent_encoded_in_the_log_is_read_and_taken_away(tmp_path: Path) -> None:
    write_deltalake(tmp_path, rows(("a", 1), ("b", 1)))
    written = next(tmp_path.glob("*.parquet"))
    text = first_entry(tmp_path).read_text()
    first_entry(tmp_path).write_text(text.replace(written.name, "a%20file%2541.parquet"))
    written.rename(tmp_path / "a file%41.parquet")
    assert [row["n"] for row in merged(tmp_path, rows(("a", 2)))] == [2, 1]


@pytest.mark.parametrize("year", [-2000, 12_000])
def test_times_that_no_calendar_of_python_has_are_merged(tmp_path: Path, year: int) -> None:
    far = int((year - 1970) * 365.25) * 86_400_000_000
    stands, comes = (
        pa.table({"at": pa.array([far]).cast(UTC_TIME), "k": ["a"], "n": pa.array([n], pa.int64())}) for n in (1, 2)
    )
    write_deltalake(tmp_path, stands)
    into = LocalMerge.open(str(tmp_path), ("at", "k"))
    assert into is not None
    near = into.near(Spans("at", "at", [Span(far, far)]))
    assert near is not None
    into.commit(near, comes, Identity("at", ("k",)), "", ("app", 1))
    now = pa.RecordBatchReader.from_stream(DeltaTable(str(tmp_path)).scan()).read_all()
    assert (now["at"].cast(pa.int64()).to_pylist(), now["n"].to_pylist()) == ([far], [2])


@pytest.mark.parametrize(
    "wrong",
    [
        rows(("a", 1), ("a", 2)),
        rows(("a", 1)).set_column(2, "n", pa.array(["12"])),
        rows(("a", 1)).set_column(2, "n", pa.array([True])),
        rows(("a", 1)).set_column(1, "k", pa.array([1])),
        rows(("a", 1)).set_column(0, "at", pa.array([NOON.replace(tzinfo=None)], pa.timestamp("us"))),
        rows(("a", 1)).set_column(0, "at", pa.array([None], UTC_TIME)),
    ],
    ids=["two of a key", "text for a number", "flag for a number", "number for a text", "no zone", "no time"],
)
def test_rows_that_are_not_what_the_table_holds_are_left_to_spark(tmp_path: Path, wrong: pa.Table) -> None:
    write_deltalake(tmp_path, rows(("a", 1)))
    with pytest.raises(NotMerged):
        merged(tmp_path, wrong)
    assert DeltaTable(str(tmp_path)).version() == 0


def test_files_of_more_rows_than_memory_takes_are_left_to_spark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_deltalake(tmp_path, rows(("a", 1), ("b", 1)))
    monkeypatch.setattr(local_merge, "MOST_ROWS", 1)
    into = LocalMerge.open(str(tmp_path), ("at", "k"))
    assert into is not None
    assert into.near(ALWAYS) is None


def test_table_that_was_compacted_cleaned_and_changed_between_merges_holds_each_key_once(tmp_path: Path) -> None:
    write_deltalake(tmp_path, rows(("a", 1), ("b", 1)), configuration=FEED)
    merged(tmp_path, rows(("a", 2), ("c", 2)), batch=1)
    DeltaTable(str(tmp_path)).optimize.compact()
    merged(tmp_path, rows(("d", 3)), batch=2)
    DeltaTable(str(tmp_path)).update(updates={"n": "9"}, predicate="k = 'b'")
    DeltaTable(str(tmp_path)).vacuum(0, dry_run=False, enforce_retention_duration=False)
    found = merged(tmp_path, rows(("a", 4)), batch=3)
    assert [(row["k"], row["n"]) for row in found] == [("a", 4), ("b", 9), ("c", 2), ("d", 3)]


# ---- how a commit gets there


def test_batch_that_the_table_holds_is_not_brought_in_again(tmp_path: Path) -> None:
    """By a process whose lock was lost, and which read the table after the other's commit."""
    write_deltalake(tmp_path, rows(("a", 1)))
    merged(tmp_path, rows(("a", 2)), batch=2)
    for batch in (2, 1):
        with pytest.raises(TableLocked):
            merged(tmp_path, rows(("a", 3)), batch=batch)
    assert [row["n"] for row in merged(tmp_path, rows(("b", 4)), batch=3)] == [2, 4]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was asked of the file system: `sync NAME`, `link NAME`."""
    told: list[str] = []
    sync, link = os.fsync, os.link

    def synced(number: int) -> None:
        told.append(f"sync {Path(f'/proc/self/fd/{number}').readlink().name}")
        sync(number)

    def linked(beside: Path, name: Path) -> None:
        told.append(f"link {name.name}")
        link(beside, name)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "link", linked)
    return told


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="names of open files are read from /proc")
def test_files_are_on_the_disk_before_the_entry_that_names_them(tmp_path: Path, calls: list[str]) -> None:
    write_deltalake(tmp_path, rows(("a", 1)), configuration=FEED)
    calls.clear()
    merged(tmp_path, rows(("a", 2)))
    entry = (tmp_path / "_delta_log" / f"{1:020d}.json").read_text()
    named = [json.loads(line).get(kind, {}).get("path") for line in entry.splitlines() for kind in ("add", "cdc")]
    files = {f"sync {Path(path).name}" for path in named if path}
    assert len(files) == 2
    assert {*calls[:2]} == files
    assert [call.split(".")[0] for call in calls[2:]] == ["sync ", f"link {1:020d}"]


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSPC, errno.EMLINK])
def test_entry_that_cannot_be_put_is_no_commit_and_left_to_spark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """A file system without hard links, for one."""
    write_deltalake(tmp_path, rows(("a", 1)))

    def refused(*_: Any) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr(os, "link", refused)
    with pytest.raises(NotMerged):
        merged(tmp_path, rows(("a", 2)))
    assert DeltaTable(str(tmp_path)).version() == 0
    assert [path.name for path in (tmp_path / "_delta_log").iterdir() if path.name.startswith(".")] == []


def test_what_a_killed_commit_left_is_no_version(tmp_path: Path) -> None:
    write_deltalake(tmp_path, rows(("a", 1)))
    (tmp_path / "_delta_log" / f".{1:020d}.json.0123").write_text('{"commitInfo":')
    (tmp_path / "part-0123.snappy.parquet").write_bytes(b"PAR1")
    assert [row["n"] for row in merged(tmp_path, rows(("a", 2)))] == [2]
    assert DeltaTable(str(tmp_path)).version() == 1


def test_log_of_a_table_that_says_nothing_of_it_has_a_checkpoint_each_ten_versions(tmp_path: Path) -> None:
    write_deltalake(tmp_path, rows(("a", 0)))
    for batch in range(1, 12):
        merged(tmp_path, rows(("a", batch)), batch=batch)
    assert json.loads((tmp_path / "_delta_log" / "_last_checkpoint").read_text())["version"] == 10
    now = DeltaTable(str(tmp_path))
    assert (now.version(), now.transaction_version("app")) == (11, 11)
