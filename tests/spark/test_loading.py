"""What is loaded, what is quarantined, and that each record is one of the two."""

import bz2
import gzip
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from include.config.errors import DataRefused, SchemaDrift
from include.ledger.replan import retry
from tests.spark.conftest import Landing


def lines(*records: object) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def test_second_run_over_same_files_adds_no_rows(landing: Landing) -> None:
    landing.drop("a.json", lines({"id": 1}, {"id": 2}))
    assert landing.run().discovered == 1
    assert not landing.run().has_work
    assert landing.values("id") == [1, 2]


def test_only_new_files_are_loaded_by_the_next_run(landing: Landing) -> None:
    landing.drop("a.json", lines({"id": 1}))
    landing.run()
    landing.drop("b.json", lines({"id": 2}))
    assert landing.run().discovered == 1
    assert landing.rows("id", "_batch") == [{"id": 1, "_batch": 1}, {"id": 2, "_batch": 2}]


def test_each_row_says_which_file_version_and_batch_it_is_from(landing: Landing) -> None:
    landing.drop("a.json", lines({"id": 1}))
    landing.run()
    (row,) = landing.rows("_source_file", "_source_file_version", "_batch", "_ingested_at")
    assert (row["_source_file"], row["_source_file_version"], row["_batch"]) == ("in/a.json", 1, 1)
    assert row["_ingested_at"].tzinfo is not None


ODD_NAMES = [
    "a b", "a%20b", "a%b", "h#x", "q?x", "st*r", "b[r]", "{x,y}", "a&b=c+d", "new\nline", "ünï", "e\u0301",
    "co:lon", "co:lon:2", "*co:lon*", "-dash", "quo'te", 'quo"te', "back\\slash", "tilde~", "at@x", "semi;x",
    "comma,x", "caret^`|<>", "\u3000wide", " lead", "日本",
]  # fmt: skip


def test_odd_file_names_are_ordinary_files(landing: Landing) -> None:
    for number, name in enumerate(ODD_NAMES):
        landing.drop(f"{name}.json", lines({"id": number}))
    landing.run()
    assert {row["_source_file"]: row["id"] for row in landing.rows("_source_file", "id")} == {
        f"in/{name}.json": number for number, name in enumerate(ODD_NAMES)
    }


def test_odd_file_names_can_be_replaced(landing: Landing) -> None:
    landing.configure(changed_files="replace")
    for name in ODD_NAMES:
        landing.drop(f"{name}.json", lines({"id": 1}, {"id": 1}))
    landing.run()
    for name in ODD_NAMES:
        landing.drop(f"{name}.json", lines({"id": 2}))
    landing.run()
    assert landing.values("id") == [2] * len(ODD_NAMES)


def test_a_retry_replaces_the_latest_version_and_those_that_it_failed_to_replace(landing: Landing) -> None:
    for record in ({"id": 1}, {"id": 22}):
        landing.drop("a.json", lines(record))
        landing.run()
    good = landing.drop("a.json.gz", gzip.compress(lines({"id": 9}).encode()))
    landing.run()
    (landing.folder / "a.json").write_text('{"id": 22}\n{"id": 23}\n')
    for content in (gzip.compress(b"")[:-9], gzip.compress(lines({"id": 10}).encode())):
        good.write_bytes(content)
        retry(landing.pipeline, landing.settings, ["in/a.json", "in/a.json.gz"], "retry")
        landing.load()
    assert sorted(landing.values("id")) == [1, 10, 22, 23]


MALFORMED = {
    "cut off": b'{"id": 3',
    "two objects": b'{"id": 3}{"id": 4}',
    "trailing garbage": b'{"id": 3} x',
    "repeated key": b'{"id": 3, "id": 4}',
    "repeated key below": b'{"id": 3, "o": {"x": 1, "x": 2}}',
    "array": b'[{"id": 3}]',
    "scalar": b"3",
    "null": b"null",
    "single quotes": b"{'id': 3}",
    "comment": b'{"id": 3} // three',
    "NaN": b'{"id": NaN}',
    "invalid UTF-8": b'{"id": 3, "s": "\xff"}',
    "NUL": b'{"id": 3}\x00',
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_record_is_quarantined_and_the_others_are_loaded(landing: Landing, name: str) -> None:
    landing.drop("good.json", lines({"id": 9, "s": "x", "o": {"x": 1}}))
    landing.run()
    landing.drop("mixed.json", b'{"id": 1}\n' + MALFORMED[name] + b'\n{"id": 2}\n')
    landing.run()
    assert landing.values("id") == [1, 2, 9]
    (refused,) = landing.quarantine()
    assert (refused["path"], refused["record"]) == ("in/mixed.json", 2)
    assert refused["raw"] == MALFORMED[name].decode("utf-8", "backslashreplace")
    account = landing.files()["mixed.json"]
    assert (account["status"], account["rows_loaded"], account["rows_quarantined"]) == ("loaded", 2, 1)
    assert account["error"].startswith("line 2: ")


def test_reason_names_the_column_and_the_value(landing: Landing) -> None:
    landing.configure({"cloudFiles.inferColumnTypes": False}, schema="id bigint")
    landing.drop("b.json", lines({"id": "xyz"}, {"id": 1.5}, {"id": 9223372036854775808}))
    landing.run()
    assert [row["reason"] for row in landing.quarantine()] == [
        "column 'id': \"xyz\" is not bigint",
        "column 'id': 1.5 is not bigint",
        "column 'id': 9223372036854775808 is not bigint",
    ]


def test_a_refused_line_does_not_shape_the_inferred_schema(landing: Landing) -> None:
    landing.drop("a.json", '{"id": 1}\n{"id": 2, "id": 3}\n{"no": 1} x\n{"n": 4}\n')
    landing.run()
    assert landing.rows("id", "n") == [{"id": 1, "n": None}, {"id": None, "n": 4}]
    assert len(landing.quarantine()) == 2


def test_same_bad_line_twice_is_two_records(landing: Landing) -> None:
    landing.drop("a.json", b'{"id": 1}\n{"id"\n{"id"\n\n  \n')
    landing.run()
    assert [row["record"] for row in landing.quarantine()] == [2, 3]
    assert landing.values("id") == [1]


BROKEN = {
    "truncated.json.gz": gzip.compress(lines(*({"id": n} for n in range(1000))).encode())[:-20],
    "plain.json.gz": lines({"id": 1}).encode(),
    "gzipped.json": gzip.compress(lines({"id": 1}).encode()),
    "truncated.json.bz2": bz2.compress(lines(*({"id": n} for n in range(1000))).encode())[:-20],
    "archive.json.zst": b"\x28\xb5\x2f\xfd0000",
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_file_is_quarantined_whole_and_the_rest_of_its_batch_is_loaded(landing: Landing, name: str) -> None:
    landing.drop(name, BROKEN[name])
    landing.drop("good.json", lines({"id": 7}))
    landing.run()
    assert landing.values("id") == [7]
    (refused,) = landing.quarantine()
    assert (refused["path"], refused["record"], refused["raw"]) == (f"in/{name}", None, None)
    assert landing.files()[name]["status"] == "quarantined"


def test_compressed_files_are_loaded(landing: Landing) -> None:
    landing.drop("a.json.gz", gzip.compress(lines({"id": 1}).encode()))
    landing.drop("b.json.bz2", bz2.compress(lines({"id": 2}).encode()))
    landing.drop("members.json.gz", gzip.compress(lines({"id": 3}).encode()) + gzip.compress(lines({"id": 4}).encode()))
    landing.run()
    assert landing.values("id") == [1, 2, 3, 4]


def test_batch_of_broken_files_alone_is_done_and_a_later_good_file_is_loaded(landing: Landing) -> None:
    landing.drop("plain.json.gz", b"not gzip")
    landing.run()
    assert not landing.run().has_work
    landing.drop("good.json", lines({"id": 7}))
    landing.run()
    assert landing.values("id") == [7]


def test_empty_file_is_a_loaded_file_without_rows(landing: Landing) -> None:
    landing.drop("empty.json", b"")
    landing.drop("a.json", lines({"id": 1}))
    landing.run()
    assert landing.files()["empty.json"]["status"] == "loaded"
    assert landing.values("id") == [1]


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_all_line_endings_are_counted_as_spark_counts_them(landing: Landing, ending: str) -> None:
    landing.drop("a.json", ending.join(['{"id": 1}', '{"id": 2}', '{"id"', '{"id": 3}']))
    landing.run()
    assert landing.values("id") == [1, 2, 3]
    assert landing.quarantine()[0]["record"] == 3


def test_byte_order_mark_is_not_data(landing: Landing) -> None:
    landing.drop("a.json", b"\xef\xbb\xbf" + b'{"id": 1}\n{"id"\n')
    landing.run()
    assert landing.values("id") == [1]


def test_unknown_key_stops_loudly_and_loses_nothing(landing: Landing) -> None:
    fail = {"cloudFiles.schemaEvolutionMode": "failOnNewColumns"}
    landing.configure(fail)
    landing.drop("a.json", lines({"id": 1}))
    landing.run()
    landing.drop("b.json", lines({"id": 2}, {"id": 3, "colour": "red"}))
    with pytest.raises(SchemaDrift) as stopped:
        landing.run()
    assert stopped.value.parameters == {"path": "in/b.json", "column": "colour", "record": 2}
    assert landing.values("id") == [1]
    landing.configure({**fail, "cloudFiles.schemaHints": "colour string"})
    landing.run()
    assert landing.rows("id", "colour") == [
        {"id": 1, "colour": None},
        {"id": 2, "colour": None},
        {"id": 3, "colour": "red"},
    ]


@pytest.mark.parametrize("line", ['{"ID": 2}', '{"o": {"y": 1}}', '{"l": [{"x": 1}, {"y": 2}]}'])
def test_key_of_other_case_or_below_is_a_drift_too(landing: Landing, line: str) -> None:
    landing.configure({"cloudFiles.schemaEvolutionMode": "failOnNewColumns"})
    landing.drop("a.json", lines({"id": 1, "o": {"x": 1}, "l": [{"x": 1}]}))
    landing.run()
    landing.drop("b.json", line + "\n")
    with pytest.raises(SchemaDrift):
        landing.run()


def test_columns_may_have_names_that_the_engine_uses_inside(landing: Landing) -> None:
    names = ["name", "value", "path", "version", "record", "r", "refused", "batch", "a.b", "a`b", "ünï", "select"]
    landing.drop("a.json", lines(dict.fromkeys(names, 1)) + "[]\n")
    landing.run()
    assert landing.rows(*names) == [dict.fromkeys(names, 1)]


def test_declared_schema_infers_nothing(landing: Landing) -> None:
    landing.configure({"cloudFiles.inferColumnTypes": False}, schema="id string, n int")
    landing.drop("a.json", '{"id": 1, "n": 5}\n{"id": "x"}\n{"n": 3000000000}\n')
    landing.run()
    assert landing.rows("id", "n") == [{"id": "1", "n": 5}, {"id": "x", "n": None}]
    assert landing.quarantine()[0]["reason"] == "column 'n': 3000000000 is not int"


def test_on_error_abort_loads_nothing_of_the_batch(landing: Landing) -> None:
    landing.configure(on_error="abort")
    landing.drop("a.json", '{"id": 1}\n{"id"\n')
    with pytest.raises(DataRefused):
        landing.run()
    landing.configure(on_error="quarantine")
    landing.run()
    assert landing.values("id") == [1]


def test_on_error_skip_file_quarantines_the_whole_file(landing: Landing) -> None:
    landing.configure(on_error="skip_file")
    landing.drop("a.json", '{"id": 1}\n{"id"\n')
    landing.drop("b.json", lines({"id": 2}))
    landing.run()
    assert landing.values("id") == [2]
    account = landing.files()["a.json"]
    assert (account["status"], account["rows_loaded"], account["rows_quarantined"]) == ("quarantined", 0, 2)


@pytest.mark.parametrize(("budget", "refused"), [(1, False), ("34%", False), (0, True), ("33%", True)])
def test_error_budget(landing: Landing, budget: int | str, refused: bool) -> None:
    landing.configure(on_error={"quarantine": budget})
    landing.drop("a.json", '{"id": 1}\n{"id"\n{"id": 2}\n')
    if refused:
        with pytest.raises(DataRefused):
            landing.run()
    else:
        landing.run()
        assert landing.values("id") == [1, 2]


CSV = {"cloudFiles.format": "csv", "header": True}


def test_csv_columns_are_matched_by_header_name_not_by_position(landing: Landing) -> None:
    landing.configure(CSV)
    landing.drop("a.csv", "id,v\n1,x\n")
    landing.drop("b.csv", "v,id\ny,2\n")
    landing.drop("c.csv", "id\n3\n")
    landing.drop("d.csv", "id,v\n")
    landing.run()
    assert landing.rows("id", "v") == [{"id": 1, "v": "x"}, {"id": 2, "v": "y"}, {"id": 3, "v": None}]
    assert landing.files()["d.csv"]["rows_loaded"] == 0


def test_csv_records_that_do_not_fit_are_quarantined_by_line(landing: Landing) -> None:
    landing.configure({**CSV, "cloudFiles.inferColumnTypes": False}, schema="id bigint, v string")
    landing.drop("a.csv", "id,v\n1,x\nq,y\n3\n4,z,5\n5,\n")
    landing.run()
    assert landing.values("id") == [1, 5]
    assert [(row["record"], row["reason"]) for row in landing.quarantine()] == [
        (3, "column 'id': 'q' is not bigint"),
        (4, "has 1 fields, the header has 2"),
        (5, "has 3 fields, the header has 2"),
    ]


@pytest.mark.parametrize(("header", "loaded"), [("id,id", {3, None}), ("id,", {1, 3})])
def test_csv_header_that_names_nothing_or_twice_is_read_with_the_names_that_spark_gives(
    landing: Landing, header: str, loaded: set[int | None]
) -> None:
    landing.configure(CSV)
    landing.drop("a.csv", f"{header}\n1,2\n")
    landing.drop("b.csv", "id\n3\n")
    landing.run()
    assert set(landing.values("id")) == loaded
    assert landing.files()["a.csv"]["rows_loaded"] == 1


def parquet(path: Path, **columns: list[object]) -> bytes:
    file = path / "made.parquet"
    pq.write_table(pa.table(columns), file)
    return file.read_bytes()


def test_parquet_is_loaded_by_name_and_broken_files_are_quarantined(landing: Landing, tmp_path: Path) -> None:
    landing.configure({"cloudFiles.format": "parquet", "cloudFiles.inferColumnTypes": False})
    whole = parquet(tmp_path, id=[1, 2], s=["a", "b"])
    middle = bytearray(parquet(tmp_path, id=list(range(9000)), s=[str(n) for n in range(9000)]))
    middle[200:3000] = os.urandom(2800)
    landing.drop("a.parquet", whole)
    landing.drop("b.parquet", parquet(tmp_path, s=["c"], id=[3]))
    landing.drop("magic.parquet", b"PAR0" + whole[4:-4] + b"PAR0")
    landing.drop("short.parquet", whole[: len(whole) // 2])
    landing.drop("middle.parquet", bytes(middle))
    landing.drop("empty.parquet", b"")
    landing.run()
    assert landing.rows("id", "s") == [{"id": 1, "s": "a"}, {"id": 2, "s": "b"}, {"id": 3, "s": "c"}]
    status = {name: row["status"] for name, row in landing.files().items()}
    broken = ["magic.parquet", "short.parquet", "middle.parquet", "empty.parquet"]
    assert {name for name in status if status[name] == "quarantined"} == set(broken)


def test_text_is_loaded_line_by_line(landing: Landing) -> None:
    landing.configure({"cloudFiles.format": "text", "cloudFiles.inferColumnTypes": False})
    landing.drop("a.txt", "one\n\nthree")
    landing.run()
    assert landing.values("value") == ["", "one", "three"]
