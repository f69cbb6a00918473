"""Starting a job again at once: the one exit code that is the job's own business and never reaches the user."""

from collections.abc import Callable

from include.config.errors import Defect

# The job found a file that hangs or crashes a reader, noted it in its state, and wants a new JVM to go on without it.
# (EX_NOPERM of sysexits.h, which the contract does not use.)
RESTART = 77
MAX_RESTARTS = 20


class RestartLoop(Defect):
    """Raised when a job asked for a restart again and again."""


def until_done(attempt: Callable[[], int]) -> int:
    """Call `attempt` until it returns anything but RESTART, and return that.

    Each restart follows the naming of one more file, so the number of restarts is that of the poisonous files.

    Raises:
        RestartLoop: after 20 restarts.
    """
    for _ in range(MAX_RESTARTS + 1):
        returncode = attempt()
        if returncode != RESTART:
            return returncode
    raise RestartLoop(
        f"The job asked {MAX_RESTARTS + 1} times to be started again; each time a file had hung or crashed a reader.",
        remedy="See `sluice quarantine` for the files found so far; run again to go on, or remove the broken files.",
    )
