"""The pipeline files of this repository, the JSON schema beside the model, and what reading them costs."""

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from include.config.document import parse
from include.config.json_schema import SCHEMA_FILE, schema_text
from include.config.paths import check_paths
from include.config.pipeline import TableSchedule
from include.config.reader import load_pipeline, pipeline_files
from include.config.settings import load_settings

FILES = pipeline_files()
HEADER = "# yaml-language-server: $schema=../config/pipeline.schema.json\n"
HEAVY = ("airflow", "pyspark", "deltalake", "pyarrow", "obstore", "croniter", "ruamel", "typer", "rich", "sqlglot")


def test_there_are_pipeline_files() -> None:
    assert {path.stem for path in FILES} >= {"flights", "planes", "airlines", "airports", "weather"}


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_each_pipeline_file_can_be_loaded_and_names_its_schema_for_editors(file: Path, tmp_path: Path) -> None:
    check_paths(load_pipeline(file), load_settings({"SLUICE_HOME": str(tmp_path)}))
    assert file.read_text().startswith(HEADER)
    jsonschema.validate(parse(file.read_text()).value, json.loads(SCHEMA_FILE.read_text()))


def test_each_transformation_runs_when_its_source_has_changed_and_a_pipeline_makes_all_that_it_reads() -> None:
    pipelines = [load_pipeline(file) for file in FILES]
    made = {table for pipeline in pipelines for table in pipeline.targets}
    transformations = [pipeline for pipeline in pipelines if pipeline.transform is not None]
    assert {pipeline.name for pipeline in transformations} >= {"flights_silver", "departures_hourly"}
    for pipeline in transformations:
        transform = pipeline.transformation()
        assert isinstance(pipeline.schedule, TableSchedule), pipeline.name
        assert {*transform.tables} <= {*pipeline.schedule.tables} <= {*transform.tables, *transform.pinned_tables}
        assert {*transform.tables, *transform.pinned_tables} <= made


def test_the_committed_schema_is_the_models() -> None:
    assert SCHEMA_FILE.read_text() == schema_text(), "run: sluice schema-file > include/config/pipeline.schema.json"


@pytest.mark.parametrize(
    "text",
    [
        "ingest: {source: a, table: b.c, options: {cloudFiles.formt: json}}",
        "ingest: {source: a, table: b.c, options: {header: true}}",
        "ingest: {source: a, table: b.c, options: {cloudFiles.format: jsonl}}",
        "ingest: {source: a, table: b.c, options: {cloudFiles.format: json}, on_error: drop}",
        "description: without a section",
        "cache: {table: a.b, keys: [c], columns: [d]}\ncopy_into: [COPY INTO a.b FROM 'c']",
    ],
)
def test_the_schema_marks_in_an_editor_what_the_reader_would_refuse(text: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(parse(text).value, json.loads(SCHEMA_FILE.read_text()))


def test_reading_a_pipeline_imports_nothing_heavy() -> None:
    code = (
        "import sys; from include.config.reader import load_pipeline; load_pipeline('flights');"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(HEAVY) & set(done.stdout.split())
