"""Starting a job again at once: the one exit code that is the job's own business and never reaches the user."""

from collections.abc import Callable

from include.config.errors import Defect

# The job found a file that hangs or crashes a reader, noted it in its state, and wants a new JVM to go on without it.
# (EX_NOPERM of sysexits.h, which the contract does not use.)
RESTART = 77
# What Spark itself ends with after an error that no task could handle: 50 and 51 uncaught, 52 out of memory.
SPARK_DIED = (50, 51, 52)
MAX_RESTARTS = 20


class RestartLoop(Defect):
    """Raised when a job asked for a restart again and again."""


def until_done(attempt: Callable[[], int]) -> int:
    """Call `attempt` until it returns anything but RESTART or SPARK_DIED, and return that.

    After three ends without a word a load reads its files one by one and names the one that ends Spark; otherwise each
    restart follows the naming of one more file, so the number of restarts is that of the poisonous files.

    Raises:
        RestartLoop: after 20 restarts.
    """
    for _ in range(MAX_RESTARTS + 1):
        returncode = attempt()
        if returncode not in (RESTART, *SPARK_DIED):
            return returncode
    raise RestartLoop(
        f"The job asked {MAX_RESTARTS + 1} times to be started again; each time a file had hung or crashed a reader.",
        remedy="See `sluice quarantine` for the files found so far; run again to go on, or remove the broken files.",
    )
