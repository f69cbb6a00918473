"""The copy_into section of a pipeline file: plan, job and figures, without the spark-submit."""

from pathlib import Path

import pytest
import yaml
from pyspark.sql import SparkSession

from include.config.errors import ConfigError
from include.config.exit_codes import ExitCode
from include.config.pipeline import Pipeline
from include.config.reader import load_pipeline
from include.config.settings import Settings, load_settings
from include.copy_into.results import Rejected, rejection_of, status
from include.probe.workers import ProbePool
from include.submit.failures import failure_of
from include.submit.steps import discover_step, publish_step
from spark_jobs.engine.copy.loader import TableLoader

GOOD = "COPY INTO bronze.a FROM 'a' FILEFORMAT = JSON COPY_OPTIONS ('mergeSchema' = 'true')"
BAD = "COPY INTO bronze.b FROM (SELECT nope FROM 'b') FILEFORMAT = JSON COPY_OPTIONS ('mergeSchema' = 'true')"


def _pipeline(home: Path, *statements: object) -> Pipeline:
    file = home / "p.yaml"
    file.write_text(yaml.safe_dump({"name": "p", "copy_into": list(statements)}))
    return load_pipeline(file)


def _settings(home: Path) -> Settings:
    for name in ("a", "b"):
        (home / "landing" / name).mkdir(parents=True)
        (home / "landing" / name / "x.json").write_text('{"id": 1}\n')
    return load_settings({"SLUICE_HOME": str(home)}, home / "no-settings.yaml")


def test_one_rejected_statement_stops_no_other_and_fails_the_run(
    tmp_path: Path, spark: SparkSession, pool: ProbePool
) -> None:
    settings = _settings(tmp_path)
    pipeline = _pipeline(tmp_path, BAD, GOOD)
    assert pipeline.targets == ("bronze.b", "bronze.a")
    plan = discover_step(pipeline, settings, "r1")
    for table in pipeline.targets:
        TableLoader(spark, settings, pool, table, "r1").run()
    with pytest.raises(Rejected) as rejected:
        rejection_of(settings, pipeline.statements(), "r1", dict.fromkeys(pipeline.targets, 0))
    assert rejected.value.condition.startswith("UNRESOLVED_COLUMN")
    assert "__sluice" not in str(rejected.value)
    result = publish_step(pipeline, settings, plan, failure_of(rejected.value), 1.0)
    assert (result.status, result.exit_code) == ("rejected", ExitCode.DATA_REFUSED)
    assert (result.files.discovered, result.files.loaded, result.rows.loaded) == (2, 1, 1)
    sums = status(settings, pipeline)
    assert (sums["files_loaded"], sums["files_rejected"], sums["rows_loaded"]) == (1, 1, 1)
    mended = _pipeline(tmp_path, BAD.replace("nope", "id"), GOOD)
    again = discover_step(mended, settings, "r2")
    for table in mended.targets:
        TableLoader(spark, settings, pool, table, "r2").run()
    rejection_of(settings, mended.statements(), "r2", {"bronze.b": 1, "bronze.a": 1})
    assert publish_step(mended, settings, again, None, 1.0).rows.loaded == 1
    assert not discover_step(mended, settings, "r3").has_work


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("COPY INTO bronze.a FROM 'a' FILEFORMT = CSV", "p.yaml:2:3: copy_into.0: [COPY_INTO_SYNTAX_ERROR]"),
        ("COPY INTO bronze.a FROM 'a' FILEFORMAT = CSV VALIDATE", "sluice copy-into"),
        ({"sql": "COPY INTO bronze.a FROM :s FILEFORMAT = CSV", "parameters": {"t": "x"}}, "no value"),
        ({"sql": GOOD, "params": {}}, "params"),
    ],
)
def test_a_wrong_statement_is_refused_with_its_place_in_the_file(tmp_path: Path, statement: object, words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        _pipeline(tmp_path, statement)
    assert words in str(refused.value)


def test_source_and_table_must_not_nest(tmp_path: Path) -> None:
    settings = load_settings({"SLUICE_HOME": str(tmp_path)}, tmp_path / "no-settings.yaml")
    pipeline = _pipeline(tmp_path, f"COPY INTO delta.`{tmp_path}/landing/a/t` FROM 'a' FILEFORMAT = CSV")
    with pytest.raises(ConfigError, match="would read again"):
        discover_step(pipeline, settings, "r1")
