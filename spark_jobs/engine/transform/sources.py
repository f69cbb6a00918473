"""The source of a pipeline as its sinks read it: one table, several tables, or the event generator."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import IntegralType, StructType

from include.config.errors import ConfigError, Defect
from include.config.settings import Settings
from include.config.sources import Generate
from include.config.transform import Transform
from include.generator.events import batches
from include.transform.ranges import PlannedRange
from include.transform.reads import stream_of
from spark_jobs.engine.transform.source import CHANGE_TYPE, FEED_COLUMNS, TableSource

SOURCE_TABLE = "_source_table"
EVENT = pa.schema(
    [
        ("event_id", pa.string()),
        ("timestamp", pa.timestamp("us", "UTC")),
        ("user_id", pa.string()),
        ("event_type", pa.string()),
        ("value", pa.float64()),
        ("session_id", pa.string()),
    ]
)


class Source(Protocol):
    """The rows that planned micro-batches read."""

    def added(self, planned: PlannedRange) -> DataFrame:
        """The rows that the range added (for `changes`: without those that updates wrote).

        Raises:
            FeedMissing: they cannot be told from the others.
        """

    def feed(self, planned: PlannedRange) -> DataFrame:
        """Each change of the range, with Delta's feed columns.

        Raises:
            FeedMissing: the feed was off.
        """

    def as_of(self, planned: PlannedRange) -> DataFrame:
        """All rows of the source as it was at the end of the range.

        Raises:
            HistoryLost: the source was made anew since.
        """


def source_of(spark: SparkSession, transform: Transform, settings: Settings) -> Source:
    """The source of a pipeline."""
    if transform.generate is not None:
        return MadeUpSource(spark, transform.generate)
    tables = {name: TableSource(spark, name, settings) for name in transform.tables}
    return next(iter(tables.values())) if len(tables) == 1 else ManyTables(tables)


@dataclass(frozen=True)
class ManyTables:
    """Several tables, one after the other: columns meet by name, and SOURCE_TABLE says where a row is from."""

    tables: Mapping[str, TableSource]

    def added(self, planned: PlannedRange) -> DataFrame:
        """See Source."""
        return self._one({name: table.added(planned.of(name)) for name, table in self.tables.items()})

    def as_of(self, planned: PlannedRange) -> DataFrame:
        """See Source."""
        return self._one({name: table.as_of(planned.of(name)) for name, table in self.tables.items()})

    def feed(self, planned: PlannedRange) -> DataFrame:
        """See Source. A range that took rows away is of one table alone."""
        return self._one({name: self._feed(table, planned.of(name)) for name, table in self.tables.items()})

    def _feed(self, table: TableSource, planned: PlannedRange) -> DataFrame:
        if planned.versions.kind == "changes":
            return table.feed(planned)
        if planned.versions.kind != "none":
            raise Defect(f"Batch {planned.batch} has changes of one table and more of another.", remedy="Report this.")
        types = dict(zip(FEED_COLUMNS, ("string", "bigint", "timestamp"), strict=True))
        none = {name: F.lit(None).cast(kind) for name, kind in types.items()}
        return table.as_of(planned).where(F.lit(False)).withColumns(none)

    def _one(self, frames: Mapping[str, DataFrame]) -> DataFrame:
        refuse_other_types({name: frame.schema for name, frame in frames.items()})
        union: DataFrame | None = None
        for name, frame in frames.items():
            told = frame.withColumn(SOURCE_TABLE, F.lit(name))
            union = told if union is None else union.unionByName(told, allowMissingColumns=True)
        if union is None:
            raise Defect("A source without tables.", remedy="Please report this.")
        return union


def refuse_other_types(schemas: Mapping[str, StructType]) -> None:
    """Stop where a column has one type in one table and another type in another.

    Whole numbers of different width meet in the wider one; Spark would make a number of a text, too, or fail at it.

    Raises:
        ConfigError: with the column, the tables and the types.
    """
    seen: dict[str, tuple[str, object]] = {}
    for table, schema in schemas.items():
        for field in schema:
            first, kind = seen.setdefault(field.name.lower(), (table, field.dataType))
            whole = isinstance(kind, IntegralType) and isinstance(field.dataType, IntegralType)
            if kind != field.dataType and not whole:
                raise ConfigError(
                    f"transform.source: the column {field.name} is {field.dataType.simpleString()} in {table} and "
                    f"{kind.simpleString()} in {first}.",  # type: ignore[attr-defined]
                    remedy="Give one of them a pipeline of its own that casts it by a `select` step, and name its "
                    "table here.",
                )


@dataclass(frozen=True)
class MadeUpSource:
    """The event generator: the numbers of a range are those of its batches, from 1."""

    spark: SparkSession
    generate: Generate

    def added(self, planned: PlannedRange) -> DataFrame:
        """See Source."""
        if planned.versions.kind != "generated":
            return self._events(1, 0)
        return self._events(planned.versions.first, planned.versions.last)

    def as_of(self, planned: PlannedRange) -> DataFrame:
        """See Source."""
        return self._events(1, planned.versions.last)

    def feed(self, planned: PlannedRange) -> DataFrame:
        """Never asked for: events that came do not change.

        Raises:
            Defect: always.
        """
        raise Defect(f"Batch {planned.batch} of made-up events has no {CHANGE_TYPE}.", remedy="Please report this.")

    def _events(self, first: int, last: int) -> DataFrame:
        made = batches(stream_of(self.generate, last), first - 1)
        rows = [{**event, "timestamp": datetime.fromisoformat(event["timestamp"])} for each in made for event in each]
        frame: DataFrame = self.spark.createDataFrame(pa.Table.from_pylist(rows, schema=EVENT))
        return frame
