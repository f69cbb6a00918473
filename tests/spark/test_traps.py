"""Named traps: what a landing zone brings that lax readers load wrongly, lose, or hang on."""

import bz2
import gzip
import io
import json
import zipfile
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from include.cli.main import main
from tests.spark.conftest import Landing

GOOD = [1, 2, 3]
GOOD_LINES = b"".join(b'{"id":%d}\n' % i for i in GOOD)
DECLARED: dict[str, Any] = {"schema": "id bigint, v double, o struct<x: bigint>"}

# One line each that must not be loaded; a good record stands before and behind it.
REFUSED_LINES = {
    "text for a bigint": b'{"id":"xyz"}',
    "fraction for a bigint": b'{"id":1.0}',
    "integer overflow": b'{"id":9223372036854775808}',
    "overflow of a double": b'{"id":7,"v":1e400}',
    "not a number": b'{"id":7,"v":NaN}',
    "two objects": b'{"id":7}{"id":8}',
    "trailing garbage": b'{"id":7} oops',
    "repeated key": b'{"id":7,"id":8}',
    "repeated key below": b'{"id":7,"o":{"x":1,"x":2}}',
    "truncated": b'{"id":7,"v":',
    "not UTF-8": b'{"id":7,"o":"\xff"}',
    "NUL byte": b'{"id":7,\x00"v":1}',
    "lone surrogate": b'{"id":7,"o":"\\ud800"}',
    "scalar": b"7",
    "array": b'[{"id":7}]',
    "null": b"null",
    "single quotes": b"{'id':7}",
    "comment": b'{"id":7}/* no */',
    "leading zero": b'{"id":007}',
    "vertical tab alone": b"\x0b",
    "deep nesting": b'{"id":7,"o":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "next to the limit of nesting": b'{"id":7,"o":' + b"[" * 980 + b"]" * 980 + b"}",
}


def test_each_bad_line_is_quarantined_by_itself_and_the_lines_beside_it_are_loaded(landing: Landing) -> None:
    landing.configure({"cloudFiles.inferColumnTypes": False}, **DECLARED)
    for name, line in REFUSED_LINES.items():
        landing.drop(f"{name}.json", b'{"id":1}\n' + line + b'\n{"id":2}\n')
    landing.run()
    accounts = landing.files().items()
    figures = {name.removesuffix(".json"): (row["rows_loaded"], row["rows_quarantined"]) for name, row in accounts}
    assert figures == dict.fromkeys(REFUSED_LINES, (2, 1))
    assert {row["path"].removeprefix("in/").removesuffix(".json") for row in landing.quarantine()} == set(REFUSED_LINES)
    assert {row["record"] for row in landing.quarantine()} == {2}


def zipped() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.json", GOOD_LINES)
    return out.getvalue()


BROKEN_FILES = {
    "gz that is none.json.gz": GOOD_LINES,
    "gz without its name.json": gzip.compress(GOOD_LINES),
    "gz twice.json.gz": gzip.compress(gzip.compress(GOOD_LINES)),
    "gz cut off.json.gz": gzip.compress(GOOD_LINES * 99)[:-9],
    "gz with garbage.json.gz": gzip.compress(GOOD_LINES) + b"garbage",
    "bz2 as gz.json.gz": bz2.compress(GOOD_LINES),
    "zip.json": zipped(),
    "snappy.json.snappy": GOOD_LINES,
    "UTF-16.json": '{"id":1}\n'.encode("utf-16"),
}


def test_files_that_are_not_what_their_name_says_load_nothing(landing: Landing) -> None:
    landing.configure({"cloudFiles.inferColumnTypes": False}, **DECLARED)
    landing.drop("good.json", GOOD_LINES)
    landing.drop("two members.json.gz", gzip.compress(b'{"id":4}\n') + gzip.compress(b'{"id":5}\n'))
    for name, content in BROKEN_FILES.items():
        landing.drop(name, content)
    landing.run()
    assert landing.values("id") == [1, 2, 3, 4, 5]
    for name in BROKEN_FILES:
        account = landing.files()[name]
        assert (account["rows_loaded"], account["error"] is not None) == (0, True), name


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_compressions_that_spark_has_no_native_library_for_are_read(landing: Landing, codec: str) -> None:
    suffix = {"zstd": "zst", "lz4": "lz4"}[codec]
    content = pa.compress(GOOD_LINES, codec=codec, asbytes=True)
    landing.drop(f"a.json.{suffix}", content)
    landing.drop(f"cut.json.{suffix}", content[:-4])
    landing.run()
    assert landing.values("id") == GOOD
    assert landing.files()[f"cut.json.{suffix}"]["status"] == "quarantined"


def test_a_json_document_is_taken_apart_and_only_its_bad_records_are_left_out(landing: Landing) -> None:
    landing.configure({"multiLine": True})
    landing.drop("array.json", '[\n {"id": 1},\n {"id": 2, "id": 2},\n 7,\n {"id":\n 3}\n]')
    landing.drop("object.json", '{\n "id": 4\n}\n')
    landing.drop("two.json", '{"id": 5}\n{"id": 6}\n')
    landing.drop("empty.json", "")
    landing.run()
    assert landing.values("id") == [1, 3, 4]
    assert landing.files()["two.json"]["status"] == "quarantined"
    assert [(row["path"], row["record"]) for row in landing.quarantine()][:2] == [
        ("in/array.json", 2),
        ("in/array.json", 3),
    ]


def test_utf_16_is_read_where_the_option_says_so(landing: Landing) -> None:
    landing.configure({"encoding": "UTF-16"})
    landing.drop("a.json", '{"id": 1, "s": "é"}\n{"id": 2}\n'.encode("utf-16"))
    landing.drop("odd.json", '{"id": 1}\n'.encode("utf-16")[:-1])
    landing.run()
    assert landing.rows("id", "s") == [{"id": 1, "s": "é"}, {"id": 2, "s": None}]
    assert landing.files()["odd.json"]["status"] == "quarantined"


CSV = {"cloudFiles.format": "csv", "header": True}


def test_csv_records_are_cut_by_rfc_4180_and_those_in_doubt_are_left_out(landing: Landing) -> None:
    landing.configure(CSV)
    landing.drop("crlf.csv", 'id,s\r\n90,a\r\n91,"two\nlines"\r\n92,b\r\n')
    landing.drop("quotes.csv", 'id,s\n1,"a ""b"", c"\n2,"two\nlines"\n3,5" pipe\n')
    landing.drop("open.csv", 'id,s\n4,"never closed\n5,good\n')
    landing.drop("garbage.csv", 'id,s\n6,"closed" twice\n7,good\n')
    landing.drop("doubt.csv", 'id,s\n8,a"b,c"\n9,good\n')
    landing.drop("twice.csv", "id,s\n10,good\nid,s\n11,good\n")
    landing.drop("nul.csv", b"id,s\n12,a\0b\n13,good\n")
    landing.drop("latin.csv", b"id,s\n14,\xe9\n15,good\n")
    landing.drop("blank.csv", b"\xef\xbb\xbfid,s\r\n\r\n  \r\n16,good\r\n\x1c\r\n")
    landing.drop("ends.csv", b"id,s\r17,good\r18,good")
    landing.run()
    found = {row["id"]: row["s"] for row in landing.rows("id", "s")}
    assert {key: found.pop(key) for key in (1, 2, 3)} == {1: 'a "b", c', 2: "two\nlines", 3: '5" pipe'}
    assert {key: found.pop(key) for key in (90, 91, 92)} == {90: "a", 91: "two\nlines", 92: "b"}
    assert found == dict.fromkeys((5, 7, 9, 10, 11, 13, 15, 16, 17, 18), "good")
    assert {row["path"]: row["record"] for row in landing.quarantine()} == {
        f"in/{name}.csv": record
        for name, record in [("open", 2), ("garbage", 2), ("doubt", 2), ("twice", 3), ("nul", 2), ("latin", 2)]
    }


def test_columns_without_a_name_or_named_alike_are_told_apart_as_in_spark(landing: Landing) -> None:
    landing.configure(CSV)
    landing.drop("a.csv", "id,,v,v\n1,x,y,z\n")
    landing.run()
    assert landing.rows("id", "_c1", "v2", "v3") == [{"id": 1, "_c1": "x", "v2": "y", "v3": "z"}]


def test_types_are_inferred_only_where_they_hold_what_the_file_says(landing: Landing) -> None:
    landing.configure(CSV)
    landing.drop(
        "a.csv", "id,at,since,seat,zip,n\n1,12:00,2024-05-01 10:00:00,12F,02134,0\n2,07:09:23,2024-05-02,3D,10001,0.5\n"
    )
    landing.run()
    first = landing.rows("id", "at", "since", "seat", "zip", "n")[0]
    assert {**first, "since": str(first["since"])} == {
        "id": 1, "at": "12:00", "since": "2024-05-01 10:00:00+00:00", "seat": "12F", "zip": "02134", "n": 0.0
    }  # fmt: skip


def test_a_batch_of_many_shapes_is_one_commit_and_strange_types_cost_their_files_only(landing: Landing) -> None:
    landing.configure({"cloudFiles.format": "parquet", "cloudFiles.inferColumnTypes": False})
    for number in range(40):
        out = io.BytesIO()
        pq.write_table(
            pa.table({"id": [number], f"c{number % 20}": pa.array([1.5], [pa.float64(), pa.float32()][number % 2])}),
            out,
        )
        landing.drop(f"{number}.parquet", out.getvalue())
    strange = {"time": pa.array([1], pa.time32("ms")), "void": pa.nulls(1)}
    for name, column in strange.items():
        out = io.BytesIO()
        pq.write_table(pa.table({"id": [100], name: column}), out)
        landing.drop(f"{name}.parquet", out.getvalue())
    landing.run()
    assert sorted(landing.values("id")) == [*range(40), 100]
    assert {name for name, row in landing.files().items() if row["status"] != "loaded"} == {"time.parquet"}
    assert len({row["table_version"] for row in landing.files().values()}) == 1


def test_a_record_goes_whole_to_a_variant_column_where_the_option_says_so(landing: Landing) -> None:
    landing.configure({"singleVariantColumn": "v"})
    landing.drop("a.json", '{"id": 1, "price": 1.10}\n{"ID": [1, {"": {}}]}\n7\n{"id": 1, "id": 2}\n')
    landing.run()
    landing.drop("b.json.gz", gzip.compress(b'{"other": true}\n'))
    landing.run()
    assert [(row["rows_loaded"], row["rows_quarantined"]) for row in landing.files().values()] == [(2, 2), (1, 0)]
    assert landing.texts("v") == ['{"ID":[1,{"":{}}]}', '{"id":1,"price":1.1}', '{"other":true}']


def test_a_backslash_escapes_only_where_the_option_says_so(landing: Landing) -> None:
    landing.configure({**CSV, "escape": "\\"})
    landing.drop("a.csv", 'id,s\n1,"a \\"b\\", c"\n2,"a ""b"""\n')
    landing.run()
    assert landing.rows("id", "s") == [{"id": 1, "s": 'a "b", c'}]
    assert "escape" in landing.quarantine()[0]["reason"]


def parquet(rows: int) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"id": pa.array(range(rows), pa.int64()), "s": ["text"] * rows}), out, compression="none")
    return out.getvalue()


def test_broken_parquet_files_cost_themselves_only_and_no_restart(landing: Landing) -> None:
    landing.configure({"cloudFiles.format": "parquet", "cloudFiles.inferColumnTypes": False})
    good = parquet(50)
    landing.drop("good.parquet", good)
    cuts = [good[:end] for end in range(0, len(good), len(good) // 30)]
    for number, content in enumerate(cuts):
        landing.drop(f"cut{number}.parquet", content)
    landing.drop("text.parquet", "id\n1\n")
    landing.drop("no pages.parquet", good[:4] + bytes(len(good) // 2 - 4) + good[len(good) // 2 :])
    landing.run()
    assert landing.values("id") == sorted(range(50), key=str)
    assert sum(account["status"] == "quarantined" for account in landing.files().values()) == len(cuts) + 2


def test_the_quarantine_holds_what_a_replay_cannot_load_and_no_more(
    landing: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    landing.configure({**CSV, "escape": "\\"})
    landing.drop("a.csv", 'id,s\n1,good\n2,"a ""b"""\n3,"open\n')
    landing.run()
    assert landing.values("id") == [1]
    landing.configure(CSV)
    monkeypatch.setenv("SLUICE_HOME", str(landing.home))
    assert main(["quarantine", "replay", str(landing.home / "p.yaml"), "--json"]) == 0
    landing.load()
    assert landing.values("id") == [1, 2]
    assert [row["record"] for row in landing.quarantine()] == [4]
    landing.run()
    assert landing.values("id") == [1, 2]


def test_formats_are_read_as_their_own_readers_read_them(landing: Landing) -> None:
    landing.configure({"cloudFiles.format": "xml", "rowTag": "row", "cloudFiles.inferColumnTypes": False})
    landing.drop("a.xml", "<rows><row><id>1</id></row><row><id>2</id></row></rows>")
    landing.drop("cut.xml", "<rows><row><id>3</id></row><row><id>")
    landing.drop("bomb.xml", '<!DOCTYPE x [<!ENTITY a "aaaa">]><rows><row><id>&a;</id></row></rows>')
    landing.run()
    assert landing.files()["a.xml"]["rows_loaded"] == 2
    assert {landing.files()[name]["status"] for name in ("cut.xml", "bomb.xml")} == {"quarantined"}
    assert [str(value) for value in landing.values("id")] == ["1", "2"]


def test_files_of_many_headers_are_read_at_once(landing: Landing) -> None:
    """The rare ones, that is, which need no reader of their own then; what becomes of their records is the same."""
    landing.configure(CSV)
    for number in range(20):
        body = f'{number},"{number} ""q""",7\n{number},short\n'
        landing.drop(f"{number}.csv", f"id,c{number},n\n" + body * (1 + 9 * (number < 2)))
    landing.run()
    assert {account["rows_quarantined"] / account["rows_loaded"] for account in landing.files().values()} == {1}
    assert sum(account["rows_loaded"] for account in landing.files().values()) == 38
    assert {"id": 13, "n": 7, "c13": '13 "q"'} in landing.rows("id", "n", "c13")
    for number in range(20):
        landing.drop(f"next/{number}.csv", f"n,ID,id,c{number}\n1,8,2,x\n9,9,y,x\n")
    landing.run()
    left = [json.loads(row["_rescued_data"] or "{}") for row in landing.rows("_rescued_data", "id", "n")]
    assert [row.get("ID") for row in left].count("8") == 20
    assert [(row.get("ID"), row.get("id")) for row in left].count(("9", "y")) == 20
    assert all("/landing/in/next/" in row["_file_path"] for row in left if row)
    assert [(row["id"], row["n"]) for row in landing.rows("id", "n")].count((2, 1)) == 20


def test_lenient_json_is_loaded_where_an_option_takes_it_and_refused_elsewhere(landing: Landing) -> None:
    landing.configure(
        {
            "allowComments": True,
            "allowSingleQuotes": True,
            "allowNonNumericNumbers": True,
            "allowUnquotedFieldNames": True,
            "cloudFiles.inferColumnTypes": False,
        },
        schema="id bigint, s string, d double",
    )
    refused = ["{id: 007}", "{'id': 5} {'id': 6}", "{'id': 7, id: 8}", '{"id": 9']
    good = ['{"id": 1, "s": 1.10}', "{id: 2, 's': \"it's\", d: NaN} // two", "/* three */ {id: 3, d: -Infinity}"]
    landing.drop("a.json", "\n".join([*refused[:2], *good, *refused[2:]]) + "\n")
    landing.run()
    rows = landing.rows("id", "s", "d")
    assert [(row["id"], row["s"], str(row["d"])) for row in rows] == [
        (1, "1.10", "None"), (2, "it's", "nan"), (3, None, "-inf"),
    ]  # fmt: skip
    assert [(row["record"], row["raw"]) for row in landing.quarantine()] == [
        (number, text) for number, text in zip((1, 2, 6, 7), refused, strict=True)
    ]
    account = landing.files()["a.json"]
    assert (account["rows_loaded"], account["rows_quarantined"]) == (3, 4)


LINE_SEPS: dict[str, tuple[str, list[str]]] = {
    "json": ('{"value":\n "a"}||{"value": "b|"}||{"value": "c"', ["a", "b|"]),
    "csv": ('value,n||a\nb,1||"c\n""d""",2||"e', ["a\nb", 'c\n"d"']),
    "text": ("a\nb||c||", ["a\nb", "c"]),
}


@pytest.mark.parametrize("file_format", LINE_SEPS)
def test_records_end_at_line_sep(landing: Landing, file_format: str) -> None:
    content, values = LINE_SEPS[file_format]
    header = {"header": True} if file_format == "csv" else {}
    landing.configure({"cloudFiles.format": file_format, "lineSep": "||", **header})
    landing.drop("a", content)
    landing.run()
    account = landing.files()["a"]
    assert landing.values("value") == values
    assert (account["rows_loaded"], account["rows_quarantined"]) == (2, 0 if file_format == "text" else 1)


def test_variants_of_parquet_are_loaded_and_a_damaged_one_is_named(landing: Landing, spark: SparkSession) -> None:
    folder = landing.home / "written"
    frame = spark.sql(
        """SELECT id, parse_json(text) v FROM VALUES (1, '{"a":[1.10]}'), (2, '"needle"'), (3, null) t(id, text)"""
    )
    frame.coalesce(1).write.option("compression", "none").parquet(str(folder))
    content = next(folder.glob("*.parquet")).read_bytes()
    landing.configure({"cloudFiles.format": "parquet"})
    landing.drop("good.parquet", content)
    landing.drop("bad.parquet", content.replace(b"\x19needle", b"\x44needle"))  # a type that there is not
    landing.run()
    assert landing.texts("v") == ['"needle"', '{"a":[1.1]}']
    accounts = landing.files()
    assert (accounts["good.parquet"]["rows_loaded"], accounts["bad.parquet"]["status"]) == (3, "quarantined")
    assert "VARIANT" in accounts["bad.parquet"]["error"]


def test_text_that_is_no_utf_8_is_named_line_by_line(landing: Landing) -> None:
    landing.configure({"cloudFiles.format": "text"})
    landing.drop("a.txt", b"ok\nb\xe9d\n\xc3\xa9\n")
    landing.run()
    assert landing.values("value") == ["ok", "é"]
    assert [(bad["record"], bad["reason"]) for bad in landing.quarantine()] == [
        (2, "holds bytes that are not text in UTF-8")
    ]


def test_xml_is_read_in_the_encoding_that_it_declares(landing: Landing) -> None:
    landing.configure({"cloudFiles.format": "xml", "rowTag": "row"})
    for encoding in ("UTF-8", "ISO-8859-1", "UTF-16"):
        text = f'<?xml version="1.0" encoding="{encoding}"?><rows><row><s>é</s></row></rows>'
        landing.drop(f"{encoding}.xml", text.encode(encoding))
    landing.run()
    assert landing.values("s") == ["é"] * 3
