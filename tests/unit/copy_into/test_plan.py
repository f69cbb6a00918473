"""The plan: whose a file is, what is remembered, what many known files cost. Loads are played by delta-rs."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from deltalake import DeltaTable

from include.config.settings import Settings
from include.copy_into.errors import CopyIntoError
from include.copy_into.plan import CopyPlan
from include.copy_into.results import results
from include.copy_into.state import STATE, TableState
from include.ledger.outcomes import OutcomeStatus
from tests.unit.copy_into.playing import SQL, files_of, home, land, load, plan

MANY = 100_000


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return home(tmp_path)


def test_the_first_intent_owns_a_file(settings: Settings) -> None:
    land(settings, "a.csv", "b.csv")
    first = plan(settings, SQL.replace("CSV", "CSV FILES = ('a.csv')"))
    second = plan(settings)
    assert files_of(settings, first) == [("in/a.csv", 1)]
    assert files_of(settings, second) == [("in/b.csv", 1)]
    assert (second.pending_batches, second.pending_files) == (2, 2)


def test_many_statements_planned_at_once_share_the_files_without_overlap(settings: Settings) -> None:
    land(settings, *(f"f{number}.csv" for number in range(12)))
    sql = [SQL.replace("CSV", f"CSV PATTERN = 'f*{number}.csv'") for number in range(10)] + [SQL, SQL]
    with ThreadPoolExecutor(12) as threads:
        list(threads.map(lambda one: plan(settings, one[1], f"run-{one[0]}"), enumerate(sql)))
    state = TableState(settings, "bronze.t")
    paths = [file.path for planned in state.batches(1, state.ledger().last_batch) for file in planned.files]
    assert sorted(paths) == sorted({f"in/f{number}.csv" for number in range(12)})


@pytest.mark.parametrize("status", ["quarantined", "rejected", "superseded"])
def test_what_was_not_loaded_is_not_remembered(settings: Settings, status: OutcomeStatus) -> None:
    land(settings, "a.csv")
    plan(settings)
    load(settings, status)
    assert files_of(settings, plan(settings)) == [("in/a.csv", 2)]


def test_a_forced_file_that_was_corrupt_the_second_time_stays_remembered(settings: Settings) -> None:
    land(settings, "a.csv")
    plan(settings)
    load(settings)
    plan(settings, SQL.replace("'mergeSchema'", "'force' = 'true', 'mergeSchema'"))
    load(settings, "quarantined")
    assert not plan(settings).has_work


def test_a_task_that_is_tried_again_forces_its_files_once(settings: Settings) -> None:
    land(settings, "a.csv")
    forced = SQL.replace("'mergeSchema'", "'force' = 'true', 'mergeSchema'")
    first = plan(settings, forced, "scheduled")
    load(settings)
    again = plan(settings, forced, "scheduled")
    assert (again.statements[0].batch, again.has_work) == (first.statements[0].batch, False)
    assert results(settings, again)[0].num_affected_rows == 1
    assert plan(settings, forced, "next").has_work


def test_a_dry_run_names_the_files_and_writes_nothing(settings: Settings) -> None:
    land(settings, "a.csv", "sub/b.csv")
    before = sorted(settings.home.rglob("*"))
    found = plan(settings, dry_run=True)
    assert sorted(file.path for file in found.new_files) == ["in/a.csv", "in/sub/b.csv"]
    assert CopyPlan.from_dict(found.to_dict()) == found
    assert sorted(settings.home.rglob("*")) == before


@pytest.mark.parametrize(
    ("clause", "paths"),
    [
        ("PATTERN = '*.csv'", ["a.csv", "b.csv"]),
        ("PATTERN = '[b-z].csv'", ["b.csv"]),
        ("PATTERN = 'sub*/c.{csv,txt}'", ["sub1/c.csv"]),
        ("PATTERN = 'sub1'", ["sub1/c.csv"]),
        ("FILES = ('sub1/c.csv', 'a.csv')", ["a.csv", "sub1/c.csv"]),
    ],
)
def test_files_and_pattern_choose(settings: Settings, clause: str, paths: list[str]) -> None:
    land(settings, "a.csv", "b.csv", "sub1/c.csv")
    found = plan(settings, SQL.replace("CSV", f"CSV {clause}"), dry_run=True)
    assert sorted(file.path for file in found.new_files) == [f"in/{path}" for path in paths]


@pytest.mark.parametrize("source", ["in/a.csv", "in/a*.csv", "i[n]/a.csv", "./in//a.csv"])
def test_a_source_may_be_a_file_or_a_pattern(settings: Settings, source: str) -> None:
    land(settings, "a.csv", "b.csv")
    found = plan(settings, SQL.replace("'in'", f"'{source}'"), dry_run=True)
    assert [file.path for file in found.new_files] == ["in/a.csv"]


def test_a_lost_ledger_without_history_is_an_error_not_a_second_load(settings: Settings) -> None:
    land(settings, "a.csv")
    plan(settings)
    load(settings)  # its commit has no note
    root = Path(settings.table_root("bronze.t"))
    subprocess.run(["rm", "-r", str(root / STATE)], check=True)
    with pytest.raises(Exception, match="does not name all") as lost:
        plan(settings)
    assert lost.value.exit_code == 78  # type: ignore[attr-defined]


def test_a_missing_table_is_named_before_anything_is_planned(settings: Settings) -> None:
    land(settings, "a.csv")
    with pytest.raises(CopyIntoError) as missing:
        plan(settings, "COPY INTO bronze.t FROM 'in' FILEFORMAT = CSV")
    assert missing.value.condition == "DELTA_MISSING_DELTA_TABLE_COPY_INTO"
    assert not Path(settings.table_root("bronze.t")).exists()


@pytest.mark.slow
def test_a_hundred_thousand_known_files_and_nothing_new_need_no_jvm(settings: Settings) -> None:
    folder = Path(settings.landing) / "in"
    for number in range(MANY):
        (folder / f"{number}.csv").touch()
    plan(settings)
    load(settings)
    assert len(DeltaTable(settings.table_root("bronze.t")).to_pyarrow_table()) == MANY
    run = subprocess.run(
        [Path(sys.executable).with_name("sluice"), "copy-into", SQL, "--json"],
        env={"SLUICE_HOME": str(settings.home), "PATH": "/nonexistent"},  # no Java there
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, '"num_affected_rows": 0' in run.stdout) == (0, True), run.stderr
