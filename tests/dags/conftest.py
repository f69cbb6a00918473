"""Airflow in a folder of its own: SQLite, migrated once a session. Set before anything imports Airflow."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree

import pytest

from tools.airflow_env import airflow_environment

if "airflow" in sys.modules:
    raise RuntimeError("Airflow was imported before its test folder was set; import it in tests/dags only.")

AIRFLOW_HOME = Path(tempfile.mkdtemp(prefix="sluice-airflow-"))
os.environ.update(airflow_environment(airflow_home=AIRFLOW_HOME))
os.environ["AIRFLOW_HOME"] = str(AIRFLOW_HOME)
os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(AIRFLOW_HOME / "dags")
os.environ["AIRFLOW_CONN_SPARK_DEFAULT"] = json.dumps({"conn_type": "spark", "host": "local[2]"})


@pytest.fixture(scope="session", autouse=True)
def airflow_home() -> Iterator[Path]:
    yield AIRFLOW_HOME
    rmtree(AIRFLOW_HOME)


@pytest.fixture(scope="session")
def airflow_database(airflow_home: Path) -> None:
    """Airflow's tables, for tests that run DAGs."""
    subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], check=True, capture_output=True, timeout=300)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A SLUICE_HOME of the test's own, with an empty landing folder for `trips`."""
    folder = tmp_path / "home"
    (folder / "landing" / "trips").mkdir(parents=True)
    monkeypatch.setenv("SLUICE_HOME", str(folder))
    return folder


@pytest.fixture
def pipelines(tmp_path: Path) -> Path:
    """A folder of pipeline files with one good one, `trips`."""
    folder = tmp_path / "pipelines"
    folder.mkdir()
    (folder / "trips.yaml").write_text(
        "name: trips\ndescription: Trips as they land.\nschedule: '@hourly'\nowner: ada\ntags: [city]\n"
        "ingest:\n  source: trips\n  table: bronze.trips\n"
        "  options: {cloudFiles.format: json, cloudFiles.inferColumnTypes: true}\n"
    )
    return folder
