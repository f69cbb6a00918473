"""Locks by flock: the kernel lets go of them when their process ends, however it ends."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from include.config.errors import StorageError

LEASE = "lease"
POLL_SECONDS = 0.05


class Lease:
    """A snapshot folder that stays while this is open. Closing it twice does nothing."""

    def __init__(self, folder: Path, descriptor: int) -> None:
        self.folder = folder
        self._descriptor: int | None = descriptor

    def touch(self) -> None:
        """Note that the folder is in use now."""
        if self._descriptor is not None:
            os.utime(self._descriptor)

    def close(self) -> None:
        """Let the folder be removed."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> "Lease":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def lease(folder: Path) -> Lease | None:
    """Hold a snapshot's folder; None where it is not there, or is being removed."""
    try:
        descriptor = os.open(folder / LEASE, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), (folder / LEASE).stat()):
            return Lease(folder, descriptor)
    except (BlockingIOError, FileNotFoundError):
        pass  # whoever removes snapshots has it, or had it: it counts as not there
    os.close(descriptor)
    return None


@contextmanager
def unused(folder: Path) -> Iterator[bool]:
    """Whether nobody holds the folder; nobody can begin to while this is open."""
    try:
        descriptor = os.open(folder / LEASE, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield True  # without its lease file nobody can hold it
        return
    try:
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield True
            return
        yield False
    finally:
        os.close(descriptor)


@contextmanager
def only_one(file: Path, patience: float) -> Iterator[None]:
    """Be the only process in here.

    Raises:
        StorageError: another one was there all the time, for `patience` seconds.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise StorageError(
                        f"Another process has held {file} for {patience:.0f} s.",
                        remedy=f"`fuser {file}` names it; run again when it has ended.",
                    ) from None
                time.sleep(POLL_SECONDS)
        yield
    finally:
        os.close(descriptor)
