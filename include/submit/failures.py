"""Why a job stopped, told in `state/<pipeline>/failures/<run>.json`: written by the job, read by what waited for it.

An exit code is one number; the message and the remedy of the error are what the user needs.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from include.config.errors import SluiceError
from include.config.exit_codes import ExitCode
from include.config.pipeline import Pipeline
from include.config.settings import Settings, is_remote
from include.ledger.state_files import read_document, write_document

if TYPE_CHECKING:
    from obstore.store import ObjectStore

DEFECT_REMEDY = (
    "This is a defect of Sluice or of a library under it: report it with the job's log. The run may be repeated."
)
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")


@dataclass(frozen=True)
class Failure:
    """An error as it is reported: its class, what happened and where, what to do, and the exit code it maps to."""

    error_class: str
    message: str
    remedy: str
    exit_code: int

    def __str__(self) -> str:
        text = f"[{self.error_class}] {self.message}"
        return f"{text}\n  What to do: {self.remedy}" if self.remedy else text


def failure_of(error: BaseException) -> Failure:
    """The report of an exception; one that is not ours is a defect."""
    if isinstance(error, SluiceError):
        return Failure(error.error_class, error.message, error.remedy, int(error.exit_code))
    return Failure(type(error).__name__, str(error), DEFECT_REMEDY, int(ExitCode.DEFECT))


def failure_location(settings: Settings, pipeline: str, run_id: str) -> str:
    """Where the report of a run lies; `:` and `+` of Airflow's run ids are not safe in file names everywhere."""
    return settings.state_root(pipeline, "failures", f"{_UNSAFE.sub('_', run_id)}.json")


def write_failure(settings: Settings, pipeline: str, run_id: str, failure: Failure) -> None:
    """Leave the report of a run, in place of an earlier one of the same run.

    Raises:
        OSError: a local state folder cannot be written.
    """
    write_document(failure_location(settings, pipeline, run_id), asdict(failure))


def read_failure(settings: Settings, pipeline: str, run_id: str) -> Failure | None:
    """The report of a run, None where the job left none (it went well, or it was killed).

    Raises:
        StorageError: the report is there and cannot be read.
    """
    document = read_document(failure_location(settings, pipeline, run_id))
    return None if document is None else Failure(**document)


def failure_report(pipeline: Pipeline, settings: Settings, run_id: str, exit_code: ExitCode) -> Failure:
    """Why the job of a run failed: what the job itself left, else what its exit code says."""
    if exit_code is ExitCode.LOCKED:
        table = pipeline.lock_name
        return Failure(
            "TableLocked",
            f"Another run is writing {table}.",
            f"Wait for it to end and run again. `fuser {settings.lock_file(table)}` names its process.",
            int(exit_code),
        )
    if (reported := read_failure(settings, pipeline.name, run_id)) is not None:
        return reported
    return Failure(
        "JobEnded",
        f"The Spark job of {pipeline.name} ended with {exit_code.name} ({int(exit_code)}) and left no report.",
        "See its log. A job that was killed (out of memory, a restarted machine) is run again without loss or doubles.",
        int(exit_code),
    )


def clear_failure(settings: Settings, pipeline: str, run_id: str) -> None:
    """Remove the report of an earlier attempt of this run, so that it is not taken for the new attempt's."""
    location = failure_location(settings, pipeline, run_id)
    if is_remote(location):
        folder, _, name = location.rpartition("/")
        with suppress(FileNotFoundError):
            _store(folder).delete(name)
    else:
        Path(location).unlink(missing_ok=True)


def _store(folder: str) -> ObjectStore:
    """The object store of a URI; imported here because most installations keep their state on a local disk."""
    from obstore.store import from_url  # noqa: PLC0415

    return from_url(folder)
