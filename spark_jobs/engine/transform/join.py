"""The join with another table at the version that the micro-batch has pinned.

With `cached: true` the rows are looked up in a snapshot of that version (spark_jobs/engine/cache), with the result of
Spark's join. Rows with a NULL key match nothing.
"""

from collections.abc import Sequence

from pyspark.sql import DataFrame, SparkSession

from include.cache.dimension import Dimension, TableVersion
from include.config.errors import ConfigError
from include.config.settings import Settings
from include.config.steps import Join
from include.ledger.outcomes import BATCH, INGESTED_AT, SOURCE_FILE, SOURCE_VERSION
from include.transform.ranges import Pin
from spark_jobs.engine.cache.joins import CachedJoins, latest, refuse_duplicates
from spark_jobs.engine.transform.source import pinned_frame

# Where a row of an ingested table is from: said of the micro-batch's rows already, so not of the other table's.
ORIGIN = (SOURCE_FILE, SOURCE_VERSION, INGESTED_AT, BATCH)


def join(
    spark: SparkSession, settings: Settings, frame: DataFrame, step: Join, pin: Pin, cached: CachedJoins
) -> DataFrame:
    """The micro-batch with the columns of the other table; its own columns first, in their order.

    Raises:
        ConfigError: a column is missing, or would be there twice.
        HistoryLost: the pinned version is gone.
        DuplicateKeys: the other table of a cached join has two rows of one key.
    """
    if step.cached:
        return _cached_join(spark, settings, frame, step, pin, cached)
    return _sparks_join(frame, _picked(pinned_frame(spark, settings, step.table, pin), frame, step), step)


def _sparks_join(frame: DataFrame, other: DataFrame, step: Join) -> DataFrame:
    added = added_columns(frame.columns, other.columns, step)
    joined = frame.join(other.select(*step.on, *added), on=list(step.on), how=step.how)
    return joined.select(*frame.columns, *added)


def _cached_join(
    spark: SparkSession, settings: Settings, frame: DataFrame, step: Join, pin: Pin, cached: CachedJoins
) -> DataFrame:
    def uncached() -> DataFrame:
        other = _picked(pinned_frame(spark, settings, step.table, pin), frame, step)
        if step.latest_by is None:
            refuse_duplicates(other, step.on, step.table)
        return _sparks_join(frame, other, step)

    root, version = settings.table_root(step.table), TableVersion(pin.table_id, pin.version)
    columns = cached.columns_at(root, version)
    if columns is None:  # that version is gone: its snapshot may still stand, if it is known what to take of it
        if step.columns is None:
            return uncached()  # which says why that version cannot be read
        columns = (*step.on, *step.columns)
    added = added_columns(frame.columns, columns, step)
    dimension = Dimension(step.table, root, tuple(step.on), tuple(added), step.latest_by)
    return cached.join(frame, dimension, version, step.how, uncached)


def _picked(other: DataFrame, frame: DataFrame, step: Join) -> DataFrame:
    """The other table's rows that count."""
    if step.latest_by is None:
        return other
    if step.latest_by not in other.columns:
        raise ConfigError(
            f"transform.steps: join: {step.table}: latest_by: it has no column {step.latest_by}.",
            remedy=f"Columns: {', '.join(other.columns)}.",
        )
    added = added_columns(frame.columns, other.columns, step)
    return latest(other, step.on, list(dict.fromkeys((*step.on, *added, step.latest_by))), step.latest_by, step.table)


def added_columns(mine: Sequence[str], theirs: Sequence[str], step: Join) -> list[str]:
    """The names of the other table's columns that the join adds; none for a semi or anti join.

    Raises:
        ConfigError: a column is missing, or would be there twice.
    """
    where = f"transform.steps: join: {step.table}"
    for name, columns in (("the micro-batch", mine), (step.table, theirs)):
        if missing := [key for key in step.on if key not in columns]:
            raise ConfigError(
                f"{where}: on: {name} has no column {', '.join(missing)}.", remedy=f"Columns: {', '.join(columns)}."
            )
    if step.how in ("left_semi", "left_anti"):
        return []
    added = [name for name in theirs if name not in (*step.on, *ORIGIN)]
    if step.columns is not None:
        if missing := [name for name in step.columns if name not in theirs]:
            raise ConfigError(
                f"{where}: columns: it has no {', '.join(missing)}.", remedy=f"Columns: {', '.join(theirs)}."
            )
        added = [name for name in step.columns if name not in step.on]
    if twice := [name for name in added if name in mine]:
        raise ConfigError(
            f"{where}: {', '.join(twice)} would be there twice.",
            remedy="Say which `columns` to add, or rename with a `select` step before the join.",
        )
    return added
