"""What a kill or a lost file leaves of a table's memory, and what the next statement makes of it."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake

from include.config.errors import StateLost
from include.config.settings import Settings
from include.copy_into.plan import CopyPlan
from include.copy_into.recovery import account
from include.copy_into.results import Rejected, iter_files, over, rejection_of
from include.copy_into.state import STATE, TableState
from include.copy_into.statement import read_statement
from include.ledger.ledger import Ledger
from include.ledger.outcomes import SOURCE_FILE
from include.ledger.target import app_id
from tests.unit.copy_into.playing import SQL, files_of, home, land, load, plan

FORCED = SQL.replace("'mergeSchema'", "'force' = 'true', 'mergeSchema'")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return home(tmp_path)


def state_of(settings: Settings) -> TableState:
    return TableState(settings, "bronze.t")


def lose(settings: Settings, *names: str) -> None:
    for name in names:
        shutil.rmtree(Path(settings.table_root("bronze.t")) / STATE / name)


def loaded(settings: Settings, *names: str, **how: Any) -> CopyPlan:
    """Land files, each loaded by a statement of its own; returns the last one's plan."""
    for name in names:
        land(settings, name)
        planned = plan(settings)
        load(settings, noted=True, **how)
    return planned


def statuses(settings: Settings) -> list[tuple[str, str]]:
    return [(row["path"], row["status"]) for row in iter_files(settings, "bronze.t")]


def reject(settings: Settings) -> None:
    """Play the rejection of the pending batch."""
    state = state_of(settings)
    failure = {"error_class": "X", "message": "no", "remedy": "", "exit_code": 65}
    state.reject(state.ledger().last_batch, failure)
    load(settings, "rejected")


def test_a_ledger_whose_rebuilding_was_killed_is_rebuilt_to_its_end(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded(settings, "a.csv", "b.csv", "c.csv")
    lose(settings, "ledger", "outcomes")
    monkeypatch.setattr(Ledger, "append", dying_after(2, Ledger.append))
    with pytest.raises(KeyboardInterrupt):
        plan(settings)
    monkeypatch.undo()
    assert state_of(settings).ledger().last_batch == 2
    assert not plan(settings).has_work
    assert statuses(settings) == [(f"in/{name}.csv", "loaded") for name in "abc"]


def dying_after(times: int, append: Callable[..., Any]) -> Callable[..., Any]:
    """`append`, until it was called so often; then the process is interrupted before it does anything."""
    calls = iter(range(times))

    def dying(*arguments: Any, **options: Any) -> Any:
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return append(*arguments, **options)

    return dying


def test_a_history_that_was_cleaned_away_is_not_taken_for_all_that_was_loaded(settings: Settings) -> None:
    loaded(settings, "a.csv", "b.csv", "c.csv")
    target = DeltaTable(settings.table_root("bronze.t"))
    target.create_checkpoint()
    log = Path(settings.table_root("bronze.t")) / "_delta_log"
    for version in range(2):
        (log / f"{version:020}.json").unlink()
    lose(settings, "ledger")
    with pytest.raises(StateLost, match="does not name all"):
        plan(settings)


def test_a_lost_ledger_gives_no_batch_the_number_of_one_that_is_over(settings: Settings) -> None:
    loaded(settings, "a.csv")
    land(settings, "b.csv")
    plan(settings)
    reject(settings)
    lose(settings, "ledger")
    again = plan(settings)
    assert files_of(settings, again) == [("in/b.csv", 1)]
    assert (again.statements[0].batch, over(settings, again)) == (3, False)
    load(settings, noted=True)
    assert not plan(settings).has_work


@pytest.mark.parametrize("more", [("ledger",), ("rejections",), ()])
def test_lost_outcomes_do_not_make_a_rejected_file_a_loaded_one(settings: Settings, more: tuple[str, ...]) -> None:
    land(settings, "a.csv")
    plan(settings)
    reject(settings)
    (Path(settings.landing) / "in" / "a.csv").unlink()
    loaded(settings, "b.csv")
    lose(settings, "outcomes", *more)
    land(settings, "a.csv")
    again = plan(settings)
    assert [path for path, _ in files_of(settings, again)] == ["in/a.csv"]


def test_outcomes_are_those_of_the_commit_whatever_an_attempt_after_it_decided(settings: Settings) -> None:
    land(settings, "a.csv")
    plan(settings)
    load(settings, noted=True, outcomes=False)
    state = state_of(settings)
    [planned] = state.batches(1, 1)
    wrong = {"path": "in/a.csv", "version": 1, "status": "rejected", "records": 9, "rows_loaded": 9}
    state.decide(1, {"outcomes": [{**wrong, "rows_quarantined": 0, "error": None}]})
    [outcome] = account(state, planned, "later")
    assert (outcome.status, outcome.rows_loaded, outcome.table_version) == ("loaded", 1, 0)


def test_a_table_that_was_made_anew_beside_the_old_memory_is_told(settings: Settings) -> None:
    loaded(settings, "a.csv")
    shutil.rmtree(Path(settings.table_root("bronze.t")) / "_delta_log")
    with pytest.raises(StateLost, match=f"remove {settings.table_root('bronze.t')}/{STATE}"):
        plan(settings)
    shutil.rmtree(Path(settings.table_root("bronze.t")) / STATE)
    assert files_of(settings, plan(settings)) == [("in/a.csv", 1)]


def test_a_cleared_task_whose_statement_was_corrected_loads_by_the_new_text(settings: Settings) -> None:
    wrong, right = SQL.replace("CSV", "JSON"), SQL
    land(settings, "a.csv")
    plan(settings, wrong, "scheduled")
    reject(settings)
    with pytest.raises(Rejected):  # also in a job that finds all of it done
        rejection_of(settings, [read_statement(wrong)], "scheduled", {"bronze.t": 1})
    again = plan(settings, right, "scheduled")
    assert files_of(settings, again) == [("in/a.csv", 2)]
    intent = state_of(settings).intent_of(2)
    assert intent is not None
    assert intent.sql == right
    load(settings)
    rejection_of(settings, [read_statement(right)], "scheduled", {"bronze.t": 1})


def test_a_cleared_task_whose_files_were_mended_is_no_failure_any_more(settings: Settings) -> None:
    land(settings, "a.csv")
    plan(settings, FORCED, "scheduled")
    reject(settings)
    assert files_of(settings, plan(settings, FORCED, "scheduled")) == [("in/a.csv", 2)]
    load(settings)
    rejection_of(settings, [read_statement(FORCED)], "scheduled", {"bronze.t": 1})


def test_a_planned_statement_that_is_not_understood_any_more_keeps_nobody_from_planning(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    land(settings, "a.csv")
    plan(settings)
    monkeypatch.setattr("include.copy_into.state.read_statement", not_understood)
    land(settings, "b.csv")
    assert files_of(settings, plan(settings, FORCED)) == [("in/a.csv", 2), ("in/b.csv", 1)]
    assert [row["statement"] for row in iter_files(settings, "bronze.t")] == [SQL, FORCED, FORCED]


def not_understood(*_: object) -> None:
    raise ValueError("an option that is refused now")


def test_files_of_a_pipeline_whose_ledger_is_lost_are_known_by_the_rows_of_the_table(settings: Settings) -> None:
    land(settings, "a.csv", "b.csv")
    rows = pa.table({"id": [1], SOURCE_FILE: ["in/a.csv"]})
    done = CommitProperties(app_transactions=[Transaction(app_id("trips"), 1)])
    write_deltalake(settings.table_root("bronze.t"), rows, commit_properties=done)
    assert files_of(settings, plan(settings)) == [("in/b.csv", 1)]
    lose(settings, "ledger")
    Path(settings.state_root("trips", "failures")).mkdir(parents=True)  # of a run that found its ledger lost
    assert files_of(settings, plan(settings)) == [("in/b.csv", 1)]
