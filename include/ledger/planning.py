"""Ingest pipelines and COPY INTO of one table keep ledgers of their own, and each looks into the other's before it
plans. This lock keeps one from planning between the other's look and its commit: else both could take one file.

Held on this host only, for as long as a plan takes, freed by the end of the process. Ingest pipelines hold it together
(a ledger refuses two plans at a time by itself); COPY INTO holds it alone.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from include.config.settings import Settings
from include.ledger.table_lock import open_lock


@contextmanager
def planning(settings: Settings, table: str, *, alone: bool) -> Iterator[None]:
    """Hold the planning lock of a target table.

    Raises:
        StorageError: the lock file cannot be made.
    """
    descriptor = open_lock(settings.lock_file(table).with_suffix(".plan"))
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)
