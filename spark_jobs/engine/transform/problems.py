"""What a transformation refuses, with its reason and what to do."""

from pyspark.sql import DataFrame

from include.config.errors import ConfigError, DataRefused
from include.transform.ranges import PlannedRange


class SourceChanged(DataRefused):
    """Raised when the source's rows were updated or deleted and the pipeline's steps cannot follow that."""


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
        "or read the table with an apply_changes or a window step.",
    )
