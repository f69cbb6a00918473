"""COPY INTO on real files and real Delta tables, in the session of the process, by the function that notebooks call."""

import gzip
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, Field, Schema
from pyarrow import orc
from pyspark.sql import SparkSession

from include.config.errors import DataRefused
from include.config.pipeline import Pipeline
from include.config.settings import Settings, load_settings
from include.copy_into.errors import CopyIntoError, LoadRefused
from include.copy_into.plan import CopyPlan, plan_statements
from include.copy_into.recovery import history
from include.copy_into.results import CopyResult, iter_files, iter_quarantine, refuse_rejected, results
from include.copy_into.state import TableState
from include.copy_into.statement import read_statement
from include.ledger.discover import discover
from include.probe.workers import ProbePool
from spark_jobs.engine.batch import BatchLoader
from spark_jobs.engine.copy.loader import TableLoader
from spark_jobs.engine.copy.statement_load import StatementLoad
from spark_jobs.engine.copy.validate import validate_statement
from spark_jobs.engine.stream import LedgerStream
from spark_jobs.notebook import copy_into

CSV = "FILEFORMAT = CSV FORMAT_OPTIONS ('header' = 'true', 'inferSchema' = 'true')"
MERGE = "COPY_OPTIONS ('mergeSchema' = 'true')"


class Copy:
    """A home with a landing folder, and statements run on it."""

    def __init__(self, home: Path, spark: SparkSession, pool: ProbePool) -> None:
        self.settings: Settings = load_settings({"SLUICE_HOME": str(home)}, home / "no-settings.yaml")
        self.landing = home / "landing"
        self.spark = spark
        self.pool = pool
        self._runs = 0

    def drop(self, name: str, content: str | bytes) -> Path:
        path = self.landing / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def table(self, **columns: str) -> None:
        """Make `bronze.t` with these columns, without rows."""
        fields = [Field(name, kind, nullable=True) for name, kind in columns.items()]  # type: ignore[arg-type]
        DeltaTable.create(self.settings.table_root("bronze.t"), Schema(fields))

    def plan(self, sql: str, parameters: Mapping[str, str] | None = None) -> CopyPlan:
        self._runs += 1
        return plan_statements(self.settings, [read_statement(sql, parameters)], f"run-{self._runs}")

    def load(self) -> None:
        TableLoader(self.spark, self.settings, self.pool, "bronze.t", f"run-{self._runs}").run()

    def run(self, sql: str, parameters: Mapping[str, str] | None = None) -> CopyResult:
        plan = self.plan(sql, parameters)
        if plan.has_work:
            self.load()
        refuse_rejected(self.settings, plan)
        return results(self.settings, plan)[0]

    def rows(self, *columns: str) -> list[dict[str, Any]]:
        table = DeltaTable(self.settings.table_root("bronze.t")).to_pyarrow_table(columns=list(columns) or None)
        return sorted(table.to_pylist(), key=lambda row: tuple(str(value) for value in row.values()))

    def version(self) -> int:
        return DeltaTable(self.settings.table_root("bronze.t")).version()

    def files(self) -> list[dict[str, Any]]:
        return list(iter_files(self.settings, "bronze.t"))

    def quarantine(self) -> list[dict[str, Any]]:
        return list(iter_quarantine(self.settings, "bronze.t"))


@pytest.fixture
def copy(tmp_path: Path, spark: SparkSession, pool: ProbePool) -> Copy:
    return Copy(tmp_path, spark, pool)


def test_a_file_is_loaded_once_whatever_statement_names_it(copy: Copy) -> None:
    copy.drop("in/a.csv", "id,name\n1,x\n2,y\n")
    first = copy.run(f"COPY INTO bronze.t FROM 'in' {CSV} {MERGE}")
    assert (first.num_affected_rows, first.num_inserted_rows, first.num_skipped_corrupt_files) == (2, 2, 0)
    copy.drop("in/b.csv", "id,name\n3,z\n")
    again = copy.run(f"COPY INTO bronze.t FROM 'in' {CSV}")
    assert [(file["path"], file["rows_loaded"]) for file in again.files] == [("in/b.csv", 1)]
    other = copy.run("COPY INTO bronze.t FROM (SELECT id::int id, name FROM 'in/*.csv') FILEFORMAT = CSV")
    assert other.num_affected_rows == 0
    assert copy.rows() == [{"id": 1, "name": "x"}, {"id": 2, "name": "y"}, {"id": 3, "name": "z"}]


def test_the_history_of_the_table_has_the_statement_and_its_figures(copy: Copy) -> None:
    copy.drop("in/a.csv", "id\n1\n2\n")
    sql = f"COPY INTO bronze.t FROM 'in' {CSV} {MERGE}"
    copy.run(sql)
    [commit] = history(DeltaTable(copy.settings.table_root("bronze.t"))).commits
    assert (commit.note["statement"], commit.note["num_affected_rows"], commit.rows) == (sql, 2, 2)
    assert [(file["path"], file["rows_loaded"]) for file in commit.note["files"]] == [("in/a.csv", 2)]


def test_a_modified_file_is_not_loaded_again_unless_changed_files_says_so(copy: Copy) -> None:
    sql = f"COPY INTO bronze.t FROM 'in' {CSV}"
    copy.drop("in/a.csv", "id\n1\n")
    copy.run(f"{sql} {MERGE}")
    copy.drop("in/a.csv", "id\n1\n22\n")
    assert copy.run(sql).num_affected_rows == 0
    with pytest.raises(CopyIntoError, match="came again") as refused:
        copy.run(f"{sql} COPY_OPTIONS ('changedFiles' = 'error')")
    assert refused.value.condition == "COPY_INTO_DUPLICATED_FILES_COPY_NOT_ALLOWED"
    assert copy.run(f"{sql} COPY_OPTIONS ('changedFiles' = 'append')").num_affected_rows == 2
    assert copy.run(f"{sql} COPY_OPTIONS ('changedFiles' = 'append')").num_affected_rows == 0


def test_force_appends_again_what_files_and_pattern_name(copy: Copy) -> None:
    sql = f"COPY INTO bronze.t FROM 'in' {CSV}".replace(" FORMAT_OPTIONS", " {} FORMAT_OPTIONS")
    copy.drop("in/a.csv", "id\n1\n")
    copy.drop("in/b.csv", "id\n2\n")
    copy.run(f"COPY INTO bronze.t FROM 'in' {CSV} {MERGE}")
    assert copy.run(sql.format("FILES = ('a.csv')") + " COPY_OPTIONS ('force' = 'true')").num_affected_rows == 1
    assert copy.run(sql.format("PATTERN = 'b*'") + " COPY_OPTIONS ('force' = 'true')").num_affected_rows == 1
    assert [row["id"] for row in copy.rows()] == [1, 1, 2, 2]
    assert copy.run(sql.format("PATTERN = '*.csv'")).num_affected_rows == 0
    assert {(row["path"], row["version"]) for row in copy.files()} == {
        ("in/a.csv", 1), ("in/a.csv", 2), ("in/b.csv", 1), ("in/b.csv", 2)
    }  # fmt: skip


def test_a_forced_statement_that_was_killed_is_finished_not_doubled(copy: Copy) -> None:
    copy.drop("in/a.csv", "id\n1\n")
    copy.run(f"COPY INTO bronze.t FROM 'in' {CSV} {MERGE}")
    forced = f"COPY INTO bronze.t FROM 'in' {CSV} COPY_OPTIONS ('force' = 'true')"
    copy.plan(forced)  # killed after its intent
    assert copy.run(forced).num_affected_rows == 1
    assert len(copy.rows()) == 2


def test_the_table_must_be_there_unless_the_schema_is_merged(copy: Copy) -> None:
    copy.drop("in/a.csv", "id\n1\n")
    with pytest.raises(CopyIntoError) as refused:
        copy.run(f"COPY INTO bronze.t FROM 'in' {CSV}")
    assert (refused.value.condition, refused.value.exit_code) == ("DELTA_MISSING_DELTA_TABLE_COPY_INTO", 66)
    copy.spark.sql(f"CREATE TABLE delta.`{copy.settings.table_root('bronze.t')}` USING delta")
    with pytest.raises(CopyIntoError) as mismatch:
        copy.run(f"COPY INTO bronze.t FROM 'in' {CSV}")
    assert mismatch.value.condition == "COPY_INTO_SCHEMA_MISMATCH_WITH_TARGET_TABLE"
    assert copy.run(f"COPY INTO bronze.t FROM 'in' {CSV} {MERGE}").num_affected_rows == 1
    assert copy.rows() == [{"id": 1}]


def test_a_new_column_is_refused_by_name_and_merged_when_asked(copy: Copy) -> None:
    copy.table(id="long")
    copy.drop("in/a.json", '{"id": 1}\n{"id": 2, "extra": "new"}\n')
    sql = "COPY INTO bronze.t FROM 'in' FILEFORMAT = JSON"
    with pytest.raises(CopyIntoError, match=r"line 2.*'extra'") as refused:
        copy.run(sql)
    assert refused.value.condition == "COPY_INTO_SCHEMA_MISMATCH_WITH_TARGET_TABLE"
    assert copy.run(f"{sql} {MERGE}").num_affected_rows == 2
    assert copy.rows() == [{"id": 1, "extra": None}, {"id": 2, "extra": "new"}]
    assert [row["status"] for row in copy.files()] == ["rejected", "loaded"]


def test_columns_by_position_and_by_list_are_cast(copy: Copy) -> None:
    copy.table(id="integer", name="string", seats="double")
    copy.drop("in/a.csv", "1,x,2.5\n")
    copy.drop("list/a.csv", "3.5,7\n")
    assert copy.run("COPY INTO bronze.t BY POSITION FROM 'in' FILEFORMAT = CSV").num_affected_rows == 1
    assert copy.run("COPY INTO bronze.t (seats, id) FROM 'list' FILEFORMAT = CSV").num_affected_rows == 1
    assert copy.rows() == [{"id": 1, "name": "x", "seats": 2.5}, {"id": 7, "name": None, "seats": 3.5}]


def test_a_wrong_number_of_columns_is_an_arity_mismatch(copy: Copy) -> None:
    copy.table(id="integer", name="string")
    copy.drop("few/a.csv", "1\n")
    copy.drop("many/a.csv", "1,x,y\n")
    with pytest.raises(CopyIntoError) as few:
        copy.run("COPY INTO bronze.t BY POSITION FROM 'few' FILEFORMAT = CSV")
    assert few.value.condition == "COPY_INTO_COLUMN_ARITY_MISMATCH.NOT_ENOUGH_DATA_COLUMNS"
    with pytest.raises(CopyIntoError) as many:
        copy.run("COPY INTO bronze.t (id, name) FROM 'many' FILEFORMAT = CSV")
    assert many.value.condition == "COPY_INTO_COLUMN_ARITY_MISMATCH.TOO_MANY_DATA_COLUMNS"
    with pytest.raises(CopyIntoError) as unknown:
        copy.run("COPY INTO bronze.t (id, nam) FROM 'many' FILEFORMAT = CSV")
    assert unknown.value.condition == "DELTA_COLUMN_NOT_FOUND"


def test_a_select_casts_renames_and_sees_metadata(copy: Copy) -> None:
    copy.drop("in/a.csv", "1,2024-01-31\n2,2024-02-01\n")
    copy.run(
        "COPY INTO bronze.t FROM (SELECT _c0::bigint key, CAST(_c1 AS DATE) AS `day`, 'const' what, "
        "_metadata.file_name, _metadata.file_size AS size, row_number() OVER (ORDER BY _c0 DESC) nr FROM 'in') "
        f"FILEFORMAT = CSV {MERGE}"
    )
    first, second = copy.rows()
    assert {name: str(value) for name, value in first.items()} == {
        "key": "1", "day": "2024-01-31", "what": "const", "file_name": "a.csv", "size": "26", "nr": "2"
    }  # fmt: skip
    assert second["nr"] == 1


def test_a_select_takes_a_star_and_a_list_of_columns(copy: Copy) -> None:
    copy.table(a="long", b="string")
    copy.drop("in/a.json", '{"x": {"y": "deep"}, "n": 5}\n')
    copy.run("COPY INTO bronze.t (b, a) FROM (SELECT x.y, n FROM 'in') FILEFORMAT = JSON")
    assert copy.rows() == [{"a": 5, "b": "deep"}]
    copy.drop("more/b.json", '{"b": "star", "a": 6}\n')
    assert copy.run("COPY INTO bronze.t FROM (SELECT * FROM 'more') FILEFORMAT = JSON").num_affected_rows == 1
    assert copy.rows()[1] == {"a": 6, "b": "star"}


def test_aggregates_make_one_row_of_all_records_that_can_be_read(copy: Copy) -> None:
    sql = (
        "COPY INTO bronze.t FROM (SELECT count(*) AS n, max_by(name, id) AS last, sum(sum(id)) OVER () AS s, "
        f"max(_metadata.file_name) AS f FROM 'in') FILEFORMAT = JSON {MERGE}"
    )
    copy.drop("in/a.json", '{"id": 1, "name": "x"}\n{"id": 5, "name": "y"}\n')
    copy.drop("in/b.json", '{"id": 3, "name": "z"}\n{"id":\n')
    done = copy.run(sql)
    assert (done.num_affected_rows, done.num_inserted_rows) == (1, 1)
    assert [(file["rows_loaded"], file["rows_quarantined"]) for file in done.files] == [(1, 0), (0, 1)]
    assert copy.rows() == [{"n": 3, "last": "y", "s": 9, "f": "b.json"}]
    assert copy.run(sql).num_affected_rows == 0
    copy.drop("in/c.json", '{"id": 7, "name": "new"}\n')
    copy.run(sql)
    assert [row["n"] for row in copy.rows()] == [1, 3]


def test_aggregates_that_are_no_row_of_the_table_load_nothing(copy: Copy) -> None:
    copy.table(n="integer")
    copy.drop("in/a.json", '{"id": 3000000000, "name": "x"}\n')
    with pytest.raises(CopyIntoError, match=r"column 'n': 3000000000 is not int.*line 1, column 33") as refused:
        copy.run("COPY INTO bronze.t FROM (SELECT sum(id) AS n FROM 'in') FILEFORMAT = JSON")
    assert refused.value.condition == "COPY_INTO_ROWS_REFUSED"
    with pytest.raises(CopyIntoError, match="line 1, column") as mixed:
        copy.run("COPY INTO bronze.t FROM (SELECT name, sum(id) AS n FROM 'in') FILEFORMAT = JSON")
    assert mixed.value.condition.startswith("MISSING_GROUP_BY")
    assert copy.run("COPY INTO bronze.t FROM (SELECT count(*) AS n FROM 'in') FILEFORMAT = JSON").num_affected_rows == 1


@pytest.mark.parametrize(
    ("expression", "condition"),
    [("nope", "UNRESOLVED_COLUMN"), ("cast(name AS int)", "CAST_INVALID_INPUT"), ("1/0", "DIVIDE_BY_ZERO")],
)
def test_an_expression_that_fails_rejects_the_statement_with_sparks_condition(
    copy: Copy, expression: str, condition: str
) -> None:
    copy.drop("in/a.json", '{"name": "x"}\n')
    with pytest.raises(CopyIntoError) as refused:
        copy.run(f"COPY INTO bronze.t FROM (SELECT {expression} AS v FROM 'in') FILEFORMAT = JSON {MERGE}")
    assert refused.value.condition.startswith(condition)
    assert refused.value.exit_code == 65
    # Its files are free for a statement that is right.
    assert copy.run(f"COPY INTO bronze.t FROM 'in' FILEFORMAT = JSON {MERGE}").num_affected_rows == 1


def test_a_value_that_does_not_fit_is_quarantined_and_never_nulled_or_cut(copy: Copy) -> None:
    copy.table(id="integer", amount="integer")
    copy.drop("in/a.csv", "id,amount\n1,10\nx,20\n3,99999999999\n")
    pq.write_table(pa.table({"id": ["4", "y"], "amount": [1.0, 2.5]}), copy.drop("pq/b.parquet", b""))
    done = copy.run("COPY INTO bronze.t FROM 'in' FILEFORMAT = CSV FORMAT_OPTIONS ('header' = 'true')")
    assert [(file["rows_loaded"], file["rows_quarantined"]) for file in done.files] == [(1, 2)]
    done = copy.run("COPY INTO bronze.t FROM 'pq' FILEFORMAT = PARQUET")
    assert [(file["rows_loaded"], file["rows_quarantined"]) for file in done.files] == [(1, 1)]
    assert copy.rows() == [{"id": 1, "amount": 10}, {"id": 4, "amount": 1}]
    refused = copy.quarantine()
    assert [row["record"] for row in refused] == [3, 4, 2]
    assert "column 'id': 'x' is not int" in refused[0]["reason"]
    assert json.loads(refused[2]["raw"]) == {"id": "y", "amount": 2.5}


def test_fail_fast_and_budgets_load_nothing_when_spent(copy: Copy) -> None:
    copy.table(id="integer")
    copy.drop("in/a.csv", "1\nx\n3\n")
    sql = "COPY INTO bronze.t BY POSITION FROM 'in' FILEFORMAT = CSV"
    for options in (
        "FORMAT_OPTIONS ('mode' = 'FAILFAST')",
        "COPY_OPTIONS ('onError' = 'abort')",
        "COPY_OPTIONS ('onError' = 'quarantine 10%')",
    ):
        with pytest.raises((DataRefused, CopyIntoError)) as refused:
            copy.run(f"{sql} {options}")
        assert refused.value.exit_code == 65
        assert copy.rows() == []
    assert copy.run(f"{sql} COPY_OPTIONS ('onError' = 'quarantine 1')").num_affected_rows == 2


def test_a_corrupt_file_is_skipped_not_remembered_and_loads_when_repaired(copy: Copy) -> None:
    whole = gzip.compress(b'{"id": 1}\n' * 2000)
    copy.drop("in/bad.json.gz", whole[: len(whole) // 2])
    copy.drop("in/good.json", '{"id": 7}\n')
    sql = "COPY INTO bronze.t FROM 'in' FILEFORMAT = JSON {} " + MERGE
    with pytest.raises(CopyIntoError) as refused:
        copy.run(sql.format("FORMAT_OPTIONS ('ignoreCorruptFiles' = 'false')"))
    assert refused.value.condition == "COPY_INTO_CORRUPT_FILE"
    done = copy.run(sql.format("FORMAT_OPTIONS ('ignoreCorruptFiles' = 'true')"))
    assert (done.num_affected_rows, done.num_skipped_corrupt_files) == (1, 1)
    copy.drop("in/bad.json.gz", whole)
    done = copy.run(sql.format(""))
    assert (done.num_affected_rows, done.num_skipped_corrupt_files) == (2000, 0)
    assert copy.run(sql.format("")).num_affected_rows == 0


def test_nothing_parsable_is_an_inference_failure(copy: Copy) -> None:
    copy.drop("in/a.json", '"no object"\n')
    with pytest.raises(CopyIntoError) as refused:
        copy.run(f"COPY INTO bronze.t FROM 'in' FILEFORMAT = JSON {MERGE}")
    assert refused.value.condition == "COPY_INTO_SOURCE_SCHEMA_INFERENCE_FAILED"


def test_a_file_of_files_that_is_not_there_is_named(copy: Copy) -> None:
    copy.table(id="long")
    copy.drop("in/a.csv", "1\n")
    with pytest.raises(CopyIntoError, match=r"nope\.csv") as refused:
        copy.run("COPY INTO bronze.t BY POSITION FROM 'in' FILEFORMAT = CSV FILES = ('a.csv', 'nope.csv')")
    assert (refused.value.condition, refused.value.exit_code) == ("PATH_NOT_FOUND", 66)


def test_validate_names_errors_by_file_and_writes_nothing(copy: Copy) -> None:
    copy.table(id="integer")
    copy.drop("in/a.csv", "1\nx\n")
    copy.drop("in/b.csv", "2\n")
    before = sorted(copy.landing.parent.rglob("*"))
    sql = "COPY INTO bronze.t BY POSITION FROM 'in' FILEFORMAT = CSV VALIDATE 1 ROWS"
    found = validate_statement(copy.spark, copy.settings, copy.pool, read_statement(sql))
    assert (found["valid"], len(found["rows"]), found["columns"]) == (True, 1, ["id int"])
    first, second = found["files"]
    assert (first["path"], first["records"], first["errors"]) == ("in/a.csv", 2, 1)
    assert (first["first_errors"][0]["record"], first["first_errors"][0]["raw"]) == (2, "x")
    assert (second["errors"], copy.rows()) == (0, [])
    assert sorted(copy.landing.parent.rglob("*")) == before


def test_validate_says_why_a_statement_would_be_rejected(copy: Copy) -> None:
    copy.table(id="integer")
    copy.drop("in/a.json", '{"other": 1}\n')
    statement = read_statement("COPY INTO bronze.t FROM 'in' FILEFORMAT = JSON VALIDATE")
    found = validate_statement(copy.spark, copy.settings, copy.pool, statement)
    assert not found["valid"]
    assert found["error"]["class"] == "COPY_INTO_SCHEMA_MISMATCH_WITH_TARGET_TABLE"


# ---- kills: each state that one leaves, made by stopping there; then the next statement


def test_an_intent_that_was_killed_is_loaded_by_the_next_statement_by_its_own_rules(copy: Copy) -> None:
    copy.drop("in/a.csv", "id\n1\n")
    copy.drop("other/b.csv", "id;x\n2;y\n")
    copy.plan(f"COPY INTO bronze.t FROM 'in' {CSV} {MERGE}")
    second = copy.run(
        "COPY INTO bronze.t FROM 'other' FILEFORMAT = CSV FORMAT_OPTIONS ('header' = 'true', 'sep' = ';') " + MERGE
    )
    assert second.num_affected_rows == 1
    assert [(row["id"], row.get("x")) for row in copy.rows()] == [(1, None), (2, "y")]


@pytest.mark.parametrize("lost", ["outcomes", "decisions", "batches"])
def test_what_a_kill_after_the_commit_leaves_is_put_in_order(copy: Copy, lost: str) -> None:
    sql = f"COPY INTO bronze.t FROM 'in' {CSV} {MERGE}"
    copy.drop("in/a.csv", "id\n1\n2\n")
    copy.run(sql)
    shutil.rmtree(Path(copy.settings.table_root("bronze.t")) / "_copy_into" / lost, ignore_errors=True)
    assert copy.run(sql).num_affected_rows == 0
    assert [(row["status"], row["rows_loaded"]) for row in copy.files()] == [("loaded", 2)]
    assert len(copy.rows()) == 2


@pytest.mark.parametrize("plain", [0, 1000])
def test_the_ledger_is_rebuilt_from_the_history_of_the_table(
    copy: Copy, plain: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("include.copy_into.notes.PLAIN_FILES", plain)  # 0: the files of every commit are packed
    sql = f"COPY INTO bronze.t FROM 'in' {CSV} {MERGE}"
    copy.drop("in/a.csv", "id\n1\n")
    copy.run(sql)
    copy.drop("bad/x.csv", "nope\n1\n")
    with pytest.raises(CopyIntoError):
        copy.run(f"COPY INTO bronze.t FROM 'bad' {CSV}")
    copy.drop("in/b.csv", "id\n2\n")
    copy.run(sql)
    shutil.rmtree(Path(copy.settings.table_root("bronze.t")) / "_copy_into")
    copy.drop("in/c.csv", "id\n3\n")
    assert copy.run(sql).num_affected_rows == 1
    assert [row["id"] for row in copy.rows()] == [1, 2, 3]


def test_a_rejection_that_was_killed_before_its_outcomes_stays_one_and_holds_up_nobody(copy: Copy) -> None:
    sql = f"COPY INTO bronze.t FROM 'in' {CSV} {MERGE}"
    copy.drop("in/a.csv", "id\n1\n")
    copy.plan(sql)
    state = TableState(copy.settings, "bronze.t")
    state.reject(1, {"error_class": "X", "message": "no", "remedy": "", "exit_code": 65})
    with pytest.raises(CopyIntoError) as rejected:
        copy.run(sql)
    assert rejected.value.condition == "X"
    assert copy.run(sql).num_affected_rows == 1
    assert [row["status"] for row in copy.files()] == ["rejected", "loaded"]


def test_an_error_after_the_commit_does_not_reject_what_is_in_the_table(
    copy: Copy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def after(*_: object) -> None:
        raise LoadRefused("X", "after the commit")

    sql = f"COPY INTO bronze.t FROM 'in' {CSV} {MERGE}"
    copy.drop("in/a.csv", "id\n1\n")
    monkeypatch.setattr(StatementLoad, "_refuse_unaccounted", after)
    assert copy.run(sql).num_affected_rows == 1
    assert copy.run(sql).num_affected_rows == 0
    assert [(row["status"], row["rows_loaded"]) for row in copy.files()] == [("loaded", 1)]


def test_a_planned_statement_that_is_not_understood_any_more_is_rejected(copy: Copy) -> None:
    copy.drop("in/a.csv", "id\n1\n")
    copy.plan(f"COPY INTO bronze.t FROM 'in' {CSV} {MERGE}")
    root = Path(copy.settings.table_root("bronze.t"))
    [document] = (root / "_copy_into" / "statements").iterdir()
    document.write_text(document.read_text().replace("'inferSchema'", "'rescuedDataColumn'"))
    copy.drop("other/b.csv", "id\n2\n")
    assert copy.run(f"COPY INTO bronze.t FROM 'other' {CSV} {MERGE}").num_affected_rows == 1
    assert {(row["path"], row["status"]) for row in copy.files()} == {
        ("in/a.csv", "rejected"), ("other/b.csv", "loaded")
    }  # fmt: skip


def test_vacuum_leaves_the_memory_of_the_table_alone(copy: Copy) -> None:
    sql = f"COPY INTO bronze.t FROM 'in' {CSV} {MERGE}"
    copy.drop("in/a.csv", "id\n1\n")
    copy.run(sql)
    root = copy.settings.table_root("bronze.t")
    DeltaTable(root).vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False)
    copy.spark.conf.set("spark.databricks.delta.retentionDurationCheck.enabled", "false")
    copy.spark.sql(f"VACUUM delta.`{root}` RETAIN 0 HOURS")
    shutil.rmtree(copy.settings.state, ignore_errors=True)
    assert copy.run(sql).num_affected_rows == 0
    assert len(copy.rows()) == 1


def test_an_ingest_pipeline_and_copy_into_know_of_each_others_files(copy: Copy) -> None:
    copy.drop("in/a.json", '{"id": 1}\n')
    copy.run(f"COPY INTO bronze.t FROM 'in' FILEFORMAT = JSON {MERGE}")
    options = {"cloudFiles.format": "json", "cloudFiles.inferColumnTypes": True}
    section = {"source": "in", "table": "bronze.t", "options": options}
    pipeline = Pipeline.model_validate({"name": "p", "file": copy.landing / "p.yaml", "ingest": section})
    assert discover(pipeline, copy.settings, "run-a").discovered == 0
    copy.drop("in/b.json", '{"id": 2}\n')
    assert discover(pipeline, copy.settings, "run-b").discovered == 1
    ingest = pipeline.ingestion()
    LedgerStream(copy.spark, pipeline, ingest, copy.settings).run(
        BatchLoader(copy.spark, pipeline, ingest, copy.settings, "run-b", copy.pool)
    )
    copy.drop("in/c.json", '{"id": 3}\n')
    done = copy.run("COPY INTO bronze.t FROM 'in' FILEFORMAT = JSON")
    assert [file["path"] for file in done.files] == ["in/c.json"]
    assert copy.rows("id", "_source_file") == [
        {"id": 1, "_source_file": None},
        {"id": 2, "_source_file": "in/b.json"},
        {"id": 3, "_source_file": "in/c.json"},
    ]
    shutil.rmtree(copy.settings.state)
    assert copy.run("COPY INTO bronze.t FROM 'in' FILEFORMAT = JSON").num_affected_rows == 0


def test_the_notebooks_function_returns_databricks_columns(copy: Copy) -> None:
    copy.drop("in/a.csv", "id\n1\n2\n")
    sql = f"COPY INTO bronze.t FROM :source {CSV} {MERGE}"
    frame = copy_into(copy.spark, sql, {"source": "in"}, settings=copy.settings)
    assert [row.asDict() for row in frame.collect()] == [
        {"num_affected_rows": 2, "num_inserted_rows": 2, "num_skipped_corrupt_files": 0}
    ]
    again = copy_into(copy.spark, sql, {"source": "in"}, settings=copy.settings)
    assert again.collect()[0]["num_affected_rows"] == 0


def _orc(copy: Copy) -> None:
    orc.write_table(pa.table({"id": [1, 2]}), copy.drop("in/a.orc", b""))


@pytest.mark.parametrize(
    ("kind", "content", "select", "rows"),
    [
        ("TEXT", "one\ntwo\n", "value AS id", [{"id": "one"}, {"id": "two"}]),
        ("XML", "<all><r><id>1</id></r><r><id>2</id></r></all>", "id", [{"id": 1}, {"id": 2}]),
        ("BINARYFILE", b"\x00\x01", "length AS id", [{"id": 2}]),
        ("ORC", None, "id", [{"id": 1}, {"id": 2}]),
    ],
)
def test_every_other_format(
    copy: Copy, kind: str, content: str | bytes | None, select: str, rows: list[dict[str, Any]]
) -> None:
    copy.drop("in/a", content) if content is not None else _orc(copy)
    tag = "FORMAT_OPTIONS ('rowTag' = 'r')" if kind == "XML" else ""
    sql = f"COPY INTO bronze.t FROM (SELECT {select}, _metadata.file_path AS f FROM 'in') FILEFORMAT = {kind} {tag}"
    assert copy.run(f"{sql} {MERGE}").num_affected_rows == len(rows)
    assert copy.rows("id") == rows
    [path] = {row["f"] for row in copy.rows("f")}
    assert path.startswith(f"file:{copy.landing}/in/a")
