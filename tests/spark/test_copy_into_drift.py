"""COPY INTO where files and table differ: nothing is rescued, nothing is lost; what does not fit is refused by name."""

import io
from datetime import date
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession
from pyspark.sql.types import DataType, StructType

from include.copy_into.errors import CopyIntoError
from include.probe.workers import ProbePool
from spark_jobs.engine.copy.leftovers import values_only
from spark_jobs.engine.copy.matching import grown, lacking, reading
from tests.spark.test_copy_into import Copy

MERGE = "COPY_OPTIONS ('mergeSchema' = 'true')"
JSON = "COPY INTO bronze.t FROM 'in' FILEFORMAT = JSON"
PARQUET = "COPY INTO bronze.t FROM 'in' FILEFORMAT = PARQUET"
MISMATCH = "COPY_INTO_SCHEMA_MISMATCH_WITH_TARGET_TABLE"


@pytest.fixture
def copy(tmp_path: Path, spark: SparkSession, pool: ProbePool) -> Copy:
    return Copy(tmp_path, spark, pool)


def parquet(rows: list[dict[str, object]]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), out)
    return out.getvalue()


def test_a_new_field_below_is_refused_and_merged_when_asked(copy: Copy) -> None:
    copy.drop("in/a.json", '{"id": 1, "s": {"x": 1}, "l": [{"k": 1}]}\n')
    copy.run(f"{JSON} {MERGE}")
    copy.drop("in/b.json", '{"id": 2, "s": {"x": 2, "y": "new"}, "l": [{"k": 2, "m": 3}]}\n')
    with pytest.raises(CopyIntoError, match=r"b\.json, line 1.*'s\.y'") as refused:
        copy.run(JSON)
    assert refused.value.condition == MISMATCH
    assert "line 1, column 25 of the statement" in str(refused.value)
    copy.run(f"{JSON} {MERGE}")
    assert copy.rows()[1] == {"id": 2, "s": {"x": 2, "y": "new"}, "l": [{"k": 2, "m": 3}]}


def test_names_match_in_any_case_and_two_spellings_in_a_record_are_refused(copy: Copy) -> None:
    copy.table(id="long")
    copy.drop("in/a.json", '{"ID": 1}\n{"id": 2}\n{"Id": 3, "iD": 3}\n')
    assert copy.run(JSON).num_affected_rows == 2
    assert copy.rows() == [{"id": 1}, {"id": 2}]
    [refused] = copy.quarantine()
    assert (refused["record"], refused["raw"]) == (3, '{"Id": 3, "iD": 3}')


def test_what_no_column_can_hold_is_quarantined(copy: Copy) -> None:
    copy.drop("in/a.json", '{"id": 1, "s": {"x": 1}}\n')
    copy.run(f"{JSON} {MERGE}")
    copy.drop("in/b.json", '{"id": 2, "s": {"y": 7}}\n{"id": 3, "s": "text"}\n{"id": 4, "o": {}}\n{"id": 5, "": 6}\n')
    done = copy.run(f"{JSON} {MERGE}")
    assert [(file["rows_loaded"], file["rows_quarantined"]) for file in done.files] == [(1, 3)]
    assert copy.rows("id") == [{"id": 1}, {"id": 4}]  # an empty object says nothing
    assert {row["reason"] for row in copy.quarantine()} == {
        'no column holds {"s":{"y":7}}', 'no column holds {"s":"text"}', 'no column holds {"":6}'
    }  # fmt: skip


def test_structs_of_parquet_go_by_name_and_not_by_position(copy: Copy) -> None:
    copy.drop("in/a.parquet", parquet([{"s": {"a": 1, "b": 2}}]))
    copy.run(f"{PARQUET} {MERGE}")
    copy.drop("in/b.parquet", parquet([{"s": {"b": 4, "A": 3}}]))
    copy.run(PARQUET)
    copy.drop("in/c.parquet", parquet([{"s": {"a": "x", "b": 5}}, {"s": {"a": "6", "b": 7}}]))
    copy.run(PARQUET)
    assert [row["s"] for row in copy.rows()] == [{"a": 1, "b": 2}, {"a": 3, "b": 4}, {"a": 6, "b": 7}]
    assert [(row["path"], row["record"]) for row in copy.quarantine()] == [("in/c.parquet", 1)]
    copy.drop("in/d.parquet", parquet([{"s": {"a": 1, "new": 2}}]))
    with pytest.raises(CopyIntoError, match=r"'s\.new'") as refused:
        copy.run(PARQUET)
    assert refused.value.condition == MISMATCH


def test_files_whose_types_differ_lose_nothing(copy: Copy) -> None:
    copy.drop("in/a.parquet", parquet([{"v": b"\x00"}]))
    copy.drop("in/b.parquet", parquet([{"v": 1}]))
    done = copy.run(f"{PARQUET} {MERGE}")
    assert {file["path"]: (file["rows_loaded"], file["rows_quarantined"]) for file in done.files} == {
        "in/a.parquet": (0, 1), "in/b.parquet": (1, 0)
    }  # fmt: skip
    copy.drop("more/a.parquet", parquet([{"v": {"k": [1]}}]))
    copy.run("COPY INTO bronze.t FROM 'more' FILEFORMAT = PARQUET")
    assert [row["v"] for row in copy.rows()] == ["1", '{"k":[1]}']


def test_a_type_that_can_never_be_the_columns_rejects_the_statement(copy: Copy) -> None:
    copy.table(v="integer")
    copy.drop("in/a.parquet", parquet([{"v": {"k": 1}}]))
    with pytest.raises(CopyIntoError, match=r"v is struct<k:bigint>.*line 1, column 25") as refused:
        copy.run(PARQUET)
    assert refused.value.condition == "DELTA_FAILED_TO_MERGE_FIELDS"


def test_digits_and_times_are_not_cut_off(copy: Copy) -> None:
    copy.table(d="decimal(6,2)", day="date")
    copy.drop("in/a.csv", "d,day\n1.23,2024-01-31\n1.239,2024-01-31\n2,2024-01-31 10:00:00\n")
    copy.drop("in/b.json", '{"d": 1.5, "day": "2024-02-01"}\n{"d": 1.555}\n{"day": "2024-02-01T10:00:00"}\n')
    copy.run("COPY INTO bronze.t FROM 'in' FILEFORMAT = CSV PATTERN = '*.csv' FORMAT_OPTIONS ('header' = 'true')")
    copy.run(f"{JSON} PATTERN = '*.json'")
    assert copy.rows() == [
        {"d": Decimal("1.23"), "day": date(2024, 1, 31)},
        {"d": Decimal("1.50"), "day": date(2024, 2, 1)},
    ]
    assert [(row["path"], row["record"], row["raw"]) for row in copy.quarantine()] == [
        ("in/a.csv", 3, "1.239,2024-01-31"),
        ("in/a.csv", 4, "2,2024-01-31 10:00:00"),
        ("in/b.json", 2, '{"d": 1.555}'),
        ("in/b.json", 3, '{"day": "2024-02-01T10:00:00"}'),
    ]


def test_a_record_that_breaks_a_constraint_is_quarantined(copy: Copy) -> None:
    root = copy.settings.table_root("bronze.t")
    copy.spark.sql(f"CREATE TABLE delta.`{root}` (id bigint NOT NULL, n int, s varchar(2)) USING delta")
    copy.spark.sql(f"ALTER TABLE delta.`{root}` ADD CONSTRAINT small CHECK (n < 10)")
    copy.drop("in/a.json", '{"id": 1, "n": 5}\n{"n": 6}\n{"id": 3, "n": 50}\n{"id": 4, "n": 1, "s": "long"}\n')
    assert copy.run(JSON).num_affected_rows == 1
    assert [(row["record"], row["reason"]) for row in copy.quarantine()] == [
        (2, "column 'id' is NOT NULL and there is no value"),
        (3, 'CHECK constraint small: n < 10 is false of {"n":50}'),
        (4, "column 's' is longer than varchar(2): long"),
    ]
    copy.drop("in/b.csv", "2\n")
    with pytest.raises(CopyIntoError) as refused:
        copy.run("COPY INTO bronze.t (n) FROM 'in' FILEFORMAT = CSV PATTERN = '*.csv'")
    assert refused.value.condition == "DELTA_MISSING_NOT_NULL_COLUMN_VALUE"


def test_a_name_that_delta_refuses_is_told_with_the_way_out(copy: Copy) -> None:
    copy.drop("in/a.json", '{"two words": 1}\n')
    with pytest.raises(CopyIntoError) as refused:
        copy.run(f"{JSON} {MERGE}")
    assert refused.value.condition == "DELTA_INVALID_CHARACTERS_IN_COLUMN_NAMES"
    assert "AS two_words" in refused.value.remedy
    renamed = "COPY INTO bronze.t FROM (SELECT `two words` AS two_words FROM 'in') FILEFORMAT = JSON"
    assert copy.run(f"{renamed} {MERGE}").num_affected_rows == 1


def test_an_unknown_name_in_the_select_is_found_in_the_statement(copy: Copy) -> None:
    copy.drop("in/a.csv", "1,2\n")
    with pytest.raises(CopyIntoError, match=r"`nope`.*line 2, column 3") as refused:
        copy.run(f"COPY INTO bronze.t FROM (SELECT _c0 AS a,\n  nope FROM 'in') FILEFORMAT = CSV {MERGE}")
    assert "__sluice" not in str(refused.value)


@pytest.mark.parametrize(
    ("known", "seen", "read", "merged", "unknown"),
    [
        ("a int", "A bigint, b string", "A int, b string", "a int, b string", ["b"]),
        ("s struct<x int>", "s struct<y int, X string>", "s struct<y int, X int>", "s struct<x int, y int>", ["s.y"]),
        ("l array<struct<x int>>", "l array<struct<y int>>", "l array<struct<y int>>", "l array<struct<x int, y int>>",
         ["l[].y"]),
        ("s struct<x int>", "s string", "s struct<x int>", "s struct<x int>", []),
        ("m map<string,int>", "m struct<k bigint>", "m map<string,int>", "m map<string,int>", []),
    ],
)  # fmt: skip
def test_columns_meet_by_name_at_every_level(known: str, seen: str, read: str, merged: str, unknown: list[str]) -> None:
    def parsed(ddl: str) -> DataType:
        return StructType.fromDDL(ddl)

    there, found = parsed(known), parsed(seen)
    assert reading(there, found).simpleString() == parsed(read).simpleString()
    assert grown(there, found).simpleString() == parsed(merged).simpleString()
    assert list(lacking(there, found)) == unknown


def test_only_values_are_left_over() -> None:
    texts = ['{"o":{},"_file_path":"f"}', '{"l":[{},null]}', '{"o":{"":0}}', None]
    assert values_only(pa.array(texts)).to_pylist() == [None, None, '{"o":{"":0}}', None]


def test_folders_give_columns_unless_they_are_plain(copy: Copy) -> None:
    copy.drop("in/day=2024-01-31/a.json", '{"id": 1}\n')
    copy.drop("in/day=2024-02-01/b.json", '{"id": 2}\n')
    copy.run(f"{JSON} FILES = ('day=2024-01-31/a.json') {MERGE}")
    copy.run(JSON)
    assert copy.rows() == [{"id": 1, "day": date(2024, 1, 31)}, {"id": 2, "day": date(2024, 2, 1)}]
    copy.drop("in/day=never/c.json", '{"id": 3}\n')
    assert copy.run(JSON).files[0]["rows_quarantined"] == 1
    copy.drop("in/hour=7/d.json", '{"id": 4}\n')
    with pytest.raises(CopyIntoError, match="'hour'"):
        copy.run(JSON)
    assert copy.run(f"{JSON} FORMAT_OPTIONS ('recursiveFileLookup' = 'true')").num_affected_rows == 1


def test_a_column_that_neither_files_nor_select_have_gets_its_default(copy: Copy) -> None:
    root = copy.settings.table_root("bronze.t")
    copy.spark.sql(
        f"CREATE TABLE delta.`{root}` (id bigint, s string DEFAULT 'none', d date DEFAULT DATE'2024-01-31') "
        "USING delta TBLPROPERTIES ('delta.feature.allowColumnDefaults' = 'supported')"
    )
    csv = "FILEFORMAT = CSV PATTERN = '*.csv'"
    copy.drop("in/a.json", '{"id": 1}\n')
    copy.run(f"{JSON} FILES = ('a.json')")
    copy.drop("in/b.json", '{"id": 2, "S": "x"}\n{"id": 3}\n')
    copy.run(f"{JSON} FILES = ('b.json')")
    copy.drop("in/c.parquet", parquet([{"id": 4}]))
    copy.run(f"{PARQUET} PATTERN = '*.parquet'")
    copy.drop("in/d.csv", "5\n")
    copy.run(f"COPY INTO bronze.t (id) FROM 'in' {csv}")
    copy.drop("in/e.csv", "6\n")
    copy.run(f"COPY INTO bronze.t FROM (SELECT _c0::bigint AS id, NULL AS s FROM 'in') {csv}")
    day = date(2024, 1, 31)
    assert [tuple(row.values()) for row in copy.rows()] == [
        (1, "none", day), (2, "x", day), (3, None, day), (4, "none", day), (5, "none", day), (6, None, day)
    ]  # fmt: skip


def test_names_that_differ_in_case_only_are_one_column_below_too(copy: Copy) -> None:
    copy.drop("in/a.parquet", parquet([{"Id": 1, "s": {"A": 1, "l": [{"K": 1}]}}]))
    copy.drop("in/b.parquet", parquet([{"id": 2, "S": {"a": 2, "l": [{"k": 2}]}}]))
    assert copy.run(f"{PARQUET} {MERGE}").num_affected_rows == 2
    copy.drop("in/c.parquet", parquet([{"ID": 3, "s": {"a": 3, "L": [{"k": 3}]}}]))
    assert copy.run(PARQUET).num_affected_rows == 1
    copy.drop("json/a.json", '{"id": 4, "s": {"A": 4, "l": [{"K": 4}]}}\n{"iD": 5, "s": {"a": 5, "l": [{"k": 5}]}}\n')
    assert copy.run("COPY INTO bronze.t FROM 'json' FILEFORMAT = JSON").num_affected_rows == 2
    assert [value for row in copy.rows() for value in (str(row).lower(),)] == [
        str({"id": n, "s": {"a": n, "l": [{"k": n}]}}) for n in range(1, 6)
    ]


def test_the_line_of_a_refused_record_is_told_whatever_stands_around_it(copy: Copy) -> None:
    copy.table(n="integer", s="string")
    bad = "99999999999"
    copy.drop("in/a.csv", f'n,s\n\n1,"two\nlines"\n2,x,y\n{bad},z\n')
    sql = "COPY INTO bronze.t FROM (SELECT n::bigint AS n, s FROM 'in') FILEFORMAT = {} PATTERN = '*.{}' "
    copy.run(sql.format("CSV", "csv") + "FORMAT_OPTIONS ('header' = 'true', 'multiLine' = 'true')")
    copy.drop("in/b.json", f'\n{{"n": "1"}}\n{{"n":\n{{"n": "{bad}"}}\n')
    copy.run(sql.format("JSON", "json").replace(", s", ""))
    assert [(row["path"], row["record"]) for row in copy.quarantine()] == [
        ("in/a.csv", 5), ("in/a.csv", 6), ("in/b.json", 3), ("in/b.json", 4)
    ]  # fmt: skip
    assert {row["n"] for row in copy.rows()} == {1}
