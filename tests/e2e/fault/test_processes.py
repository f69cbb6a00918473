"""Each record is loaded once whatever becomes of the processes: two runs at once, a launcher that dies, a retry."""

import fcntl
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.e2e.fault.checker import problems
from tests.e2e.fault.home import Home, group_members
from tests.e2e.fault.injector import Injector, Point
from tests.e2e.fault.kills import recovered, target_version
from tests.e2e.fault.scenario import drop_first

ORPHAN_SECONDS = 2.0


def _until(true: Callable[[], bool], process: "subprocess.Popen[str]", seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert process.poll() is None, f"the run ended with {process.returncode} too early"
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def _is_free(lock: Path) -> bool:
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


@pytest.fixture
def working(tmp_path: Path) -> Iterator["tuple[Home, subprocess.Popen[str]]"]:
    """A home and a run in it whose JVM has begun its first batch."""
    home = Home(tmp_path / "home")
    home.configure()
    drop_first(home)
    process = home.start()
    _until((home.state / "batches" / "1.json").exists, process)
    yield home, process
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def test_of_two_runs_at_once_one_is_refused_with_75_and_nothing_is_doubled(
    working: "tuple[Home, subprocess.Popen[str]]",
) -> None:
    home, first = working
    second = home.start()
    refused = home.finish(second)
    assert first.poll() is None, "the first run must still be at work when the second one is refused"
    assert refused.returncode == 75
    assert refused.result["error"].startswith("[TableLocked]")
    assert home.finish(first).returncode == 0
    assert problems(home) == []


def test_killed_launcher_leaves_no_process_and_a_free_lock_and_another_slicing_loads_each_record_once(
    working: "tuple[Home, subprocess.Popen[str]]",
) -> None:
    home, launcher = working
    (lock,) = (home.folder / "locks").glob("*.lock")
    assert not _is_free(lock)
    os.kill(launcher.pid, signal.SIGKILL)
    died = time.monotonic()
    launcher.communicate()
    while group_members(launcher.pid) and time.monotonic() < died + ORPHAN_SECONDS:
        time.sleep(0.05)
    assert group_members(launcher.pid) == []
    assert _is_free(lock)
    home.drop("late.json", b'{"id": 50, "s": "late"}\n', 1_700_000_500)
    home.configure({"cloudFiles.maxFilesPerTrigger": 1})
    assert recovered(home) == []


@pytest.mark.slow
def test_file_retried_twice_with_a_kill_in_between_stands_there_once(
    injector: Injector, loaded_once: Path, tmp_path: Path
) -> None:
    shutil.copytree(loaded_once, tmp_path / "home")
    home = Home(tmp_path / "home")
    home.configure()
    before = target_version(home.target)
    commit = f"warehouse/bronze/t/_delta_log/{before + 1:020}.json"
    home.sluice("retry", home.pipeline, "in/c.json")
    assert home.run(injector.killing(home.folder, Point("put", commit), "after")).returncode == -signal.SIGKILL
    home.sluice("retry", home.pipeline, "in/c.json")
    assert recovered(home) == []
    assert target_version(home.target) == before + 2
