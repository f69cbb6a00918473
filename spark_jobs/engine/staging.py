"""Batches of many kinds of files, a few kinds at a time, by way of copies of one kind.

Each kind of Parquet, ORC or Avro files (see FileReport's `shape`) is a relation of its own in Spark's plan, with each
of the schema's columns. 500 kinds times 1,300 columns are no plan that a gigabyte of memory holds. So the records of
a few kinds after the other are written as they will stand in the table, and what is committed is read from there.
The copies lie in the batch's spool: one that a killed attempt has left is never read, and goes with its batch.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StringType, StructField, StructType

from include.config.pipeline import Ingest
from include.config.settings import join, spark_uri
from spark_jobs.engine.batch_files import FEW_SHAPES, BatchFile, holds_its_schema, own_columns
from spark_jobs.engine.frames import CORRUPT, FILE, RESCUED, exact_names
from spark_jobs.engine.names import is_partition
from spark_jobs.engine.readers import read_files

MOST_CELLS = 20_000  # kinds times columns of one plan
BatchFileKey = tuple[str, int, bool]


def needs_staging(ingest: Ingest, schema: StructType, files: Sequence[BatchFile]) -> bool:
    """True where one plan for all files would be too large."""
    shapes = {file.report.shape for file in files if holds_its_schema(ingest, file)}
    return len(shapes) > FEW_SHAPES and len(shapes) * len(schema) > MOST_CELLS


@dataclass
class Staging:
    """The copies of the batch that is being written. A part of which no file was left out is not copied twice."""

    spark: SparkSession
    ingest: Ingest
    _spool: str = ""
    _parts: dict[tuple[str, ...], int] = field(default_factory=dict)
    _copies: dict[tuple[str, tuple[BatchFileKey, ...]], str] = field(default_factory=dict)

    def read(self, schema: StructType, files: Sequence[BatchFile], spool: str) -> DataFrame:
        """What `read_files` gives, by way of copies below `spool`."""
        if spool != self._spool:
            self._spool, self._parts, self._copies = spool, {}, {}
        parts: dict[int, list[BatchFile]] = {}
        for file in files:
            part = self._parts.setdefault(file.report.shape, len(self._parts) // FEW_SHAPES)
            parts.setdefault(part, []).append(file)
        with exact_names(self.spark):  # files may have columns that differ by case only
            copies = [self._copy(schema, part) for part in parts.values()]
        more = [StructField(name, StringType()) for name in (CORRUPT, FILE, RESCUED)]
        return self.spark.read.schema(StructType([*schema, *more])).parquet(*copies)

    def _copy(self, schema: StructType, files: Sequence[BatchFile]) -> str:
        key = (schema.json(), tuple((file.path, file.version, file.rescue) for file in files))
        if key not in self._copies:
            folder = spark_uri(join(self._spool, f"staged-{uuid.uuid4().hex}"))
            names = set(own_columns(self.ingest, schema, files).names)
            own = StructType([column for column in schema if column.name in names or is_partition(column)])
            read_files(self.spark, self.ingest, own, files).write.parquet(folder)
            self._copies[key] = folder
        return self._copies[key]
