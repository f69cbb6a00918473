"""Races for the ledger: how often and how long a loser waits before it plans again."""

import random
from collections.abc import Iterator

from include.config.errors import LedgerContention

ATTEMPTS = 12
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0


def pauses() -> Iterator[float]:
    """For each attempt, the seconds to wait after it when it is lost: random, so that the losers do not meet again."""
    for attempt in range(ATTEMPTS):
        yield random.uniform(0, min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2**attempt))


def contention(pipeline: str) -> LedgerContention:
    """The error when the last attempt was lost too."""
    return LedgerContention(
        f"The ledger of pipeline {pipeline} was written by other processes in each of {ATTEMPTS} attempts.",
        remedy="Nothing was planned. Run again, and do not start many discoveries of one pipeline at a time.",
        pipeline=pipeline,
    )
