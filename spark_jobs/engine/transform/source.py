"""The rows of a planned micro-batch: what a range of the source's versions brought, or its first snapshot."""

import json

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import StructType

from include.config.errors import DataRefused
from include.config.settings import Settings, spark_uri
from include.ledger.tables import open_table
from include.transform.commits import CHANGE_FEED, HistoryLost, added_files
from include.transform.ranges import Pin, PlannedRange

CHANGE_TYPE = "_change_type"
FEED_COLUMNS = (CHANGE_TYPE, "_commit_version", "_commit_timestamp")
# What the addresses of plain Parquet files do not say: values of partitions, other names, deleted rows.
_NOT_PLAIN = "partition columns, column mapping or deletion vectors"


class FeedMissing(DataRefused):
    """Raised when changes of the source cannot be read because its change feed was off."""


class TableSource:
    """A table that is read by ranges of its versions."""

    def __init__(self, spark: SparkSession, table: str, settings: Settings) -> None:
        self._spark = spark
        self._name = table
        self._location = settings.table_root(self._name)

    def added(self, planned: PlannedRange) -> DataFrame:
        """See Source.

        Raises:
            FeedMissing: they cannot be told from the others.
        """
        if planned.versions.kind == "snapshot":
            return self.as_of(planned)
        if planned.versions.kind in ("skipped", "none"):
            return self.as_of(planned).where(F.lit(False))
        if not planned.versions.feed:
            return self._of_files(planned)
        if planned.versions.kind == "appends" and (plain := self._plain_files(planned)) is not None:
            return plain
        return self.feed(planned).where(F.col(CHANGE_TYPE) == "insert").drop(*FEED_COLUMNS)

    def feed(self, planned: PlannedRange) -> DataFrame:
        """Each change of the range, with Delta's feed columns.

        Raises:
            FeedMissing: the feed was off.
        """
        if not planned.versions.feed:
            raise self._feed_missing(planned, "rows were updated or deleted in them")
        self._refuse_other_table(planned)
        reader = self._spark.read.format("delta").option("readChangeFeed", "true")
        versions = planned.versions
        return (
            reader.option("startingVersion", versions.first)
            .option("endingVersion", versions.last)
            .load(spark_uri(self._location))
        )

    def as_of(self, planned: PlannedRange) -> DataFrame:
        """All rows of the source as it was at the end of the range.

        Raises:
            HistoryLost: the table was made anew since.
        """
        self._refuse_other_table(planned)
        reader = self._spark.read.format("delta").option("versionAsOf", planned.versions.last)
        return reader.load(spark_uri(self._location))

    def _refuse_other_table(self, planned: PlannedRange) -> None:
        """Versions of another table at the same place have the same numbers, and other rows."""
        found = open_table(self._location)
        if found is None or str(found.metadata().id) != planned.table_id:
            raise HistoryLost(
                f"{self._name} is not the table that batch {planned.batch} was planned of: made anew, or gone.",
                remedy=f"Restore {self._location}, or start over: another name and another table for this pipeline.",
            )

    def _plain_files(self, planned: PlannedRange) -> DataFrame | None:
        """The rows of the files that appends added: what the feed says of them, without Delta's planning of it.

        None where the rows of a file are not all that is in it, or not as they are in it.
        """
        self._refuse_other_table(planned)
        table = open_table(self._location, planned.versions.last)
        if table is None or "typeWidening" in {*(table.protocol().reader_features or ())}:
            return None
        paths = added_files(self._location, planned.versions.first, planned.versions.last)
        if paths is None:
            return None
        schema = StructType.fromJson(json.loads(table.schema().to_json()))
        if not paths:
            return self._spark.createDataFrame([], schema)
        return self._spark.read.schema(schema).parquet(*(spark_uri(path) for path in paths))

    def _of_files(self, planned: PlannedRange) -> DataFrame:
        """The rows of the data files that appends added, for tables that never had a change feed."""
        if planned.versions.kind == "changes":
            raise self._feed_missing(planned, "rows were updated or deleted in them")
        versions = planned.versions
        paths = added_files(self._location, versions.first, versions.last)
        if paths is None:
            raise self._feed_missing(planned, f"its files have {_NOT_PLAIN}")
        schema = self.as_of(planned).schema
        return self._spark.read.schema(schema).parquet(*(spark_uri(path) for path in paths))

    def _feed_missing(self, planned: PlannedRange, why: str) -> FeedMissing:
        versions = planned.versions
        return FeedMissing(
            f"Versions {versions.first} to {versions.last} of {self._name} cannot be read without its change feed, "
            f"which was off: {why}.",
            remedy=f"Turn it on for what comes (ALTER TABLE ... SET TBLPROPERTIES ({CHANGE_FEED} = true)), and start "
            "over: another name and another table for this pipeline.",
        )


def pinned_frame(spark: SparkSession, settings: Settings, table: str, pin: Pin) -> DataFrame:
    """A table at the version that a micro-batch has pinned.

    Raises:
        HistoryLost: the table was made anew since.
    """
    location = settings.table_root(table)
    found = open_table(location)
    if found is None or str(found.metadata().id) != pin.table_id:
        raise HistoryLost(
            f"{table} is not the table whose version {pin.version} was pinned: it was made anew, or is gone.",
            remedy=f"Restore {location}, or start over with another name and another table for this pipeline.",
        )
    return spark.read.format("delta").option("versionAsOf", pin.version).load(spark_uri(location))
