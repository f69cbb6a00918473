"""Columns from Hive-style folders (`year=2026/`), as `cloudFiles.partitionColumns` names them.

A level that a path does not have is null. A value that does not fit the column's type is rescued; the path itself is
in each row's `_source_file`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from urllib.parse import unquote

import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import DataType, DateType, IntegerType, LongType, StringType, StructField, StructType

from include.config.field_metadata import PARTITION
from spark_jobs.engine.exact import of_text
from spark_jobs.engine.frames import FILE, RESCUED
from spark_jobs.engine.names import is_partition

NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
INTEGER = re.compile(r"0|-?[1-9]\d{0,17}")  # 007 is a text
INT_MAX = (1 << 31) - 1
NAME = "__sluice_partition_file"


def partition_values(path: str, columns: Sequence[str]) -> dict[str, str | None]:
    """The value of each column in the folders of `path`; None where it has no such folder, or Hive's sign for NULL."""
    levels = dict(reversed([part.split("=", 1) for part in path.split("/")[:-1] if "=" in part]))
    found = {column: levels.get(column) for column in columns}
    return {column: None if text in (None, NO_VALUE) else unquote(str(text)) for column, text in found.items()}


def partition_fields(
    columns: Sequence[str], paths: Iterable[str], hinted: Mapping[str, DataType], *, infer: bool
) -> list[StructField]:
    """The columns as fields: of the hinted type, or of the one that all values have where types are inferred."""
    seen = [partition_values(path, columns) for path in paths]
    fields = []
    for column in columns:
        texts = [values[column] for values in seen]
        inferred = _common_type([text for text in texts if text is not None]) if infer else StringType()
        fields.append(StructField(column, hinted.get(column.lower(), inferred), metadata={PARTITION: True}))
    return fields


def with_partitions(spark: SparkSession, records: DataFrame, schema: StructType, names: Mapping[str, str]) -> DataFrame:
    """`records` with the partition columns of `schema`. `names` maps FILE to the ledger's path."""
    fields = [field for field in schema if is_partition(field)]
    if not fields:
        return records
    columns = [field.name for field in fields]
    rows = [partition_values(path, columns) for path in names.values()]
    texts = {f"{NAME}_{i}": pa.array([row[name] for row in rows], pa.string()) for i, name in enumerate(columns)}
    levels = spark.createDataFrame(pa.table({NAME: pa.array(list(names)), **texts}))
    joined = records.join(F.broadcast(levels), F.col(FILE) == F.col(NAME), how="left")
    rescued = F.col(RESCUED)
    for i, field in enumerate(fields):
        text = F.col(f"{NAME}_{i}")
        value = of_text(text, field.dataType)
        rescued = F.when(value.isNull() & text.isNotNull(), _also(rescued, field.name, text)).otherwise(rescued)
        joined = joined.withColumn(field.name, value)
    return joined.withColumn(RESCUED, rescued).drop(NAME, *texts)


def _also(rescued: Column, name: str, text: Column) -> Column:
    """The rescue column's JSON with one value more, before its others."""
    alone = F.to_json(F.struct(text.alias(name), F.col(FILE).alias("_file_path")))
    first = F.to_json(F.struct(text.alias(name)))
    both = F.concat(F.rtrim(first, F.lit("}")), F.lit(","), F.substring(rescued, 2, 1 << 30))
    return F.when(rescued.isNull(), alone).otherwise(both)


def _common_type(texts: Sequence[str]) -> DataType:
    if texts and all(INTEGER.fullmatch(text) for text in texts):
        return IntegerType() if all(abs(int(text)) <= INT_MAX for text in texts) else LongType()
    return DateType() if texts and all(map(_is_date, texts)) else StringType()


def _is_date(text: str) -> bool:
    try:
        return len(text) == len("2026-01-31") and bool(date.fromisoformat(text))
    except ValueError:
        return False
