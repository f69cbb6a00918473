"""A cached join as a DataFrame: the micro-batch goes through Python workers that look its keys up."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyspark import Accumulator
from pyspark.errors import PySparkTypeError
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import to_arrow_type
from pyspark.sql.types import DataType, StructField, StructType

from include.cache.cache import Held
from include.cache.errors import CannotCache
from include.cache.keys import key_family
from spark_jobs.engine.cache.worker import LookUp


@dataclass(frozen=True)
class Counters:
    """Spark's accumulators of one dimension: what the workers counted so far."""

    matched: Accumulator[int]
    unmatched: Accumulator[int]
    seconds: Accumulator[float]

    @staticmethod
    def of(spark: SparkSession) -> "Counters":
        """New ones, at zero."""
        context = spark.sparkContext
        return Counters(context.accumulator(0), context.accumulator(0), context.accumulator(0.0))


def look_up(
    frame: DataFrame, held: Held, how: str, columns: Sequence[str], counters: Counters, *, frugal: bool = False
) -> DataFrame:
    """The micro-batch joined with a snapshot: its own columns first, then `columns`.

    `how` is inner, left, left_semi or left_anti; for the last two `columns` is empty. `frugal` look-ups keep no page of
    the snapshot in memory.

    Raises:
        CannotCache: a key of the micro-batch is of another type than the dimension's, or a column cannot be handed to
            Python.
    """
    fields = {field["name"]: field for field in json.loads(held.meta.fields)}
    keys = held.meta.keys
    for key in keys:
        _check_key(key, frame.schema[key].dataType, _field(fields[key]).dataType)
    added = [_field(fields[column]) for column in columns]
    for field in (*frame.schema.fields, *added):
        _check_column(field)
    schema = StructType([*frame.schema.fields, *added])
    function = LookUp(
        folder=str(held.folder),
        on=tuple(frame.columns.index(key) for key in keys),
        how=how,
        columns=tuple(columns),
        matched=counters.matched,
        unmatched=counters.unmatched,
        seconds=counters.seconds,
        frugal=frugal,
    )
    return frame.mapInArrow(function, schema)


def _field(field: Mapping[str, Any]) -> StructField:
    """A field of the dimension; a row without a partner has NULL in it."""
    return StructField.fromJson({**field, "nullable": True, "metadata": {}})


def _check_key(name: str, mine: DataType, theirs: DataType) -> None:
    one, other = _family(mine), _family(theirs)
    if one is None or one != other:
        raise CannotCache(
            f"The key {name} is {mine.simpleString()} in the micro-batch and {theirs.simpleString()} in the dimension.",
            remedy="Cast it to the dimension's type before the join.",
        )


def _family(kind: DataType) -> str | None:
    arrow = _arrow(kind)
    # A collated text is equal to others than itself.
    return None if arrow is None or "collate" in kind.simpleString() else key_family(arrow)


def _check_column(field: StructField) -> None:
    if _arrow(field.dataType) is None:
        raise CannotCache(
            f"The column {field.name} of type {field.dataType.simpleString()} cannot be handed to Python.",
            remedy="Leave it out before the join, or leave `cached` out.",
        )


def _arrow(kind: DataType) -> Any:
    try:
        return to_arrow_type(kind, timezone="UTC")
    except PySparkTypeError:
        return None
