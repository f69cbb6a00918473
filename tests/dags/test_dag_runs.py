"""Whole DAG runs by `dag.test()`: Airflow's database, real discovery, real spark-submit, on a few tiny files."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.models.asset import AssetEvent
from airflow.models.dagrun import DagRun
from airflow.models.xcom import XComModel
from airflow.sdk import DAG
from airflow.utils.session import create_session
from deltalake import DeltaTable
from sqlalchemy import select

from include.config.exit_codes import ExitCode
from include.config.reader import load_pipeline
from include.config.settings import load_settings
from include.orchestration.factory import build_dag

DAG_FILE = """
from pathlib import Path
from include.orchestration.catalog import pipeline_dags
globals().update(pipeline_dags(Path({folder!r})))  # DAGs of Airflow
"""
PIPELINE = """
name: {name}
ingest:
  source: {name}
  table: bronze.{name}
  options: {{cloudFiles.format: json, cloudFiles.inferColumnTypes: true}}
"""
STATEMENTS = """
name: copied
copy_into:
  - COPY INTO bronze.copied FROM 'copied' FILEFORMAT = JSON COPY_OPTIONS ('mergeSchema' = 'true')
  - COPY INTO bronze.copied_too FROM (SELECT id + 1 AS next FROM 'copied') FILEFORMAT = JSON
    COPY_OPTIONS ('mergeSchema' = 'true')
"""
NAMES = ("rides", "absent", "stopped")


@pytest.fixture(scope="module")
def home(airflow_home: Path, airflow_database: None) -> Iterator[Path]:
    """One SLUICE_HOME, and tables that no other module has: Airflow keeps one URI (the place) per asset name."""
    folder, pipelines = airflow_home / "home", airflow_home / "pipelines"
    (airflow_home / "dags").mkdir()
    pipelines.mkdir()
    (airflow_home / "dags" / "pipelines.py").write_text(DAG_FILE.format(folder=str(pipelines)))
    for name in NAMES:
        (pipelines / f"{name}.yaml").write_text(PIPELINE.format(name=name))
    (pipelines / "copied.yaml").write_text(STATEMENTS)
    (folder / "landing" / "rides").mkdir(parents=True)
    (folder / "landing" / "copied").mkdir()
    (folder / "landing" / "stopped").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLUICE_HOME", str(folder))
        yield folder


def _dag(airflow_home: Path, name: str) -> DAG:
    return build_dag(load_pipeline(airflow_home / "pipelines" / f"{name}.yaml"), load_settings())


def _states(run: DagRun) -> dict[str, str | None]:
    return {ti.task_id: ti.state for ti in run.get_task_instances()}


def _result(run: DagRun) -> dict[str, Any]:
    with create_session() as session:
        query = select(XComModel.value).where(
            XComModel.run_id == run.run_id,
            XComModel.dag_id == run.dag_id,
            XComModel.task_id == "publish",
            XComModel.key == "return_value",
        )
        value = session.scalars(query).one()
    result: dict[str, Any] = json.loads(value) if isinstance(value, str) else value
    return result


def _events(table: str) -> list[dict[str, Any]]:
    with create_session() as session:
        events = session.scalars(select(AssetEvent).where(AssetEvent.asset.has(name=table)).order_by(AssetEvent.id))
        return [dict(event.extra) for event in events]


@pytest.mark.timeout(300)
def test_a_run_loads_what_landed_and_the_next_run_nothing(home: Path, airflow_home: Path) -> None:
    (home / "landing" / "rides" / "a.json").write_text('{"id": 1}\n{"id": 2}\n')
    dag = _dag(airflow_home, "rides")

    first = dag.test()
    assert _states(first) == {"discover": "success", "load": "success", "publish": "success"}
    loaded = _result(first)
    assert (loaded["status"], loaded["files"]["loaded"], loaded["rows"]["loaded"]) == ("loaded", 1, 2)
    assert sorted(DeltaTable(home / "warehouse" / "bronze" / "rides").to_pyarrow_table()["id"].to_pylist()) == [1, 2]
    assert [event["rows"]["loaded"] for event in _events("bronze.rides")] == [2]

    second = dag.test(logical_date=None)  # as an asset or REST run, without a logical date
    assert _states(second) == {"discover": "success", "load": "skipped", "publish": "success"}
    assert _result(second)["status"] == "nothing_new"
    assert len(_events("bronze.rides")) == 1  # nobody is woken by a run that changed nothing


@pytest.mark.timeout(300)
def test_copy_into_statements_run_as_a_dag_of_the_same_shape(home: Path, airflow_home: Path) -> None:
    (home / "landing" / "copied" / "a.json").write_text('{"id": 1}\n{"id": 2}\n')
    dag = _dag(airflow_home, "copied")
    first = dag.test()
    assert _states(first) == {"discover": "success", "load": "success", "publish": "success"}
    assert (_result(first)["status"], _result(first)["rows"]["loaded"]) == ("loaded", 4)
    too = DeltaTable(home / "warehouse" / "bronze" / "copied_too").to_pyarrow_table()
    assert sorted(too["next"].to_pylist()) == [2, 3]
    assert [len(_events(table)) for table in ("bronze.copied", "bronze.copied_too")] == [1, 1]
    second = dag.test()
    assert _states(second) == {"discover": "success", "load": "skipped", "publish": "success"}
    assert _result(second)["status"] == "nothing_new"


@pytest.mark.timeout(120)
def test_a_missing_source_fails_the_run_at_once_and_says_so(home: Path, airflow_home: Path) -> None:
    run = _dag(airflow_home, "absent").test()
    assert run.state == "failed"
    assert _states(run) == {"discover": "failed", "load": "upstream_failed", "publish": "failed"}
    result = _result(run)
    assert (result["status"], result["exit_code"]) == ("failed", ExitCode.NOT_FOUND)
    assert "absent" in result["error"]


@pytest.mark.timeout(120)
def test_a_refused_load_is_published_as_rejected(
    home: Path, airflow_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script that ends with 65 in the place of spark-submit."""
    submit = tmp_path / "bin" / "spark-submit"
    submit.parent.mkdir()
    submit.write_text("#!/bin/sh\nexit 65\n")
    submit.chmod(0o755)
    monkeypatch.setattr("include.submit.command.spark_home", lambda: tmp_path)
    (home / "landing" / "stopped" / "a.json").write_text('{"id": 1}\n')

    run = _dag(airflow_home, "stopped").test()
    assert _states(run) == {"discover": "success", "load": "failed", "publish": "failed"}
    result = _result(run)
    assert (result["status"], result["exit_code"]) == ("rejected", ExitCode.DATA_REFUSED)
    assert _events("bronze.stopped") == []
