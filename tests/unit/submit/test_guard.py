"""The guard, with real processes: `sleep` in the place of the JVM, since both are only what the guard has become."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from include.config.exit_codes import ExitCode
from include.submit.command import GuardMissing, _lack, check_guard, guard
from include.submit.job import DRIVER_PYTHON

Script = Callable[[str, str], Path]
SECONDS = 2.0
# A program that starts a guarded command, tells its process id, and waits for it.
PARENT = """
import subprocess, sys
from pathlib import Path
from include.submit.command import guard
process = subprocess.Popen([*guard(Path(sys.argv[1])), *sys.argv[2:]])
print(process.pid, flush=True)
sys.exit(process.wait())
"""


class Guarded:
    """A program that runs a guarded command; `pid` is the command's process."""

    def __init__(self, lock: Path, *command: str) -> None:
        self.lock = lock
        words = [sys.executable, "-c", PARENT, str(lock), *command]
        self.parent = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert self.parent.stdout is not None
        self.pid = int(self.parent.stdout.readline())

    def end(self) -> None:
        self.parent.kill()
        self.parent.communicate()


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "locks" / "bronze__trips.lock"


@pytest.fixture
def holder(lock: Path) -> Iterator[Guarded]:
    # Two layers, each replaced by the next, as spark-submit is by java.
    guarded = Guarded(lock, "sh", "-c", "exec sh -c 'exec sleep 60'")
    _until(lambda: _name(guarded.pid) == "sleep")
    yield guarded
    guarded.end()


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


def _until(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return met


def _try(lock: Path) -> int:
    return subprocess.run([*guard(lock), "true"], check=False, timeout=10).returncode


def test_a_second_writer_ends_with_75_at_once(holder: Guarded) -> None:
    assert _try(holder.lock) == ExitCode.LOCKED


def test_tables_do_not_lock_each_other(holder: Guarded, tmp_path: Path) -> None:
    assert _try(tmp_path / "locks" / "bronze__other.lock") == 0


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_the_job_ends_with_its_caller_and_frees_the_table(holder: Guarded, how: signal.Signals) -> None:
    holder.parent.send_signal(how)
    holder.parent.wait()
    assert _until(lambda: not _runs(holder.pid), SECONDS)
    assert _until(lambda: _try(holder.lock) == 0, SECONDS)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_job_frees_the_table(holder: Guarded, how: signal.Signals) -> None:
    os.kill(holder.pid, how)
    assert holder.parent.wait(SECONDS) != 0
    assert _try(holder.lock) == 0


def test_the_exit_code_of_the_job_comes_through(lock: Path) -> None:
    guarded = Guarded(lock, "sh", "-c", "exit 65")
    assert guarded.parent.wait(10) == ExitCode.DATA_REFUSED
    guarded.end()


def test_a_python_driver_ends_with_its_jvm(script: Script) -> None:
    """The JVM's stand-in starts the driver as a child and is killed; the driver must not go on writing."""
    jvm = script("jvm", f"{DRIVER_PYTHON} -c 'import time; print(\"up\", flush=True); time.sleep(60)' & echo $!; wait")
    environment = {**os.environ, "PYSPARK_PYTHON": sys.executable}
    process = subprocess.Popen([str(jvm)], stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    driver = int(process.stdout.readline())
    assert process.stdout.readline().strip() == "up"
    process.kill()
    process.wait()
    assert _until(lambda: not _runs(driver), SECONDS)
    process.stdout.close()


def test_a_machine_without_the_tools_is_told_which(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script("bin/flock", "echo an old flock")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    _lack.cache_clear()
    try:
        with pytest.raises(GuardMissing) as raised:
            check_guard()
    finally:
        _lack.cache_clear()
    assert raised.value.exit_code is ExitCode.CONFIG
    assert "no `setpriv`" in raised.value.message
    assert "--no-fork" in raised.value.message


def test_a_job_of_two_tables_holds_both_locks_or_starts_nothing(holder: Guarded, tmp_path: Path) -> None:
    other = tmp_path / "locks" / "bronze__other.lock"
    started = tmp_path / "started"
    for locks in ((holder.lock, other), (other, holder.lock)):
        refused = subprocess.run([*guard(*locks), "touch", str(started)], check=False)
        assert (refused.returncode, started.exists()) == (ExitCode.LOCKED, False)
    holder.parent.kill()
    holder.parent.wait()
    assert _until(lambda: _try(holder.lock) == 0, SECONDS)
    nested = subprocess.run([*guard(other, holder.lock), *guard(other), "true"], check=False)
    assert nested.returncode == ExitCode.LOCKED  # the outer guard holds `other`
    assert subprocess.run([*guard(other, holder.lock), "true"], check=False).returncode == 0
