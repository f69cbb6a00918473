"""The refresh ahead of use: bounded, no more often than the table changes or is used, in time for the next use."""

import pytest

from include.cache.adaptive import Bounds, Observed, decide

BOUNDS = Bounds(least=60, most=3600)


def every(seconds: float, until: float, count: int = 5) -> list[float]:
    return [until - seconds * step for step in range(count)]


def test_without_a_snapshot_it_is_due() -> None:
    assert decide(1000, Observed([], [], None), BOUNDS).due


@pytest.mark.parametrize(
    ("changes", "uses", "interval"),
    [
        (10, 10, 60),  # never below the least
        (300, 100, 300),  # it changes more seldom than it is used
        (100, 300, 300),  # it is used more seldom than it changes
        (100, 86400, 3600),  # never above the most
    ],
)
def test_interval_follows_the_slower_of_changes_and_uses_within_the_bounds(
    changes: float, uses: float, interval: float
) -> None:
    now = 1e6
    seen = Observed(every(changes, now), every(uses, now), made_at=now - interval)
    assert decide(now, seen, BOUNDS).interval == pytest.approx(interval)
    assert decide(now, seen, BOUNDS).due


def test_it_is_made_in_time_for_the_use_that_is_expected_next() -> None:
    last_use = 1e6
    seen = Observed(every(50, last_use), every(1000, last_use), made_at=last_use - 10, made_in=20)
    assert not decide(last_use + 800, seen, BOUNDS).due
    due = decide(last_use + 900, seen, BOUNDS)
    assert due.due
    assert "next use" in due.why


def test_never_sooner_than_the_least_after_the_last() -> None:
    seen = Observed(every(1, 1000), every(1, 1000), made_at=1000)
    assert not decide(1059, seen, BOUNDS).due
    assert decide(1060, seen, BOUNDS).due
