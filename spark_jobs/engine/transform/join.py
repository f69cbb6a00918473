"""The join with another table at the version that the micro-batch has pinned.

This is the seam for other ways to look rows up: (micro-batch, join step, pin) -> DataFrame, with the result of Spark's
join. Rows with a NULL key match nothing.
"""

from pyspark.sql import DataFrame, SparkSession

from include.config.errors import ConfigError
from include.config.settings import Settings
from include.config.transform import Join
from include.ledger.outcomes import BATCH, INGESTED_AT, SOURCE_FILE, SOURCE_VERSION
from include.transform.ranges import Pin
from spark_jobs.engine.transform.source import pinned_frame

# Where a row of an ingested table is from: said of the micro-batch's rows already, so not of the other table's.
ORIGIN = (SOURCE_FILE, SOURCE_VERSION, INGESTED_AT, BATCH)


def join(spark: SparkSession, settings: Settings, frame: DataFrame, step: Join, pin: Pin) -> DataFrame:
    """The micro-batch with the columns of the other table; its own columns first, in their order.

    Raises:
        ConfigError: a column is missing, or would be there twice.
        HistoryLost: the pinned version is gone.
    """
    other = pinned_frame(spark, settings, step.table, pin)
    added = added_columns(frame, other, step)
    joined = frame.join(other.select(*step.on, *added), on=list(step.on), how=step.how)
    return joined.select(*frame.columns, *added)


def added_columns(frame: DataFrame, other: DataFrame, step: Join) -> list[str]:
    """The names of the other table's columns that the join adds; none for a semi or anti join.

    Raises:
        ConfigError: a column is missing, or would be there twice.
    """
    where = f"transform.steps: join: {step.table}"
    for name, columns in (("the micro-batch", frame.columns), (step.table, other.columns)):
        if missing := [key for key in step.on if key not in columns]:
            raise ConfigError(
                f"{where}: on: {name} has no column {', '.join(missing)}.", remedy=f"Columns: {', '.join(columns)}."
            )
    if step.how in ("left_semi", "left_anti"):
        return []
    added = [name for name in other.columns if name not in (*step.on, *ORIGIN)]
    if step.columns is not None:
        if missing := [name for name in step.columns if name not in other.columns]:
            raise ConfigError(
                f"{where}: columns: it has no {', '.join(missing)}.", remedy=f"Columns: {', '.join(other.columns)}."
            )
        added = [name for name in step.columns if name not in step.on]
    if twice := [name for name in added if name in frame.columns]:
        raise ConfigError(
            f"{where}: {', '.join(twice)} would be there twice.",
            remedy="Say which `columns` to add, or rename with a `select` step before the join.",
        )
    return added
