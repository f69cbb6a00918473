"""The one place that builds the Spark session of a job. The JVM's own flags and class path come from include.submit."""

from collections.abc import Mapping

from pyspark.sql import SparkSession

# Each line says why; measured on 2 cores with small batches.
CONF = {
    # 50 partitions to replay a log of a few kilobytes cost a second a commit.
    "spark.databricks.delta.snapshotPartitions": "2",
    # One replace is one commit even where the new rows do not match the predicate: the predicate names the old file
    # versions.
    "spark.databricks.delta.replaceWhere.constraintCheck.enabled": "false",
    # Above this many paths Spark starts one task per FILE to list them; the ledger has listed them already.
    "spark.sql.sources.parallelPartitionDiscovery.threshold": "1000000",
    # Small files are packed into few tasks, and so into few files of the target: 4 MB would make 100 tiny files 4
    # tasks.
    "spark.sql.files.openCostInBytes": "262144",
    # Pipelines on a table read what changed in it; for appends the feed costs nothing. Holds for tables made from now
    # on.
    "spark.databricks.delta.properties.defaults.enableChangeDataFeed": "true",
    # As 96-bit integers, Spark's default, times before 1677 and after 2262 (a 9999-12-31) are other ones to delta-rs.
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.session.timeZone": "UTC",
}


def build_session(app_name: str, conf: Mapping[str, str] | None = None) -> SparkSession:
    """The session of this process; what spark-submit was given wins over nothing here.

    `conf` is for a process that no spark-submit started.
    """
    builder = SparkSession.builder.appName(app_name)
    for key, value in {**(conf or {}), **CONF}.items():
        builder = builder.config(key, value)
    return builder.getOrCreate()
