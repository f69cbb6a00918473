"""Each record is loaded once whatever becomes of the state beside the target: lost, damaged or of yesterday."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from include.config.errors import StateLost, UsageError
from include.ledger.attempts import Attempt, AttemptStore, Decision
from include.ledger.replan import retry
from include.probe.probe import FileReport, ProbeTask
from include.probe.workers import ProbePool
from tests.spark.conftest import Landing

STATE = Path("state") / "p"


def lines(*ids: int) -> str:
    return "".join(f'{{"id": {number}}}\n' for number in ids)


def twice_loaded(landing: Landing) -> None:
    """Two runs of one batch each; the second file has a bad record."""
    landing.drop("a.json", lines(1, 2))
    landing.run()
    landing.drop("b.json", lines(3) + '{"id"\n')
    landing.run()


def assert_next_run_loads_only_what_is_new(landing: Landing) -> None:
    landing.drop("z.json", lines(9))
    landing.run()
    assert landing.values("id") == [1, 2, 3, 9]
    assert [row["path"] for row in landing.quarantine()] == ["in/b.json"]
    assert not landing.run().has_work


def newest(folder: Path) -> Path:
    return max((file for file in folder.iterdir() if file.name.isdigit()), key=lambda file: int(file.name))


def test_deleted_checkpoint_costs_no_row(landing: Landing) -> None:
    twice_loaded(landing)
    shutil.rmtree(landing.home / STATE / "checkpoint")
    assert_next_run_loads_only_what_is_new(landing)


def test_checkpoint_copied_back_from_yesterday_doubles_no_row(landing: Landing, tmp_path: Path) -> None:
    landing.drop("a.json", lines(1, 2))
    landing.run()
    shutil.copytree(landing.home / STATE / "checkpoint", tmp_path / "yesterday")
    landing.drop("b.json", lines(3) + '{"id"\n')
    landing.run()
    shutil.rmtree(landing.home / STATE / "checkpoint")
    shutil.move(tmp_path / "yesterday", landing.home / STATE / "checkpoint")
    assert_next_run_loads_only_what_is_new(landing)


@pytest.mark.parametrize("folder", ["offsets", "commits"])
def test_checkpoint_file_of_zero_bytes_costs_no_row(landing: Landing, folder: str) -> None:
    twice_loaded(landing)
    newest(landing.home / STATE / "checkpoint" / folder).write_bytes(b"")
    assert_next_run_loads_only_what_is_new(landing)


def test_checkpoint_that_runs_ahead_of_the_target_is_put_aside_and_the_batch_is_loaded(landing: Landing) -> None:
    twice_loaded(landing)
    landing.drop("z.json", lines(9))
    landing.discover()
    # What a copy taken between the checkpoint and the table leaves: the stream says that batch 3 is done.
    ahead = landing.home / "ahead"
    shutil.copytree(landing.home / "warehouse", ahead)
    landing.load()
    shutil.rmtree(landing.home / "warehouse")
    shutil.move(ahead, landing.home / "warehouse")
    landing.load()
    assert landing.values("id") == [1, 2, 3, 9]
    assert list((landing.home / STATE).glob("checkpoint.*"))


def test_deleted_outcomes_are_rebuilt_with_the_same_figures(landing: Landing) -> None:
    twice_loaded(landing)
    landing.drop("plain.json.gz", "not gzip")
    landing.drop("empty.json", "")
    landing.run()
    before = landing.files()
    shutil.rmtree(landing.home / STATE / "outcomes")
    assert {row["status"] for row in landing.files().values()} == {"pending"}
    assert not landing.run().has_work
    after = landing.files()
    assert after.keys() == before.keys()
    for name, row in before.items():
        assert after[name] == row, name


def test_file_that_changes_after_a_kill_in_mid_accounting_is_a_second_version_like_any_other(landing: Landing) -> None:
    file = landing.drop("a.json", lines(1, 2))
    landing.run()
    # What a kill between the target's commit and the outcomes leaves behind.
    shutil.rmtree(landing.home / STATE / "outcomes")
    decided = Attempt(schema_version=1, attempts=1, files={"in/a.json": Decision("load", 2)})
    AttemptStore(landing.settings, "p").write(1, decided)
    file.write_text(lines(3))
    landing.run()
    assert landing.values("id") == [1, 2, 3]


def test_left_over_documents_of_done_batches_change_nothing(landing: Landing) -> None:
    twice_loaded(landing)
    store = AttemptStore(landing.settings, "p")
    for batch in (1, 2, 3):
        store.write(batch, Attempt(schema_version=1, attempts=1))
    assert_next_run_loads_only_what_is_new(landing)


def test_batches_planned_before_a_kill_are_loaded_once_under_another_slicing(landing: Landing) -> None:
    landing.configure({"cloudFiles.maxFilesPerTrigger": 2})
    for number in range(5):
        landing.drop(f"{number}.json", lines(number))
    assert landing.discover().pending_batches == 3
    landing.configure({"cloudFiles.maxFilesPerTrigger": 1})
    for number in range(5, 7):
        landing.drop(f"{number}.json", lines(number))
    assert landing.run().pending_batches == 5
    assert landing.values("id") == list(range(7))


def test_file_retried_again_before_it_is_loaded_is_refused_and_stands_there_once(landing: Landing) -> None:
    twice_loaded(landing)
    retry(landing.pipeline, landing.settings, ["in/b.json"], "retry-1")
    with pytest.raises(UsageError):
        retry(landing.pipeline, landing.settings, ["in/b.json"], "retry-2")
    landing.run()
    retry(landing.pipeline, landing.settings, ["in/b.json"], "retry-3")
    landing.run()
    assert landing.values("id") == [1, 2, 3]
    assert len(landing.quarantine()) == 1


def test_deleted_ledger_stops_the_run_and_writes_nothing(landing: Landing) -> None:
    twice_loaded(landing)
    shutil.rmtree(landing.home / STATE / "ledger")
    before = _contents(landing.home)
    with pytest.raises(StateLost):
        landing.run()
    assert _contents(landing.home) == before


def test_deleted_target_is_loaded_again_and_each_record_once(landing: Landing) -> None:
    twice_loaded(landing)
    shutil.rmtree(landing.home / "warehouse")
    landing.run()
    assert landing.values("id") == [1, 2, 3]
    assert len(landing.quarantine()) == 1
    assert_next_run_loads_only_what_is_new(landing)


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Meddling(ProbePool):
    """A pool of real workers after whose first look something happens to the files, before Spark reads them."""

    def __init__(self, happens: Callable[[], object]) -> None:
        super().__init__(1)
        self._happens: list[Callable[[], object]] = [happens]

    def map(self, tasks: Sequence[ProbeTask], progress: Callable[[int], None] | None = None) -> list[FileReport]:
        reports = super().map(tasks, progress)
        while self._happens:
            self._happens.pop()()
        return reports


def load_meddled(landing: Landing, happens: Callable[[], object]) -> None:
    """Discover and load, with `happens` between the look at the files and their reading."""
    pool = Meddling(happens)
    try:
        landing.discover()
        landing.load(pool)
    finally:
        pool.close()


def test_file_that_grows_while_it_is_read_is_replaced_by_its_next_version(landing: Landing) -> None:
    landing.drop("a.json", lines(1))
    growing = landing.drop("b.json", lines(2))

    def grow() -> None:
        with growing.open("a") as file:
            file.write(lines(3))

    load_meddled(landing, grow)
    landing.run()
    assert landing.values("id") == [1, 2, 3]
    assert not landing.run().has_work


@pytest.mark.parametrize("when", ["before the look", "before the reading"])
def test_file_that_vanishes_after_it_was_planned_is_named_and_the_rest_is_loaded(landing: Landing, when: str) -> None:
    landing.drop("a.json", lines(1))
    vanishing = landing.drop("b.json", lines(2) + "\n" * 20_000)  # of smaller files the look keeps what Spark is given
    if when == "before the look":
        landing.discover()
        vanishing.unlink()
        landing.load()
    else:
        load_meddled(landing, vanishing.unlink)
    assert landing.values("id") == [1]
    assert landing.files()["b.json"]["status"] in {"quarantined", "superseded"}
    assert not landing.run().has_work


def test_batch_whose_attempts_ended_without_a_word_is_read_file_by_file_and_loaded(landing: Landing) -> None:
    landing.drop("a.json", lines(1))
    landing.drop("b.json", lines(2))
    landing.discover()
    for _ in range(3):
        AttemptStore(landing.settings, "p").begin(1)
    landing.load()
    assert landing.values("id") == [1, 2]
    assert not landing.quarantine()


def test_file_that_was_being_read_alone_when_the_process_ended_twice_is_named_and_the_rest_is_loaded(
    landing: Landing,
) -> None:
    landing.drop("a.json", lines(1))
    landing.drop("b.json", lines(2))
    landing.discover()
    store = AttemptStore(landing.settings, "p")
    for _ in range(2):
        attempt = store.begin(1)
        store.write(1, replace(attempt, isolate=True, checking=("in/b.json",)))
    landing.load()
    assert landing.values("id") == [1]
    account = landing.files()["b.json"]
    assert (account["status"], account["error"]) == (
        "quarantined",
        "reading it hung or ended the Spark process 2 times",
    )
    landing.drop("c.json", json.dumps({"id": 3}))
    landing.run()
    assert landing.values("id") == [1, 3]
