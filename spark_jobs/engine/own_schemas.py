"""The schemas that Parquet and ORC files hold: asked of Spark once for each shape of files, not for each reading."""

from collections.abc import Sequence

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    BooleanType,
    DataType,
    DateType,
    DecimalType,
    MapType,
    NullType,
    NumericType,
    StringType,
    StructField,
    StructType,
    TimestampNTZType,
    TimestampType,
    VariantType,
)

from include.config.pipeline import Ingest
from spark_jobs.engine.batch_files import BatchFile, holds_its_schema, kind_of, load_named
from spark_jobs.engine.frames import FILE, exact_names

# What a Delta table can hold and every reader of it can read.
STORED = (
    NumericType, DecimalType, StringType, BinaryType, BooleanType, DateType, TimestampType, TimestampNTZType, NullType,
)  # fmt: skip
TRIED = 3  # files of one shape that Spark is asked about before all of that shape are given up
Key = tuple[str, tuple[tuple[str, str], ...], tuple[str, ...]]
_seen: dict[Key, StructType] = {}


def own_schema(spark: SparkSession, ingest: Ingest, file: BatchFile) -> StructType:
    """The schema that Spark sees in a file. It is the same for all files of one shape (see FileReport)."""
    key = (kind_of(ingest, file), tuple(sorted(ingest.options.reader.items())), file.report.shape)
    if key not in _seen:
        with exact_names(spark):
            reader = spark.read.format(key[0]).options(**ingest.options.reader)
            _seen[key] = load_named(reader, [file]).drop(FILE).schema
    return _seen[key]


def without_place(spark: SparkSession, ingest: Ingest, files: Sequence[BatchFile]) -> dict[str, str]:
    """The files whose columns Spark cannot read, or no table can hold, each with the reason."""
    found: dict[str, str] = {}
    shapes: dict[tuple[str, ...], list[BatchFile]] = {}
    for file in files:
        if holds_its_schema(ingest, file):
            shapes.setdefault(file.report.shape, []).append(file)
    for same in shapes.values():
        reason = ""
        for number, file in enumerate(same):
            if number < TRIED:
                reason = _why_not(spark, ingest, file)
            if not reason:
                break
            found[file.path] = reason
    return found


def _why_not(spark: SparkSession, ingest: Ingest, file: BatchFile) -> str:
    try:
        schema = own_schema(spark, ingest, file)
    except (Py4JJavaError, PySparkException) as error:
        return f"Spark cannot read it: {str(error).strip().splitlines()[0][:300]}"
    for field in schema:
        # A VARIANT below others is not looked at value by value: see fitting.py.
        if not isinstance(field.dataType, VariantType) and (strange := _strange(field.dataType)) is not None:
            return f"column {field.name!r} has the type {strange.simpleString()}, which a table cannot hold"
    return ""


def _strange(data_type: DataType) -> DataType | None:
    """The part of the type that no table can hold, if there is one."""
    if isinstance(data_type, StructType):
        if not data_type.fields:
            return data_type
        return next((found for field in data_type if (found := _strange(field.dataType)) is not None), None)
    if isinstance(data_type, ArrayType):
        return _strange(data_type.elementType)
    if isinstance(data_type, MapType):
        found = _strange(data_type.keyType)
        return _strange(data_type.valueType) if found is None else found
    return None if isinstance(data_type, STORED) else data_type


def with_texts_for_void(data_type: StructType) -> StructType:
    """The columns as a table can have them: those that only ever are null become STRING."""
    return StructType([StructField(field.name, _text_for_void(field.dataType)) for field in data_type])


def _text_for_void(data_type: DataType) -> DataType:
    if isinstance(data_type, NullType):
        return StringType()
    if isinstance(data_type, StructType):
        return with_texts_for_void(data_type)
    if isinstance(data_type, ArrayType):
        return ArrayType(_text_for_void(data_type.elementType))
    if isinstance(data_type, MapType):
        return MapType(data_type.keyType, _text_for_void(data_type.valueType))
    return data_type
