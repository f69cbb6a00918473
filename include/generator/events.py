"""Events of users, batch by batch. Pure: decided by the settings alone, so that the same seed gives the same events.

More batches go on where fewer ended: the first ones are the same.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

Event = dict[str, Any]
TYPES = ("view", "click", "add_to_cart", "purchase", "logout")
TYPE_WEIGHTS = (60, 25, 8, 5, 2)
COUNTRIES = ("DE", "FR", "GB", "IN", "JP", "US")
PLANS = ("free", "plus", "team")
LATE_SECONDS = (60, 600)
# A user's events belong to one session until so many seconds of the clock have passed.
SESSION_SECONDS = 1800
START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Stream:
    """What is made: `batches` of `seconds` each at `rate` events a second.

    `late` of the events (0 to 1) are 60 to 600 s older than the batch they come in; `duplicates` come a second time,
    in the same or the next batch. `skew` is the exponent of the users' activity: 0 for even, 1 for a few busy ones.
    """

    rate: float = 100.0
    batches: int = 10
    seconds: int = 60
    late: float = 0.1
    duplicates: float = 0.01
    users: int = 1000
    skew: float = 1.0
    seed: int = 1
    start: datetime = START


def batches(stream: Stream, begin: int = 0) -> Iterator[list[Event]]:
    """The batches from number `begin` (from 0) on, each with its events in the order of arrival.

    A batch is decided by the settings and its number alone: it need not be told what came before it.
    """
    weights = [1 / (rank + 1) ** stream.skew for rank in range(stream.users)]
    carried = _batch(stream, weights, begin - 1)[1] if begin else []
    for number in range(begin, stream.batches):
        events, after = _batch(stream, weights, number)
        yield [*events[0], *carried, *events[1]]
        carried = after


def _batch(stream: Stream, weights: list[float], number: int) -> tuple[tuple[list[Event], list[Event]], list[Event]]:
    """The events of a batch and those of them that come again in it; and those that come again in the next one."""
    rng = random.Random(f"{stream.seed}/{number}")
    begin = stream.start + timedelta(seconds=number * stream.seconds)
    count = round(stream.rate * stream.seconds)
    arrivals = sorted(rng.uniform(0, stream.seconds) for _ in range(count))
    users = rng.choices(range(stream.users), weights, k=count)
    events = [_event(rng, stream, begin, *pair) for pair in zip(arrivals, users, strict=True)]
    again: tuple[list[Event], list[Event]] = ([], [])
    for event in events:
        if rng.random() < stream.duplicates:
            again[rng.random() < 0.5].append(event)  # noqa: PLR2004
    return (events, again[0]), again[1]


def users(stream: Stream) -> list[Event]:
    """A table of the users, to join with. A user is the same one whatever the seed and the number of others."""
    return [_profile(number) for number in range(stream.users)]


def _profile(number: int) -> Event:
    rng = random.Random(_user(number))
    return {"user_id": _user(number), "country": rng.choice(COUNTRIES), "plan": rng.choice(PLANS)}


def _event(rng: random.Random, stream: Stream, begin: datetime, arrival: float, user: int) -> Event:
    at = begin + timedelta(seconds=arrival)
    if rng.random() < stream.late:
        at -= timedelta(seconds=rng.uniform(*LATE_SECONDS))
    kind = rng.choices(TYPES, TYPE_WEIGHTS)[0]
    session = int(at.timestamp() // SESSION_SECONDS)
    return {
        "event_id": f"{rng.getrandbits(64):016x}",
        "timestamp": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "user_id": _user(user),
        "event_type": kind,
        "value": round(rng.uniform(1, 200), 2) if kind == "purchase" else 0.0,
        "session_id": f"{_user(user)}-{session:06d}",
    }


def _user(number: int) -> str:
    return f"user-{number:06d}"
