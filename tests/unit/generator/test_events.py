"""Made-up events are what their settings say, and the same again with the same seed."""

from collections import Counter
from datetime import datetime, timedelta

import pytest

from include.config.reader import load_pipeline, pipeline_files
from include.config.settings import PROJECT_ROOT
from include.generator.events import Stream, batches, users

EXAMPLES = pipeline_files(PROJECT_ROOT / "examples" / "events")
STREAM = Stream(rate=50, batches=20, seconds=60, users=200, seed=3)


def test_the_same_seed_gives_the_same_events_and_another_one_others() -> None:
    assert list(batches(STREAM)) == list(batches(STREAM))
    assert next(batches(Stream(seed=4))) != next(batches(Stream(seed=5)))


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


def test_examples_are_found() -> None:
    assert len(EXAMPLES) == 8


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_example_pipeline_can_be_run(file) -> None:  # type: ignore[no-untyped-def]
    assert load_pipeline(file).name == file.stem
