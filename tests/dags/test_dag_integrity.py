"""Each pipeline file of the repository becomes a DAG that Airflow can keep, show and run."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG, Asset, TriggerRule
from airflow.serialization.serialized_objects import DagSerialization

from include.config.pipeline import Pipeline
from include.config.reader import load_pipeline, pipeline_files
from include.config.settings import PROJECT_ROOT, load_settings
from include.orchestration.assets import table_asset
from include.orchestration.catalog import pipeline_dags
from include.orchestration.factory import build_dag, schedule_of
from include.submit.job import plan_job

FILES = pipeline_files()
DAGS_DIR = PROJECT_ROOT / "dags"
ORCHESTRATION = sorted((PROJECT_ROOT / "include" / "orchestration").glob("*.py"))
BANNED_AT_PARSE = ("pyspark", "delta", "deltalake", "pyarrow", "pandas", "numpy", "obstore")
PARSE_SECONDS = 1.0
PROBE = f"""
import sys, time
import airflow.sdk
from airflow.dag_processing.dagbag import DagBag
started = time.process_time()
bag = DagBag({str(DAGS_DIR)!r})
print("PARSED", time.process_time() - started, len(bag.dags), *(m for m in {BANNED_AT_PARSE!r} if m in sys.modules))
"""


@pytest.fixture(scope="module")
def bag() -> DagBag:
    return DagBag(str(DAGS_DIR))


@pytest.fixture(params=FILES, ids=lambda file: file.stem)
def pipeline(request: pytest.FixtureRequest) -> Pipeline:
    return load_pipeline(Path(request.param))


@pytest.fixture
def dag(bag: DagBag, pipeline: Pipeline) -> DAG:
    return bag.dags[pipeline.name]


def test_discovery_found_pipeline_files() -> None:
    assert FILES


def test_no_pipeline_file_is_broken(bag: DagBag) -> None:
    assert bag.import_errors == {}


def test_there_is_a_dag_for_each_file_and_no_other(bag: DagBag) -> None:
    assert sorted(bag.dags) == sorted(file.stem for file in FILES)


def test_a_dag_survives_serialization(dag: DAG) -> None:
    restored = DagSerialization.from_dict(DagSerialization.to_dict(dag))
    assert restored.dag_id == dag.dag_id
    assert {task.task_id: task.downstream_task_ids for task in restored.tasks} == {
        "discover": {"load"},
        "load": {"publish"},
        "publish": set(),
    }


def test_a_dag_runs_once_at_a_time_and_makes_up_for_nothing(dag: DAG) -> None:
    assert (dag.max_active_runs, dag.catchup) == (1, False)


def test_every_task_has_retries_a_timeout_an_owner_and_an_existing_pool(dag: DAG, pipeline: Pipeline) -> None:
    for task in dag.tasks:
        assert isinstance(task.retries, int)
        assert task.retries >= 5
        assert task.retry_policy is not None
        assert task.retry_delay <= timedelta(minutes=1)
        assert task.retry_exponential_backoff > 1
        assert task.execution_timeout is not None
        assert task.pool == "default_pool"
        assert task.owner == pipeline.owner


def test_publish_speaks_whatever_became_of_the_load(dag: DAG) -> None:
    assert dag.get_task("publish").trigger_rule == TriggerRule.ALL_DONE


def test_the_table_is_the_outlet(dag: DAG, pipeline: Pipeline) -> None:
    outlets = dag.get_task("publish").outlets
    assert outlets == [table_asset(table, load_settings()) for table in pipeline.targets]


def test_the_page_tells_the_source_and_the_table(dag: DAG, pipeline: Pipeline) -> None:
    assert dag.doc_md is not None
    settings = load_settings()
    sources = {
        "ingest": lambda: [settings.source_root(pipeline.ingestion().source)],
        "transform": lambda: list(pipeline.transformation().tables),
        "copy_into": lambda: [statement.source for statement in pipeline.statements()],
        "cache": lambda: [pipeline.caching().table],
    }[pipeline.section]()
    for name in (*sources, *pipeline.targets):
        assert name in dag.doc_md


def test_what_the_load_starts_exists_and_is_text(pipeline: Pipeline) -> None:
    job = plan_job(pipeline, load_settings(), "manual__x", 1)
    assert job.application.is_file()
    assert all(type(argument) is str for argument in job.arguments)
    assert Path(job.arguments[1]).is_file()


def _templates(node: object) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        for key, value in node.items():
            yield from (*_templates(key), *_templates(value))
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _templates(value)


def test_no_task_asks_for_a_logical_date(dag: DAG) -> None:
    """Runs by asset or REST have none, and a template that asks for it fails them."""
    for task in dag.tasks:
        for field in task.template_fields:
            assert not [text for text in _templates(getattr(task, field)) if "{{" in text or "{%" in text]


@pytest.mark.parametrize(
    "file", sorted((PROJECT_ROOT / "include" / "orchestration").glob("*.py")), ids=lambda f: f.stem
)
def test_no_code_reads_the_logical_date_from_the_context(file: Path) -> None:
    names = {"ds", "ts", "ds_nodash", "ts_nodash", "logical_date", "data_interval_start", "data_interval_end"}
    literals = {node.value for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Constant)}
    attributes = {node.attr for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Attribute)}
    assert not names & (literals | attributes)


def test_parsing_is_fast_and_imports_nothing_heavy() -> None:
    run = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True, timeout=120)
    line = next(line for line in run.stdout.splitlines() if line.startswith("PARSED"))
    _, seconds, dags, *heavy = line.split()
    assert heavy == []
    assert int(dags) == len(FILES)
    assert float(seconds) < PARSE_SECONDS


def test_a_worker_builds_only_the_dag_of_its_task(pipelines: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (pipelines / "trips.yaml").read_text()
    (pipelines / "rides.yaml").write_text(text.replace("name: trips", "name: rides"))
    assert set(pipeline_dags(pipelines)) == {"trips", "rides"}
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", "rides")
    assert set(pipeline_dags(pipelines)) == {"rides"}


@pytest.mark.parametrize(
    ("written", "summary"),
    [
        ("'5 4 * * *'", "5 4 * * *"),
        ("'@daily'", "@daily"),
        ("none", "None"),
        ("{tables: [bronze.a, bronze.b]}", "Asset"),
    ],
)
def test_a_schedule_is_airflows_own(pipelines: Path, written: str, summary: str) -> None:
    file = pipelines / "trips.yaml"
    file.write_text(file.read_text().replace("'@hourly'", written))
    dag = build_dag(load_pipeline(file), load_settings())
    if summary == "Asset":
        assert isinstance(dag.schedule, list)
        assert [asset.name for asset in dag.schedule if isinstance(asset, Asset)] == ["bronze.a", "bronze.b"]
    else:
        assert str(dag.schedule) == summary
    DagSerialization.to_dict(dag)


def test_cache_waits_for_its_table_and_is_looked_at_every_so_often(tmp_path: Path) -> None:
    text = "cache: {table: bronze.planes, keys: [tailnum], columns: [seats], refresh: {min: 5 minutes, max: 1 hour}}\n"
    file = tmp_path / "planes_cache.yaml"
    file.write_text(f"name: planes_cache\n{text}")
    settings = load_settings()
    dag = build_dag(load_pipeline(file), settings)
    restored = DagSerialization.from_dict(DagSerialization.to_dict(dag))
    assert type(restored.timetable).__name__ == "AssetOrTimeSchedule"
    assert restored.timetable.summary == "Asset or 0:05:00"
    assert "looked at again" in str(dag.doc_md)
    file.write_text(f"name: planes_cache\nschedule: none\n{text}")
    assert schedule_of(load_pipeline(file), settings) is None
