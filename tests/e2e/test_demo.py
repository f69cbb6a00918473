"""`make demo` as a newcomer runs it: Airflow, Spark and Delta for real, over all of its data, twice."""

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from include.config.settings import PROJECT_ROOT, load_settings
from tools.airflow_env import airflow_environment
from tools.demo import Demo, StageFailed
from tools.demo_check import EXPECTED, check_tables

ROWS = {"flights": 336_776, "airlines": 16, "airports": 1_458, "planes": 3_322, "weather": 26_115}


def newcomers_environment() -> dict[str, str]:
    """The environment without what tests/dags has set in this process."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("AIRFLOW", "SLUICE_"))}


def demo(folder: Path) -> str:
    """What the demo prints, run in `folder`."""
    homes = {"SLUICE_HOME": str(folder / "data"), "AIRFLOW_HOME": str(folder / "airflow")}
    environment = {**newcomers_environment(), **homes}
    result = subprocess.run(
        [sys.executable, "-m", "tools.demo"],
        cwd=PROJECT_ROOT,
        env={**environment, "COLUMNS": "120"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def table_rows(folder: Path) -> dict[str, int]:
    settings = load_settings({"SLUICE_HOME": str(folder / "data")})
    return {name: DeltaTable(settings.table_root(f"bronze.{name}")).to_pyarrow_dataset().count_rows() for name in ROWS}


def assert_report_says_right(report: str) -> None:
    """Each table that DuckDB has checked has rows, and nothing wrong."""
    lines = [line.split() for line in report.splitlines() if line.split()[:1] and line.split()[0] in EXPECTED]
    assert [line[0] for line in lines] == list(EXPECTED)
    assert all(int(line[1].replace(",", "")) > 4_000 and line[-1] == "0" for line in lines), lines


def wrong_by_hand(table: DeltaTable) -> None:
    """One number more by one, one row less, one row too many."""
    stored = table.to_pyarrow_table()
    rows = stored.to_pylist()
    rows[0]["flights"] += 1
    rows[2]["origin"] = "XXX"
    del rows[1]
    write_deltalake(table, pa.Table.from_pylist(rows, schema=stored.schema), mode="overwrite")


@pytest.mark.timeout(900)
def test_demo_loads_every_row_once_and_a_second_demo_loads_nothing(tmp_path: Path) -> None:
    first = demo(tmp_path)
    assert table_rows(tmp_path) == ROWS
    assert "Each file was loaded once." in first
    assert "336,776" in first
    assert_report_says_right(first)

    second = demo(tmp_path)
    assert table_rows(tmp_path) == ROWS
    assert "Nothing new: all files were loaded before" in second
    assert_report_says_right(second)

    settings = load_settings({"SLUICE_HOME": str(tmp_path / "data")})
    environment = airflow_environment(newcomers_environment(), airflow_home=tmp_path / "airflow")
    with pytest.raises(StageFailed, match="There is no DAG trains; there are"):
        Demo(settings, environment).load(["flights", "trains"])

    wrong_by_hand(DeltaTable(settings.table_root("gold.departures_sliding")))
    found = {check.table: (check.wrong, check.examples) for check in check_tables(settings)}
    assert found.pop("gold.departures_sliding")[0] == 4  # the row too many is another one missing
    assert set(found.values()) == {(0, ())}


def test_demo_fails_where_a_stage_fails_and_shows_the_end_of_its_log(tmp_path: Path) -> None:
    environment = airflow_environment(newcomers_environment(), airflow_home=tmp_path / "airflow")
    failing = Demo(load_settings({"SLUICE_HOME": str(tmp_path / "data")}), environment)
    with pytest.raises(StageFailed, match=r"ended with 3\.\nlast words") as failure:
        failing.command("failing", "sh", "-c", "echo last words >&2; exit 3")
    assert str(tmp_path) in failure.value.remedy
