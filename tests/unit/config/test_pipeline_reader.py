from pathlib import Path

import pytest

from include.config.errors import ConfigError, NotAvailableYet
from include.config.exit_codes import ExitCode
from include.config.ingest import Check, OnError
from include.config.pipeline import Pipeline, TableSchedule
from include.config.reader import load_pipeline, pipeline_files, unpack

FILE = Path("flights.yaml")
MINIMAL = "ingest: {source: flights, table: bronze.flights, options: {cloudFiles.format: json}}\n"
OPTIONS = "options: {cloudFiles.format: json}"


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        unpack(text, FILE)
    return list(caught.value.problems)


def with_ingest(*lines: str) -> str:
    return "\n  ".join(["ingest:", "source: flights", "table: bronze.flights", *lines]) + "\n"


def test_the_whole_ingest_section_becomes_typed_values() -> None:
    text = """
name: flights
description: Departures.
schedule: {tables: [bronze.planes, "s3://bucket/tables/x"]}
owner: ops
tags: [a, b]
resources: {driver_memory: 2g, executors: 3, conf: {spark.sql.shuffle.partitions: "8"}}
ingest:
  source: s3://bucket/in
  table: bronze.flights
  schema: "id bigint, name string"
  options:
    cloudfiles.FORMAT: CSV
    cloudFiles.maxFilesPerTrigger: "20"
    cloudFiles.maxBytesPerTrigger: 1g
    pathGlobFilter: "*.csv"
    modifiedAfter: 2026-01-31T12:00:00+02:00
    HEADER: true
    delimiter: ";"
  changed_files: replace
  on_error: {quarantine: 1%}
  settle: 5 minutes
  checks:
    - {name: has_id, expr: "id IS NOT NULL", action: quarantine}
"""
    pipeline = unpack(text, FILE)
    ingest = pipeline.ingestion()
    assert pipeline.name == "flights"
    assert pipeline.file == FILE
    assert pipeline.schedule == TableSchedule(tables=("bronze.planes", "s3://bucket/tables/x"))
    assert pipeline.resources.spark_conf() == {
        "spark.driver.memory": "2g",
        "spark.executor.instances": "3",
        "spark.sql.shuffle.partitions": "8",
    }
    assert ingest.schema_ddl == "id bigint, name string"
    assert ingest.settle == 300.0
    assert ingest.on_error == OnError(policy="quarantine", max_ratio=0.01)
    assert ingest.checks == (Check(name="has_id", expr="id IS NOT NULL", action="quarantine"),)
    assert ingest.options.format == "csv"
    assert ingest.options.max_files_per_trigger == 20
    assert ingest.options.max_bytes_per_trigger == 1 << 30
    assert ingest.options.modified_after is not None
    assert ingest.options.modified_after.isoformat() == "2026-01-31T10:00:00+00:00"
    assert ingest.options.reader == {"header": "true", "sep": ";", "escape": '"'}, (
        "Spark's own spelling, one name for each option"
    )


def test_what_is_left_out_has_auto_loaders_defaults() -> None:
    pipeline = unpack(MINIMAL, FILE)
    ingest = pipeline.ingestion()
    assert (pipeline.name, pipeline.owner, pipeline.schedule) == ("flights", "sluice", None)
    assert (ingest.changed_files, ingest.on_error.policy, ingest.settle) == ("append", "quarantine", 0.0)
    assert ingest.options.infer_column_types is False
    assert ingest.options.schema_evolution_mode == "addNewColumns"
    assert ingest.options.max_files_per_trigger == 1000
    assert ingest.options.include_existing_files is True


def test_a_declared_schema_sets_the_evolution_mode_to_none_and_excludes_inference() -> None:
    declared = unpack(with_ingest("schema: id int", OPTIONS), FILE).ingestion()
    assert declared.options.schema_evolution_mode == "none"
    (problem,) = problems(
        with_ingest("schema: id int", "options: {cloudFiles.format: json, cloudFiles.inferColumnTypes: true}")
    )
    assert problem.startswith("flights.yaml:2:3: ingest: cloudFiles.inferColumnTypes cannot go with `schema`")


@pytest.mark.parametrize(
    ("ingest", "column"),
    [
        (("schema: id int, tags array<string>", "options: {cloudFiles.format: csv}"), "tags"),
        (("options: {cloudFiles.format: csv, cloudFiles.schemaHints: 'id int, o.price int'}",), "o.price"),
        (("options: {cloudFiles.format: csv, cloudFiles.schemaHints: '`a.b` struct<x int>'}",), "a.b"),
    ],
)
def test_csv_with_a_nested_column_is_refused(ingest: tuple[str, ...], column: str) -> None:
    (problem,) = problems(with_ingest(*ingest))
    assert problem.startswith(f"flights.yaml:2:3: ingest: column {column}: a field of CSV holds one value")


def test_all_problems_of_a_file_are_told_at_once_each_with_its_place() -> None:
    text = """name: flughts
shedule: "@hourly"
ingest:
  sorce: flights
  table: bronze.flights; DROP
  options:
    cloudFiles.formt: json
    header: yes
  on_error: quarantin
  checks:
    - {name: a, expr: b, action: warnn}
transform: {source: a.b, table: c.d, steps: [{filtr: x}]}
"""
    found = problems(text)
    places = [(line.split(": ", 2)[0], line.split(": ", 2)[1]) for line in found]
    assert places == [
        ("flights.yaml:1:7", "name"),
        ("flights.yaml:2:1", "shedule"),
        ("flights.yaml:4:3", "ingest.source"),
        ("flights.yaml:4:3", "ingest.sorce"),
        ("flights.yaml:5:10", "ingest.table"),
        ("flights.yaml:6:3", "ingest.options"),
        ("flights.yaml:7:5", "ingest.options.cloudFiles.formt"),
        ("flights.yaml:8:5", "ingest.options.header"),
        ("flights.yaml:9:13", "ingest.on_error"),
        ("flights.yaml:11:34", "ingest.checks.0.action"),
        (
            "flights.yaml:12:1",
            "exactly one of ingest, copy_into, transform, cache must be there, not ingest and transform",
        ),
        ("flights.yaml:12:47", "transform.steps.0.filtr"),
    ]
    suggested = [line.rpartition("did you mean ")[2] for line in found if "did you mean" in line]
    assert suggested == ["schedule?", "source?", "cloudFiles.format?", "quarantine?", "warn?", "filter?"]


def test_a_name_that_is_not_the_files_name_is_refused_with_both_remedies() -> None:
    (problem,) = problems("name: planes\n" + MINIMAL)
    assert problem == (
        "flights.yaml:1:7: name: must be the file's name: write `name: flights`, or rename the file to planes.yaml"
    )


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("source: ../secrets", "must not step upwards"),
        ("source: a/../../b", "must not step upwards"),
        ("source: http://host/x", "scheme that is not supported"),
        ("source: hdfs://host/x", "scheme that is not supported"),
        ("source: ''", "must be a path or a URI"),
        ("source: 7", "must be text, not 7 (quote it)"),
        ('source: "a\\nb"', "control characters"),
        ("table: flights", "must be schema.table"),
        ("table: a.b.c", "must be schema.table"),
        ("table: bronze.x`; DROP TABLE y", "must be schema.table"),
        ("table: s3://bucket/a/../b", "must not step upwards"),
        ("settle: 30", "a number and a unit"),
        ("settle: 1 fortnight", "a number and a unit"),
        ("settle: -5s", "a number and a unit"),
        ("on_error: {quarantine: 101%}", "from 0% to 100%"),
        ("on_error: {quarantine: -1}", "the budget must be"),
        ("on_error: {skip_file: 1%}", "must be one of quarantine"),
        ("changed_files: overwrite", "must be one of ignore, error, append, replace"),
        ("checks: [{name: a b, expr: x, action: warn}]", "must be letters"),
        ("checks: [{name: a, expr: ' ', action: warn}]", "must not be empty"),
        ("checks: [{name: a, expr: x, action: warn}, {name: a, expr: y, action: drop}]", "two checks have the name a"),
        ("checks: {name: a}", "must be a list"),
    ],
)
def test_a_wrong_value_is_refused_with_what_it_must_be(line: str, what: str) -> None:
    base = {"source": "source: flights", "table": "table: bronze.flights", "options": OPTIONS}
    text = "\n  ".join(["ingest:", *({**base, line.split(":", maxsplit=1)[0]: line}.values())]) + "\n"
    found = problems(text)
    assert any(what in problem for problem in found), found


@pytest.mark.parametrize(
    ("written", "expected"),
    [("0 6 * * 1-5", "0 6 * * 1-5"), ("@daily", "@daily"), ("none", None), ("null", None), ("~", None)],
)
def test_schedules_are_cron_presets_or_none(written: str, expected: str | None) -> None:
    assert (
        unpack(f"schedule: {written if written in ('null', '~') else repr(written)}\n" + MINIMAL, FILE).schedule
        == expected
    )


@pytest.mark.parametrize(
    "written", ["61 * * * *", "* * *", "@dayly", "every day", "{tables: []}", "{table: a.b}", "5", "[a]"]
)
def test_a_wrong_schedule_is_refused(written: str) -> None:
    text = written if written[0] in "{[5" else repr(written)
    assert all("schedule" in problem for problem in problems(f"schedule: {text}\n" + MINIMAL))


@pytest.mark.parametrize(
    "text",
    [
        with_ingest("options: {cloudFiles.format: json, cloudFiles.awsSecretKey: hunter2}"),
        with_ingest("options: {cloudFiles.format: json, cloudFiles.connectionString: hunter2}"),
        "ingest: {source: 's3://user:hunter2@bucket/x', table: a.b, options: {cloudFiles.format: json}}",
        "ingest: {source: x, table: 'https://user:hunter2@host/x', options: {cloudFiles.format: json}}",
        MINIMAL.replace("source: flights", "source: 'abfss://c@a.dfs.core.windows.net/x?sv=1&sig=hunter2'"),
        "resources: {conf: {spark.hadoop.fs.s3a.secret.key: hunter2}}\n" + MINIMAL,
        "description: 'get it from https://user:hunter2@host/'\n" + MINIMAL,
    ],
)
def test_credentials_are_refused_and_never_repeated(text: str) -> None:
    found = problems(text)
    assert any("credential" in problem for problem in found)
    assert "hunter2" not in "\n".join(found)


def test_a_container_in_a_uri_is_no_credential() -> None:
    text = MINIMAL.replace("source: flights", "source: 'abfss://container@account.dfs.core.windows.net/in'")
    assert unpack(text, FILE).ingestion().source.startswith("abfss://container@")


@pytest.mark.parametrize(
    "section",
    [
        "transform: {source: a.b, table: c.d, steps: [{deduplicate: {keys: [a]}}, "
        "{stream_join: {table: e.f, on: [a], time: t, other_time: u}}]}",
        "ingest: {source: a, table: b.c, options: {cloudFiles.format: json, multiLine: true, lineSep: ';'}}",
        "ingest: {source: a, table: b.c, options: {cloudFiles.format: xml, rowTag: r,"
        " cloudFiles.schemaEvolutionMode: rescue}}",
    ],
)
def test_what_is_not_executed_yet_has_a_valid_shape_and_cannot_be_loaded(tmp_path: Path, section: str) -> None:
    file = tmp_path / "flights.yaml"
    file.write_text(f"description: x\n{section}\n")
    assert isinstance(unpack(file.read_text(), file), Pipeline)
    with pytest.raises(NotAvailableYet) as caught:
        load_pipeline(file)
    assert caught.value.exit_code is ExitCode.CONFIG
    assert [problem.startswith(f"{file}:2:") for problem in caught.value.problems] == [True]


def test_a_pipeline_is_found_by_name_and_by_path(tmp_path: Path) -> None:
    (tmp_path / "flights.yaml").write_text(MINIMAL)
    (tmp_path / "planes.yml").write_text(MINIMAL)
    (tmp_path / ".hidden.yaml").write_text("broken: [")
    (tmp_path / "README.md").write_text("not a pipeline")
    assert [path.name for path in pipeline_files(tmp_path)] == ["flights.yaml", "planes.yml"]
    assert load_pipeline("planes", tmp_path).file == tmp_path / "planes.yml"
    assert load_pipeline(tmp_path / "flights.yaml") == load_pipeline("flights", tmp_path)


def test_a_name_that_is_not_there_suggests_one_that_is(tmp_path: Path) -> None:
    (tmp_path / "flights.yaml").write_text(MINIMAL)
    with pytest.raises(ConfigError, match="did you mean flights") as caught:
        load_pipeline("flihgts", tmp_path)
    assert caught.value.exit_code is ExitCode.CONFIG
    assert "Known pipelines: flights" in caught.value.remedy


@pytest.mark.parametrize("name", ["", "..", ".", "*", "a b"])
def test_a_name_is_never_a_step_to_another_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "x").mkdir()
    with pytest.raises(ConfigError, match="There is no pipeline"):
        load_pipeline(name, tmp_path / "x")


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    for suffix in ("yaml", "yml"):
        (tmp_path / f"flights.{suffix}").write_text(MINIMAL)
    with pytest.raises(ConfigError, match="Two files describe pipeline flights"):
        load_pipeline("flights", tmp_path)


def test_a_file_in_another_encoding_is_refused_with_the_byte_and_its_place(tmp_path: Path) -> None:
    file = tmp_path / "flights.yaml"
    file.write_bytes(b"name: flights\ndescription: Fl\xfcge\n")
    with pytest.raises(ConfigError) as caught:
        load_pipeline(file)
    assert caught.value.problems == (f"{file}:2:16: byte 0xfc is not UTF-8",)


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    file = tmp_path / "flights.yaml"
    file.write_text("\ufeffname: flights\n" + MINIMAL)
    assert load_pipeline(file).name == "flights"
