"""What a transformation refuses, with its reason and what to do."""

from pyspark.sql import DataFrame

from include.config.errors import ConfigError, DataRefused
from include.transform.commits import HistoryLost
from include.transform.ranges import PlannedRange


class SourceChanged(DataRefused):
    """Raised when the source's rows were updated or deleted and the pipeline's steps cannot follow that."""


# What Spark says when a file of a version is not there.
_NO_FILE = ("FILE_NOT_EXIST", "DELTA_FILE_NOT_FOUND", "FileNotFoundException")


def file_is_gone(error: Exception) -> bool:
    """True where Spark failed because a data file of a table is not there any more."""
    return any(mark in str(error) for mark in _NO_FILE)


def vacuumed(planned: PlannedRange, source: str, error: Exception) -> HistoryLost:
    """What a batch cannot be made of any more."""
    versions = planned.versions
    joined = "".join(f", version {pin.version} of {name}" for name, pin in planned.pinned.items())
    return HistoryLost(
        f"Batch {planned.batch} reads versions {versions.first} to {versions.last} of {source}{joined}; one of their "
        f"files is gone: {str(error).strip().splitlines()[0]}",
        remedy="VACUUM's retention must be longer than the time between two runs. Restore the files, or start over: "
        "another name and another table for this pipeline.",
    )


def unusable(where: str, error: Exception, frame: DataFrame) -> ConfigError:
    """What Spark says of an expression, and what it could have named."""
    return ConfigError(
        f"{where}: {str(error).strip().splitlines()[0]}",
        remedy=f"Columns at this step: {', '.join(frame.columns)}.",
    )


def changed(planned: PlannedRange, why: str) -> SourceChanged:
    """The refusal of a range whose changes cannot be followed."""
    versions = planned.versions
    return SourceChanged(
        f"Rows of the source were updated or deleted in versions {versions.first} to {versions.last}, and these steps "
        f"cannot follow: {why}.",
        remedy="Set options: {skipChangeCommits: true} to leave such versions out, "
        "or read the table with an apply_changes, a deduplicate or a window step of engine merge.",
    )
