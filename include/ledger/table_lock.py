"""The lock of a target table, for a process that is its writer itself: the notebook's function, and a plan that puts
COPY INTO's state in order. Jobs get it by flock(1) before their JVM starts (include/submit/command.py); it is the same
file.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from include.config.errors import StorageError, TableLocked
from include.config.settings import Settings

POLL_SECONDS = 0.2


def open_lock(lock: Path) -> int:
    """The descriptor of a lock file, which is made where there is none; its lock ends when it is closed.

    Raises:
        StorageError: the lock file cannot be made.
    """
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        return os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise StorageError(
            f"The lock file {lock} cannot be made: {error.strerror}.",
            remedy="Make its folder writable, or set SLUICE_HOME.",
        ) from error


@contextmanager
def table_lock(settings: Settings, table: str, wait: float) -> Iterator[None]:
    """Hold the table's lock, which ends with the process at the latest; `wait` is in seconds.

    Raises:
        TableLocked: another process held it all that time.
        StorageError: the lock file cannot be made.
    """
    descriptor = open_lock(settings.lock_file(table))
    try:
        _take(descriptor, settings, table, wait)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int, settings: Settings, table: str, wait: float) -> None:
    deadline = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise TableLocked(
                    f"Another run is writing {table}.",
                    remedy=f"Wait for it to end and run again. `fuser {settings.lock_file(table)}` names its process.",
                ) from None
            time.sleep(POLL_SECONDS)
        else:
            return
