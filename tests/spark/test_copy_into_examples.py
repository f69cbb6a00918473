"""The examples of Databricks' documentation of COPY INTO, by their meaning: the same clauses, over files of our own."""

import gzip
import io
from datetime import date
from pathlib import Path

import fastavro
import pytest
from pyspark.sql import SparkSession

from include.copy_into.errors import CopyIntoError
from include.copy_into.statement import read_statement
from include.probe.workers import ProbePool
from spark_jobs.engine.copy.validate import validate_statement
from tests.spark.test_copy_into import Copy

MERGE = "COPY_OPTIONS ('mergeSchema' = 'true')"


@pytest.fixture
def copy(tmp_path: Path, spark: SparkSession, pool: ProbePool) -> Copy:
    return Copy(tmp_path, spark, pool)


def test_json_from_five_files_that_are_named(copy: Copy) -> None:
    for number in range(1, 7):
        copy.drop(f"base/path/f{number}.json", f'{{"id": {number}}}\n')
    copy.table(id="long")
    sql = (
        "COPY INTO bronze.t FROM 'base/path' FILEFORMAT = JSON "
        "FILES = ('f1.json', 'f2.json', 'f3.json', 'f4.json', 'f5.json')"
    )
    assert copy.run(sql).num_affected_rows == 5
    assert copy.run(sql).num_affected_rows == 0
    assert [row["id"] for row in copy.rows()] == [1, 2, 3, 4, 5]


def test_avro_with_expressions(copy: Copy) -> None:
    record = {"dt": "2024-01-31", "event": "rain", "quantity": "2.5"}
    fields = [{"name": name, "type": "string"} for name in record]
    out = io.BytesIO()
    fastavro.writer(out, {"type": "record", "name": "r", "fields": fields}, [record])
    copy.drop("base/path/a.avro", out.getvalue())
    copy.table(dt="date", measurement="string", quantity="double")
    copy.run(
        "COPY INTO bronze.t FROM (SELECT to_date(dt) dt, event as measurement, quantity::double FROM 'base/path') "
        "FILEFORMAT = AVRO"
    )
    assert copy.rows() == [{"dt": date(2024, 1, 31), "measurement": "rain", "quantity": 2.5}]


def test_headerless_csv_by_a_pattern_into_a_table_by_its_path(copy: Copy) -> None:
    for letter in "agh":
        copy.drop(f"base/path/folder1/file_{letter}.csv", f"1,2,{letter}\n")
    root = copy.settings.table_root("bronze.t")
    copy.spark.sql(f"CREATE TABLE delta.`{root}` (key bigint, index int, textData string) USING delta")
    done = copy.run(
        f"COPY INTO delta.`{root}` FROM (SELECT _c0::bigint key, _c1::int index, _c2 textData FROM 'base/path') "
        "FILEFORMAT = CSV PATTERN = 'folder1/file_[a-g].csv'"
    )
    assert done.num_affected_rows == 2
    assert copy.rows() == [{"key": 1, "index": 2, "textData": "a"}, {"key": 1, "index": 2, "textData": "g"}]
    # The same table by its name knows the same files.
    assert copy.run("COPY INTO bronze.t BY POSITION FROM 'base/path/folder1' FILEFORMAT = CSV").num_affected_rows == 1


def test_a_table_without_columns_takes_those_of_a_file_with_pipes(copy: Copy) -> None:
    copy.spark.sql(f"CREATE TABLE delta.`{copy.settings.table_root('bronze.t')}` USING delta")
    copy.drop("base/path/a.csv", "id|name\n1|x\n")
    copy.drop("base/path/b.csv", "id|more\n2|y\n")
    done = copy.run(
        "COPY INTO bronze.t FROM 'base/path' FILEFORMAT = CSV "
        f"FORMAT_OPTIONS ('mergeSchema' = 'true', 'delimiter' = '|', 'header' = 'true') {MERGE};"
    )
    assert done.num_affected_rows == 2
    assert copy.rows("id", "name", "more") == [
        {"id": "1", "name": "x", "more": None},
        {"id": "2", "name": None, "more": "y"},
    ]


def test_corrupt_files_are_left_out_counted_and_named_by_validate(copy: Copy) -> None:
    copy.table(id="long")
    copy.drop("base/path/bad.json.gz", gzip.compress(b'{"id": 1}\n' * 3000)[:60])
    copy.drop("base/path/good.json", '{"id": 7}\n')
    sql = "COPY INTO bronze.t FROM 'base/path' FILEFORMAT = JSON {} FORMAT_OPTIONS ('ignoreCorruptFiles' = 'true')"
    for clause in ("VALIDATE ALL", "VALIDATE 15 ROWS"):
        found = validate_statement(copy.spark, copy.settings, copy.pool, read_statement(sql.format(clause)))
        assert found["rows"] == [{"id": 7}]
        assert {file["path"]: file["readable"] for file in found["files"]} == {
            "base/path/bad.json.gz": False,
            "base/path/good.json": True,
        }
    done = copy.run(sql.format(""))
    assert (done.num_affected_rows, done.num_inserted_rows, done.num_skipped_corrupt_files) == (1, 1, 1)


def test_metadata_beside_all_columns(copy: Copy) -> None:
    copy.drop("base/path/a.csv", "1,x\n")
    copy.run(f"COPY INTO bronze.t FROM (SELECT *, _metadata FROM 'base/path') FILEFORMAT = CSV {MERGE}")
    [row] = copy.rows()
    assert (row["_c0"], row["_c1"]) == ("1", "x")
    assert (row["_metadata"]["file_name"], row["_metadata"]["file_size"]) == ("a.csv", 4)
    assert set(row["_metadata"]) == {
        "file_path", "file_name", "file_size", "file_block_start", "file_block_length", "file_modification_time"
    }  # fmt: skip


def test_by_position_and_by_list_leave_generated_columns_and_defaults_to_delta(copy: Copy) -> None:
    root = copy.settings.table_root("bronze.t")
    copy.spark.sql(
        f"CREATE TABLE delta.`{root}` (id bigint, name string DEFAULT 'none', "
        "twice bigint GENERATED ALWAYS AS (id * 2)) USING delta "
        "TBLPROPERTIES ('delta.feature.allowColumnDefaults' = 'supported')"
    )
    copy.drop("two/a.csv", "1,x\n")
    copy.drop("one/a.csv", "2\n")
    copy.run("COPY INTO bronze.t BY POSITION FROM 'two' FILEFORMAT = CSV FORMAT_OPTIONS ('header' = 'false')")
    copy.run("COPY INTO bronze.t (id) FROM 'one' FILEFORMAT = CSV")
    assert copy.rows() == [{"id": 1, "name": "x", "twice": 2}, {"id": 2, "name": "none", "twice": 4}]
    with pytest.raises(CopyIntoError) as refused:
        copy.run("COPY INTO bronze.t (id, twice) FROM 'two' FILEFORMAT = CSV COPY_OPTIONS ('force' = 'true')")
    assert (refused.value.condition, refused.value.column) == ("DELTA_COLUMN_NOT_FOUND", None)
    assert "column 25 of the statement" in str(refused.value)
