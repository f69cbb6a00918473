"""What the files of a statement are read as: the schema for Spark's readers, and `_metadata` for a SELECT."""

import posixpath
import re
from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import (
    BooleanType,
    DataType,
    DateType,
    NumericType,
    StringType,
    StructField,
    StructType,
    TimestampNTZType,
    TimestampType,
)

from include.copy_into import errors
from include.copy_into.errors import LoadRefused
from include.copy_into.selection import GLOB
from include.copy_into.statement import CopyInto
from include.ledger.outcomes import INGESTED_AT, SOURCE_FILE, SOURCE_VERSION
from spark_jobs.engine.batch_files import BatchFile, spark_names
from spark_jobs.engine.copy.defaults import has_defaults
from spark_jobs.engine.copy.matching import exact, find, reading
from spark_jobs.engine.frames import FILE
from spark_jobs.engine.inference import infer_schema
from spark_jobs.engine.partitions import partition_fields
from spark_jobs.engine.schemas import RESERVED

METADATA = "_metadata"
# Formats whose files say what type a column has, or have no choice of it.
TYPED = ("parquet", "orc", "avro", "text", "binaryFile")


def source_schema(
    spark: SparkSession, statement: CopyInto, files: Sequence[BatchFile], target: StructType | None
) -> StructType:
    """The schema to read the files with: the target's types where a text format's column goes straight into one.

    Raises:
        LoadRefused: no column can be found in the files.
    """
    schema = _file_schema(spark, statement, files, target)
    return StructType([*schema, *_folder_columns(statement, files, schema, target)])


def _folder_columns(
    statement: CopyInto, files: Sequence[BatchFile], schema: StructType, target: StructType | None
) -> list[StructField]:
    """The columns that folders below the source name (`day=2024-01-31/`), as Spark's own readers have them.

    A column of that name in the files comes first; where the target has it, its type is the target's.
    """
    new = [name for name in _folder_names(statement, files) if find(schema, name) is None]
    known = {field.name.lower(): StringType() for field in target or ()}
    return partition_fields(new, [file.path for file in files], known, infer=True)


def _folder_names(statement: CopyInto, files: Sequence[BatchFile]) -> list[str]:
    if statement.options.plain_folders or statement.by_position or (statement.columns and statement.select is None):
        return []
    folders = [part for file in files for part in below(statement.source, file.path).split("/")[:-1]]
    return list(dict.fromkeys(part.partition("=")[0] for part in folders if re.match("[^=]+=", part)))


def below(source: str, path: str) -> str:
    """The part of a file's path that is below the source, or below the folder that its pattern begins in."""
    parts = posixpath.normpath(source).split("/")
    fixed = next((index for index, part in enumerate(parts) if GLOB.search(part)), len(parts))
    prefix = "/".join(parts[:fixed])
    return path if prefix in ("", ".") else path.removeprefix(prefix + "/")


def _file_schema(
    spark: SparkSession, statement: CopyInto, files: Sequence[BatchFile], target: StructType | None
) -> StructType:
    ingest, kind = statement.ingest, statement.ingest.options.format
    if target is None or statement.select is not None or kind in TYPED:
        return _found(statement, infer_schema(spark, ingest, files), files)
    known = _struct(exact(own_columns(target), dates=_says_dates(statement)))
    as_known = not any(file.report.unknown for file in files) and not _folder_names(statement, files)
    if kind == "json" and as_known and not has_defaults(target):
        return known
    if kind == "csv":
        return _csv_schema(spark, statement, files, target)
    return _struct(reading(known, _found(statement, infer_schema(spark, ingest, files), files)))


def own_columns(target: StructType) -> StructType:
    """The columns of the target that files fill, if a statement does not say otherwise."""
    return StructType([field for field in target if not _filled_by_others(field)])


def _csv_schema(spark: SparkSession, statement: CopyInto, files: Sequence[BatchFile], target: StructType) -> StructType:
    names = list(dict.fromkeys(name for file in files for name in file.report.shape))
    if statement.by_position or statement.columns is not None:
        wanted = positional(target, statement)
        if len(names) != len(wanted):
            raise arity(statement, [field.name for field in wanted], names)
        return StructType(
            [StructField(n, _readable(f.dataType, statement)) for n, f in zip(names, wanted, strict=True)]
        )
    known = {field.name.lower(): _readable(field.dataType, statement) for field in target}
    new = [name for name in names if name.lower() not in known]
    inferred: dict[str, DataType] = {}
    if new and statement.ingest.options.infer_column_types:
        inferred = {field.name: field.dataType for field in infer_schema(spark, statement.ingest, files)}
    fields = [StructField(name, known.get(name.lower(), inferred.get(name, StringType()))) for name in names]
    return _found(statement, StructType(fields), files)


def positional(target: StructType, statement: CopyInto) -> list[StructField]:
    """The columns of the target that the source's go into, in their order.

    Raises:
        LoadRefused: the statement names a column that the target does not have.
    """
    plain = list(own_columns(target))
    if statement.columns is None:
        return plain
    by_name = {field.name.lower(): field for field in plain}
    missing = [name for name in statement.columns if name.lower() not in by_name]
    if missing:
        raise LoadRefused(
            errors.UNKNOWN_COLUMN,
            f"The table {statement.table} has no column {missing[0]} that can be written; it has: "
            f"{', '.join(field.name for field in plain)}.",
            remedy="Correct the list of columns. Nothing was loaded.",
            column_name=missing[0],
            **statement.at(f"column {missing[0]}"),
        )
    return [by_name[name.lower()] for name in statement.columns]


def _filled_by_others(field: StructField) -> bool:
    """Identity and generated columns, which Delta fills itself, and what Sluice writes beside each record."""
    return field.name in RESERVED or any(
        key.startswith(("delta.identity", "delta.generationExpression")) for key in field.metadata
    )


def arity(statement: CopyInto, wanted: Sequence[str], found: Sequence[str]) -> LoadRefused:
    """The error for a source with another number of columns than are to be filled."""
    which = "NOT_ENOUGH_DATA_COLUMNS" if len(found) < len(wanted) else "TOO_MANY_DATA_COLUMNS"
    return LoadRefused(
        f"{errors.ARITY_MISMATCH}.{which}",
        f"Cannot write to {statement.table}: the statement fills {len(wanted)} columns ({', '.join(wanted)}), the "
        f"files or the SELECT have {len(found)} ({', '.join(found)}). Nothing was loaded.",
        remedy="Name the columns of the table that the source fills: COPY INTO table (a, b) FROM ...",
        **(statement.at("columns") or statement.at("target")),
    )


def with_metadata(spark: SparkSession, frame: DataFrame, files: Sequence[BatchFile]) -> DataFrame:
    """The same records with a column `_metadata`, whose fields are those of Spark's file sources."""
    planned = [file.planned for file in files]
    names = [file.uri.rstrip("/").rpartition("/")[2] for file in planned]
    columns = {
        "__sluice_uri": pa.array(spark_names(spark, files), pa.string()),
        "file_path": pa.array(map(_metadata_path, spark_names(spark, map(_itself, files))), pa.string()),
        "file_name": pa.array(names, pa.string()),
        "file_size": pa.array([file.size for file in planned], pa.int64()),
        "file_modification_time": pa.array([file.modified_at for file in planned], pa.timestamp("us", "UTC")),
    }
    facts = spark.createDataFrame(pa.table(columns))
    fields = [
        F.col("file_path"),
        F.col("file_name"),
        F.col("file_size"),
        F.lit(0).cast("bigint").alias("file_block_start"),
        F.col("file_size").alias("file_block_length"),
        F.col("file_modification_time"),
    ]
    facts = facts.select("__sluice_uri", F.struct(*fields).alias(METADATA))
    joined = frame.join(F.broadcast(facts), frame[FILE] == facts["__sluice_uri"], how="left")
    return joined.drop("__sluice_uri")


def _metadata_path(name: str) -> str:
    """What `_metadata.file_path` says where `input_file_name()` says `name`."""
    return name.replace("file:///", "file:/", 1)


def _itself(file: BatchFile) -> BatchFile:
    """The file, also where a clean copy of it is read."""
    return replace(file, report=replace(file.report, spool=""))


def with_origin(spark: SparkSession, frame: DataFrame, files: Sequence[BatchFile], planned_at: int) -> DataFrame:
    """The same rows with the columns of ingest pipelines that say where a row is from, but for the batch, whose numbers
    are the pipeline's own.
    """
    columns = {
        "__sluice_uri": pa.array(spark_names(spark, files), pa.string()),
        SOURCE_FILE: pa.array([file.path for file in files], pa.string()),
        SOURCE_VERSION: pa.array([file.version for file in files], pa.int32()),
    }
    facts = spark.createDataFrame(pa.table(columns))
    joined = frame.join(F.broadcast(facts), frame[FILE] == facts["__sluice_uri"], how="left")
    return joined.withColumn(INGESTED_AT, F.timestamp_micros(F.lit(planned_at)))


def _readable(data_type: DataType, statement: CopyInto) -> DataType:
    """What Spark's CSV reader is asked for; from texts it cannot read, a cast has to make the value, or say why not."""
    readable = isinstance(data_type, NumericType | BooleanType | DateType | TimestampType | TimestampNTZType)
    return exact(data_type, dates=_says_dates(statement)) if readable else StringType()


def _says_dates(statement: CopyInto) -> bool:
    return "dateFormat" in statement.ingest.options.reader


def _struct(data_type: DataType) -> StructType:
    if not isinstance(data_type, StructType):
        raise TypeError(data_type)
    return data_type


def _found(statement: CopyInto, schema: StructType, files: Sequence[BatchFile]) -> StructType:
    if schema.names:
        return schema
    raise LoadRefused(
        errors.INFERENCE_FAILED,
        f"No column can be found in {files[0].path} and {len(files) - 1} more files of {statement.source}.",
        remedy=f"Are they {statement.ingest.options.format} files? Correct FILEFORMAT or FORMAT_OPTIONS.",
        **statement.at("format"),
    )
