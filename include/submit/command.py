"""The guarded spark-submit: one writer per table, and no JVM that outlives the run that started it.

    setpriv --pdeathsig KILL  flock -n -E 75 -F LOCK  spark-submit ...

Each of them replaces itself by the next (exec; hence flock's -F) and spark-submit by java, so one process id stands for
all: the death signal asked for by setpriv stays with the JVM, and the open lock is inherited by it, freed by its end.
KILL and not TERM: Spark's orderly farewell takes longer than the two seconds after which a retry may come, and every
state a kill leaves behind is one the next run repairs.

The signal follows the end of the *thread* that started the process: start jobs from a thread that waits for them.
"""

import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from include.config.errors import ConfigError, StorageError
from include.config.exit_codes import ExitCode
from include.submit.job import SparkJob, spark_home
from include.submit.secrets import properties_path


class GuardMissing(ConfigError):
    """Raised when the machine lacks setpriv or flock, the two tools that guard a job."""


def check_guard() -> None:
    """Make sure that this machine can guard a job.

    Raises:
        GuardMissing: setpriv or flock (of util-linux 2.33 or newer) is missing, as on macOS.
    """
    lacking = [
        why for tool, option in (("setpriv", "--pdeathsig"), ("flock", "--no-fork")) if (why := _lack(tool, option))
    ]
    if lacking:
        raise GuardMissing(
            f"A Spark job cannot be guarded here: {'; '.join(lacking)}.",
            remedy="Install util-linux 2.33 or newer (Linux). On macOS run Sluice in its container: docker compose up.",
        )


@cache
def _lack(tool: str, option: str) -> str:
    """Why `tool` is of no use, or an empty text."""
    path = shutil.which(tool)
    if path is None:
        return f"there is no `{tool}` on the PATH"
    usage = subprocess.run([path, "--help"], capture_output=True, text=True, timeout=10, check=False).stdout
    return "" if option in usage else f"{path} has no option {option}"


def guard(*lock_files: Path) -> list[str]:
    """The words to put before a command so that it holds `lock_files` and dies with the caller.

    The command ends with 75 at once where a lock is taken.

    Raises:
        GuardMissing: see `check_guard`.
        StorageError: a lock file cannot be made.
    """
    check_guard()
    words = ["setpriv", "--pdeathsig", "KILL"]
    for lock_file in lock_files:
        try:
            lock_file.parent.mkdir(parents=True, exist_ok=True)
            lock_file.touch()
        except OSError as error:
            raise StorageError(
                f"The lock file {lock_file} cannot be made: {error.strerror}.",
                remedy="Make its folder writable, or set SLUICE_HOME.",
            ) from error
        words += ["flock", "-n", "-E", str(int(ExitCode.LOCKED)), "-F", str(lock_file)]
    return words


def submit_binary(secrets_descriptor: int | None) -> list[str]:
    """spark-submit, with the secrets' file if there is one (which must not hide spark-defaults.conf)."""
    binary = [str(spark_home() / "bin" / "spark-submit")]
    if secrets_descriptor is not None:
        binary += ["--load-spark-defaults", "--properties-file", properties_path(secrets_descriptor)]
    return binary


def guarded_command(job: SparkJob, secrets_descriptor: int | None = None) -> list[str]:
    """The whole command of a job; `secrets_descriptor` is the one `secrets_file` made and the process will inherit.

    Raises:
        ConfigError, StorageError: see `guard`.
    """
    conf: Sequence[str] = [word for key, value in job.conf.items() for word in ("--conf", f"{key}={value}")]
    return [
        *guard(job.lock_file, *job.more_locks),
        *submit_binary(secrets_descriptor),
        *("--master", job.master),
        *("--name", job.name),
        *conf,
        str(job.application),
        *job.arguments,
    ]
