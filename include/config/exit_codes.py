"""The exit codes of every command and Spark job: those of sysexits.h that apply here, each with one meaning."""

from enum import IntEnum


class ExitCode(IntEnum):
    """Why a process ended. Airflow retries the transient ones and fails at once on the others."""

    OK = 0  # done, or nothing new
    USAGE = 64  # wrong arguments
    DATA_REFUSED = 65  # a `fail` check, an error budget, `on_error: abort`, a drift that the schema mode does not allow
    NOT_FOUND = 66  # a source or table that is not there
    DEFECT = 70  # a defect of Sluice or of a library under it
    IO = 74  # I/O that may pass
    LOCKED = 75  # another run holds the table
    CONFIG = 78  # a pipeline file, the settings or the installation is wrong

    @property
    def transient(self) -> bool:
        """True when the same call may succeed later without anybody changing anything."""
        return self in (ExitCode.DEFECT, ExitCode.IO, ExitCode.LOCKED)


SIGNALLED = 128  # what shells add to the number of the signal that ended a process


def from_process(returncode: int) -> ExitCode:
    """The contract's code for what a child process returned.

    A process ended by a signal (negative, or 128 + signal as shells report it) is I/O that may pass: the
    next run resumes where the table stands. Any other unknown code is a defect.
    """
    if returncode < 0 or SIGNALLED < returncode < SIGNALLED + 32:
        return ExitCode.IO
    return ExitCode(returncode) if returncode in set(ExitCode) else ExitCode.DEFECT
