"""Batches of many kinds of files, a few kinds at a time, by way of copies of one kind.

Each kind of Parquet, ORC or Avro files (see FileReport's `shape`) is a relation of its own in Spark's plan, with each
of the schema's columns. 500 kinds times 1,300 columns are no plan that a gigabyte of memory holds. So the records of
a few kinds after the other are written as they will stand in the table, and what is committed is read from there.
The copies lie in the batch's spool: one that a killed attempt has left is never read, and goes with its batch.
"""

import uuid
from collections.abc import Sequence

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StringType, StructField, StructType

from include.config.pipeline import Ingest
from include.config.settings import join, spark_uri
from spark_jobs.engine.batch_files import FEW_SHAPES, BatchFile, by_few_shapes, holds_its_schema, own_columns
from spark_jobs.engine.frames import CORRUPT, FILE, RESCUED, exact_names
from spark_jobs.engine.names import is_partition
from spark_jobs.engine.readers import read_files

MOST_CELLS = 20_000  # kinds times columns of one plan


def needs_staging(ingest: Ingest, schema: StructType, files: Sequence[BatchFile]) -> bool:
    """True where one plan for all files would be too large."""
    shapes = {file.report.shape for file in files if holds_its_schema(ingest, file)}
    return len(shapes) > FEW_SHAPES and len(shapes) * len(schema) > MOST_CELLS


def read_staged(
    spark: SparkSession, ingest: Ingest, schema: StructType, files: Sequence[BatchFile], spool: str
) -> DataFrame:
    """What `read_files` gives, by way of copies below `spool`."""
    folder = spark_uri(join(spool, f"staged-{uuid.uuid4().hex}"))
    partitions = {field.name for field in schema if is_partition(field)}
    with exact_names(spark):  # files may have columns that differ by case only
        for part in by_few_shapes(files):
            names = partitions.union(own_columns(ingest, schema, part).names)
            own = StructType([field for field in schema if field.name in names])
            read_files(spark, ingest, own, part).write.mode("append").parquet(folder)
    more = [StructField(name, StringType()) for name in (CORRUPT, FILE, RESCUED)]
    return spark.read.schema(StructType([*schema, *more])).parquet(folder)
