"""`sluice plan` says what the load will do, before it does it."""

import pyarrow as pa
import pytest

from include.config.errors import SchemaDrift
from include.ledger.discover import discover
from include.probe.preview import Preview, preview
from tests.spark.conftest import Landing
from tests.spark.test_evolution import parquet


def look(landing: Landing) -> Preview:
    found = discover(landing.pipeline, landing.settings, "plan", dry_run=True)
    return preview(landing.settings, landing.pipeline, found.new_files)


def test_plan_counts_what_the_load_then_loads_and_refuses(landing: Landing) -> None:
    landing.drop("a.json", '{"id": 1}\n{"id"\n{"id": 2}\n')
    landing.drop("b.json.gz", b"no gzip")
    before = look(landing)
    landing.run()
    assert (before.outcome, before.records, before.refused_records) == ("loads", 3, 1)
    assert [path for path, _ in before.broken_files] == ["in/b.json.gz"]
    assert (len(landing.values("id")), len(landing.quarantine())) == (2, 2)


@pytest.mark.parametrize(
    ("file_format", "first", "second"),
    [("json", '{"id": 1}\n', '{"id": 1, "x": 2}\n'), ("csv", "id\n1\n", "id,x\n1,2\n")],
)
def test_plan_names_the_drift_that_stops_the_load(landing: Landing, file_format: str, first: str, second: str) -> None:
    fail = {"cloudFiles.schemaEvolutionMode": "failOnNewColumns"}
    options = {"cloudFiles.format": file_format, **fail, **({"header": True} if file_format == "csv" else {})}
    landing.configure(options)
    landing.drop(f"a.{file_format}", first)
    landing.run()
    landing.drop(f"b.{file_format}", second)
    before = look(landing)
    assert (before.outcome, [(drift.path, drift.column) for drift in before.drift]) == (
        "stops",
        [(f"in/b.{file_format}", "x")],
    )
    with pytest.raises(SchemaDrift):
        landing.run()
    landing.configure({**options, "cloudFiles.schemaHints": "x bigint"})
    assert look(landing).outcome == "loads"
    landing.run()
    assert landing.rows("id", "x") == [{"id": 1, "x": 2}, {"id": 1, "x": None}]


def test_plan_says_which_drift_becomes_a_column_and_which_is_rescued(landing: Landing) -> None:
    landing.drop("a.json", '{"id": 1, "o": {"x": 1}, "l": [{"x": 1}]}\n')
    landing.run()
    landing.drop("b.json", '{"id": 1, "n": 2}\n{"ID": 1, "o": {"y": 1, "X": 2}, "l": [{"X": 1}, {"z": 1}]}\n')
    before = look(landing)
    assert before.outcome == "loads"
    assert {found.column: found.outcome for found in before.drift} == {
        "n": "added", "ID": "rescued", "o.y": "added", "o.X": "rescued", "l[].X": "rescued", "l[].z": "added",
    }  # fmt: skip
    landing.configure({"cloudFiles.schemaEvolutionMode": "rescue"})
    assert {found.outcome for found in look(landing).drift} == {"rescued"}


def test_plan_names_every_error_of_the_next_load_and_what_becomes_of_it(landing: Landing) -> None:
    landing.configure(
        {"cloudFiles.inferColumnTypes": False}, schema="id bigint, o struct<x: int>, l array<decimal(4, 1)>"
    )
    landing.drop(
        "a.json",
        '{"id": 1}\n{"id": "xyz"}\n{"id": 2, "o": {"x": 1.5}}\n{"id"\n{"id": 3, "n": 1}\n{"id": 4, "l": [1.5]}\n',
    )
    said = look(landing).errors
    landing.run()
    assert sorted((error.record, error.outcome) for error in said) == [(n, "quarantined") for n in (2, 3, 4, 5)]
    assert {row["record"] for row in landing.quarantine()} == {error.record for error in said}
    landing.drop("b.json", '{"id": true}\n')
    landing.configure(
        {"cloudFiles.inferColumnTypes": False, "rescuedDataColumn": "_r"},
        schema="id bigint, o struct<x: int>, l array<decimal(4, 1)>",
    )
    assert [(error.record, error.outcome) for error in look(landing).errors] == [(1, "rescued")]


@pytest.mark.parametrize("mode", ["addNewColumns", "addNewColumnsWithTypeWidening", "none"])
def test_plan_names_other_types_of_files_that_say_theirs(landing: Landing, mode: str) -> None:
    landing.configure({"cloudFiles.format": "parquet", "cloudFiles.schemaEvolutionMode": mode})
    narrow = {"x": pa.array([1], pa.int32())}
    landing.drop("a.parquet", parquet(id=[1], n=pa.array([1], pa.int32()), o=[{"x": 1}], **narrow))
    landing.run()
    landing.drop("b.parquet", parquet(id=["one"], n=[1 << 40], o=[{"x": 1, "y": 2}], **narrow))
    before = look(landing)
    types = [(error.reason, error.outcome) for error in before.errors]
    left_over = "quarantined" if mode == "none" else "rescued"
    widens = mode == "addNewColumnsWithTypeWidening"
    text = ("column 'id' is string, the schema has bigint", left_over)
    wide = ("column 'n' is bigint, the schema has int", left_over)
    assert types == [text] + [wide] * (not widens)
    assert [(drift.column, drift.outcome) for drift in before.drift] == [
        *([("n", "widened")] * widens), ("o.y", "quarantined" if mode == "none" else "added"),
    ]  # fmt: skip
    landing.run()
    account = landing.files()["b.parquet"]
    assert (account["rows_rescued"], account["rows_quarantined"]) == ((0, 1) if mode == "none" else (1, 0))


@pytest.mark.parametrize("file_format", ["json", "csv"])
def test_plan_says_which_values_widen_a_column(landing: Landing, file_format: str) -> None:
    header = {"header": True} if file_format == "csv" else {}
    mode = {"cloudFiles.schemaEvolutionMode": "addNewColumnsWithTypeWidening", "cloudFiles.schemaHints": "n int"}
    landing.configure({"cloudFiles.format": file_format, **mode, **header})
    texts = {"json": '{"n": %s}\n' * 3, "csv": "n\n%s\n%s\n%s\n"}
    landing.drop("a", texts[file_format] % (1, 2, 3))
    landing.run()
    landing.drop("b", texts[file_format] % (4, 3_000_000_000, "1.5"))
    before = [error.outcome for error in look(landing).errors]
    landing.run()
    assert before == ["widened", "rescued"]
    assert [row["n"] for row in landing.rows("n")] == [1, 2, 3, 3_000_000_000, 4, None]
