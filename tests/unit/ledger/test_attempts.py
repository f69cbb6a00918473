"""What follows from the way in which an attempt at a batch ended."""

from dataclasses import replace
from pathlib import Path

import pytest

from include.config.settings import load_settings
from include.ledger.attempts import Attempt, AttemptStore


@pytest.fixture
def store(tmp_path: Path) -> AttemptStore:
    return AttemptStore(load_settings({"SLUICE_HOME": str(tmp_path)}, tmp_path / "none.yaml"), "p")


def reading(store: AttemptStore, count: int, attempt: Attempt | None = None) -> None:
    paths = tuple(f"in/{number}" for number in range(count))
    store.write(1, replace(attempt or Attempt(), isolate=True, checking=paths))


def test_files_that_hang_together_are_read_in_smaller_groups_until_one_is_left(store: AttemptStore) -> None:
    sizes = []
    count = 1000
    while count > 1:
        reading(store, count, store.read(1))
        store.note_hang(1, 300.0)
        attempt = store.begin(1)
        assert (attempt.isolate, attempt.checking, dict(attempt.excluded)) == (True, (), {})
        count = attempt.together
        sizes.append(count)
    assert sizes == [125, 15, 1]
    reading(store, 1, store.read(1))
    store.note_hang(1, 300.0)
    assert list(store.begin(1).excluded) == ["in/0"]


def test_a_process_that_ended_without_a_word_while_it_read_a_group_splits_it_too(store: AttemptStore) -> None:
    reading(store, 16)
    assert (store.begin(1).together, store.begin(1).together) == (2, 2)
