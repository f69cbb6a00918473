"""When to bring a snapshot up to date ahead of its next use: from how often the table changes and how often it is used.

A join never waits for this: it takes the newest version whatever this says, and makes the snapshot if it must. This
decides only how much is made ahead. Pure: times are seconds since 1970.
"""

from collections.abc import Sequence
from dataclasses import dataclass

RECENT = 20  # how many of the last changes and uses are looked at
# A snapshot is made this many times its making before the use that is expected.
LEAD = 3.0


@dataclass(frozen=True)
class Bounds:
    """Seconds: a snapshot is made anew no sooner than `least` after the last, and no later than `most`."""

    least: float
    most: float


@dataclass(frozen=True)
class Observed:
    """What was seen: when the table's data changed, when runs used the snapshot, when and how fast it was made."""

    changes: Sequence[float]
    uses: Sequence[float]
    made_at: float | None
    made_in: float = 0.0


@dataclass(frozen=True)
class Decision:
    """Whether to refresh now, why, and the interval in seconds that holds at present."""

    due: bool
    why: str
    interval: float


def decide(now: float, seen: Observed, bounds: Bounds) -> Decision:
    """Whether a table that has changed is worth a refresh now.

    The interval is the longer of the mean time between changes and that between uses, within the bounds: making a
    snapshot that is outdated, or made anew, before anybody reads it is work for nothing. A use that is expected soon
    comes first.
    """
    interval = _interval(seen, bounds)
    if seen.made_at is None:
        return Decision(due=True, why="there is no snapshot yet", interval=interval)
    age = now - seen.made_at
    if age < bounds.least:
        return Decision(due=False, why=f"made {age:.0f} s ago, less than {bounds.least:.0f} s", interval=interval)
    if age >= interval:
        return Decision(due=True, why=f"made {age:.0f} s ago; the interval is {interval:.0f} s", interval=interval)
    expected = _next_use(seen)
    if expected is not None and now >= expected - LEAD * seen.made_in - bounds.least:
        return Decision(due=True, why=f"the next use is expected in {expected - now:.0f} s", interval=interval)
    return Decision(due=False, why=f"made {age:.0f} s ago; the interval is {interval:.0f} s", interval=interval)


def _interval(seen: Observed, bounds: Bounds) -> float:
    gaps = [gap for gap in (_mean_gap(seen.changes), _mean_gap(seen.uses)) if gap is not None]
    return min(bounds.most, max([bounds.least, *gaps]))


def _next_use(seen: Observed) -> float | None:
    gap = _mean_gap(seen.uses)
    return None if gap is None else max(seen.uses) + gap


def _mean_gap(times: Sequence[float]) -> float | None:
    """Mean seconds between the recent times; None with fewer than two."""
    recent = sorted(times)[-RECENT:]
    return None if len(recent) < 2 else (recent[-1] - recent[0]) / (len(recent) - 1)  # noqa: PLR2004
