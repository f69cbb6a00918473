"""Made-up events are what their settings say, and the same again with the same seed."""

import contextlib
import io
import json
import re
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from include.cli.main import main
from include.config.reader import load_pipeline, pipeline_files
from include.config.settings import PROJECT_ROOT
from include.generator.events import Stream, batches, users

EXAMPLES = pipeline_files(PROJECT_ROOT / "examples" / "events")
STREAM = Stream(rate=50, batches=20, seconds=60, users=200, seed=3)


def test_the_same_seed_gives_the_same_events_and_another_one_others() -> None:
    assert list(batches(STREAM)) == list(batches(STREAM))
    assert next(batches(Stream(seed=4))) != next(batches(Stream(seed=5)))


def test_more_batches_go_on_where_fewer_ended() -> None:
    assert list(batches(replace(STREAM, batches=30)))[:20] == list(batches(STREAM))


def test_a_user_is_the_same_one_whatever_the_seed_and_the_number_of_users() -> None:
    assert users(replace(STREAM, users=300, seed=9))[:200] == users(STREAM)


def test_each_event_has_six_fields_and_the_rate_is_kept() -> None:
    found = list(batches(replace(STREAM, duplicates=0.0)))
    assert [len(events) for events in found] == [3000] * 20
    fields = {tuple(event) for events in found for event in events}
    assert fields == {("event_id", "timestamp", "user_id", "event_type", "value", "session_id")}
    types = {event["event_type"] for events in found for event in events}
    assert types == {"view", "click", "add_to_cart", "purchase", "logout"}


def test_a_session_is_of_one_user_and_half_an_hour() -> None:
    sessions: dict[str, set[tuple[str, float]]] = {}
    for event in (event for events in batches(STREAM) for event in events):
        half_hour = datetime.fromisoformat(event["timestamp"]).timestamp() // 1800
        sessions.setdefault(event["session_id"], set()).add((event["user_id"], half_hour))
    assert all(len(of) == 1 for of in sessions.values())
    assert all(re.fullmatch(r"user-\d{6}-\d{6}", name) for name in sessions)


def test_without_lateness_all_events_are_of_their_batch_and_without_duplicates_none_comes_twice() -> None:
    for number, events in enumerate(batches(replace(STREAM, late=0.0, duplicates=0.0))):
        begin = STREAM.start + timedelta(seconds=number * STREAM.seconds)
        ages = [(datetime.fromisoformat(event["timestamp"]) - begin).total_seconds() for event in events]
        assert 0 <= min(ages) <= max(ages) <= STREAM.seconds
        assert len({event["event_id"] for event in events}) == len(events)


def test_a_tenth_is_one_to_ten_minutes_late_and_a_hundredth_comes_twice() -> None:
    late = 0
    seen: Counter[str] = Counter()
    for number, events in enumerate(batches(STREAM)):
        begin = STREAM.start + timedelta(seconds=number * STREAM.seconds)
        seen.update(event["event_id"] for event in events)
        ages = [(begin - datetime.fromisoformat(event["timestamp"])).total_seconds() for event in events]
        assert max(ages) <= 600 + STREAM.seconds
        late += sum(age > 0 for age in ages)
    made = STREAM.rate * STREAM.seconds * STREAM.batches
    assert len(seen) == made
    assert 0.08 < late / made < 0.13
    assert 0.005 < sum(count == 2 for count in seen.values()) / made < 0.015
    assert max(seen.values()) == 2


def test_skew_makes_a_few_users_busy_and_each_event_has_a_known_user() -> None:
    counts = Counter(event["user_id"] for events in batches(STREAM) for event in events)
    assert counts.most_common(1)[0][1] > 10 * sum(counts.values()) / STREAM.users
    assert counts.keys() <= {user["user_id"] for user in users(STREAM)}


def test_without_skew_all_users_are_alike() -> None:
    even = batches(replace(STREAM, skew=0.0))
    counts = Counter(event["user_id"] for events in even for event in events)
    assert max(counts.values()) < 2 * sum(counts.values()) / STREAM.users


def generate(*words: str) -> dict[str, int]:
    """The command's figures."""
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        assert main(["generate", "in", "--rate", "2", "--seconds", "30", *words, "--json"]) == 0
    figures: dict[str, int] = json.loads(shown.getvalue())
    return figures


def test_command_writes_a_file_a_batch_and_again_touches_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_HOME", str(tmp_path))
    assert generate("--batches", "3")["written"] == 3
    first = {file: file.stat().st_mtime_ns for file in (tmp_path / "landing").rglob("*.json")}
    assert {file.parent.name for file in first} == {"in", "in_users"}
    figures = generate("--batches", "5", "--users", "1000")
    assert (figures["files"], figures["written"]) == (5, 2)
    assert {file: file.stat().st_mtime_ns for file in first} == first
    lines = [line for file in (tmp_path / "landing" / "in").iterdir() for line in file.read_text().splitlines()]
    assert len(lines) == figures["events"]


def test_command_refuses_a_share_that_is_none_and_a_folder_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SLUICE_HOME", str(tmp_path))
    assert main(["generate", "--late", "110%"]) == 64
    assert "--late must be a share from 0% to 100%" in capsys.readouterr().err
    assert main(["generate", "../elsewhere"]) == 64
    assert not (tmp_path / "landing").exists()


def test_examples_are_found() -> None:
    assert len(EXAMPLES) == 8


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_example_pipeline_can_be_run(file) -> None:  # type: ignore[no-untyped-def]
    assert load_pipeline(file).name == file.stem
