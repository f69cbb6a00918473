"""The schema that files show, as Spark infers it, less the types that would change a value."""

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce

from pyspark.sql import Column, DataFrame, DataFrameReader, SparkSession
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import (
    ArrayType,
    DataType,
    DoubleType,
    MapType,
    NumericType,
    StringType,
    StructField,
    StructType,
    VariantType,
)

from include.config.pipeline import Ingest
from spark_jobs.engine.batch_files import BatchFile, holds_its_schema, load_named
from spark_jobs.engine.csv_rows import NO_FRACTION, NO_NUMBER, infer_rows, is_rows
from spark_jobs.engine.exact import Exactly, any_of
from spark_jobs.engine.exact_xml import exactly_xml
from spark_jobs.engine.fitting import widens
from spark_jobs.engine.frames import CORRUPT, FILE, exact_names, quoted
from spark_jobs.engine.growth import extended, placed
from spark_jobs.engine.own_schemas import own_schema, with_texts_for_void
from spark_jobs.engine.readers import VARIANT, lines_of
from spark_jobs.engine.shaping import STRICT_JSON, by_options, by_shape, line_options, permissive, with_corrupt


def infer_schema(spark: SparkSession, ingest: Ingest, files: Sequence[BatchFile]) -> StructType:
    """The schema that the files show, with column types only where `cloudFiles.inferColumnTypes` asks for them."""
    if ingest.options.format == "text":
        return StructType([StructField("value", StringType())])
    with exact_names(spark):
        if ingest.options.format == "json":
            return _infer_json(spark, ingest, files)
        if ingest.options.format == "binaryFile":
            return load_named(spark.read.format("binaryFile"), files[:1]).drop(FILE).schema
        rows = [file for file in files if is_rows(file)]
        seen = [
            _infer_group(spark, ingest, options, header, group)
            for options, same in by_options(ingest, [file for file in files if not is_rows(file)])
            for header, group in by_shape(same).items()
        ]
        if rows:
            seen.append(infer_rows(spark, rows, types=ingest.options.infer_column_types))
        return reduce(_merged, seen)


def _infer_json(spark: SparkSession, ingest: Ingest, files: Sequence[BatchFile]) -> StructType:
    """From the lines that the probe did not refuse: a refused line must not shape the table."""
    if name := ingest.options.reader.get(VARIANT):
        return StructType([StructField(name, VariantType())])
    as_text = "false" if ingest.options.infer_column_types else "true"
    options = {**STRICT_JSON, **line_options(ingest), **permissive(), "primitivesAsString": as_text}
    reader = spark.read.format("json").options(**options)
    if any(file.report.bad or file.report.content is not None for file in files):
        inferred = reader.json(lines_of(spark, files).select("value")).schema
    else:
        inferred = load_named(reader, files).schema
    fields = [field for field in inferred if field.name not in (CORRUPT, FILE)]
    if not ingest.options.infer_column_types:
        fields = [StructField(field.name, StringType()) for field in fields]
    if options.get("inferTimestamp") != "true":
        return StructType(fields)  # its other types are those of JSON itself
    exactly = Exactly("json", options)
    texts = exactly.asked_columns(StructType(fields))
    records = lines_of(spark, files).select(F.from_json("value", texts, options).alias("r")).select("r.*")
    return _with_texts(records, StructType(fields), exactly)


def _infer_group(
    spark: SparkSession,
    ingest: Ingest,
    options: Mapping[str, str],
    header: tuple[str, ...],
    files: Sequence[BatchFile],
) -> StructType:
    reader = spark.read.options(**options)
    if holds_its_schema(ingest, files[0]):
        return with_texts_for_void(own_schema(spark, ingest, files[0]))
    if ingest.options.format == "xml":
        return _infer_xml(spark, {**options, **permissive()}, files)
    if not ingest.options.infer_column_types:
        return StructType([StructField(name, StringType()) for name in header])
    inferred = load_named(reader.format("csv").option("inferSchema", "true"), files).drop(FILE).schema
    types = [field.dataType for _, field in zip(header, inferred, strict=False)]
    texts = _texts(reader.format("csv"), files, types, Exactly("csv", options))
    return StructType(
        [
            StructField(name, StringType() if position in texts else data_type)
            for position, (name, data_type) in enumerate(zip(header, types, strict=False))
        ]
    )


def _infer_xml(spark: SparkSession, options: dict[str, str], files: Sequence[BatchFile]) -> StructType:
    inferred = load_named(spark.read.format("xml").options(**options), files).schema
    schema = StructType([field for field in inferred if field.name not in (CORRUPT, FILE)])
    exactly = exactly_xml(options)
    reader = spark.read.format("xml").options(**options).schema(with_corrupt(exactly.asked_columns(schema)))
    return _with_texts(load_named(reader, files), schema, exactly)


def _with_texts(records: DataFrame, schema: StructType, exactly: Exactly) -> StructType:
    """The schema with texts where a value of the records, read as they were asked for, would be lost."""
    tests = [
        ((field.name, *path), F.bool_or(test(exactly.one(F.col(quoted(field.name)), field))))
        for field in schema
        for path, test in exactly.doubts(field.dataType)
    ]
    found = records.select(*(test for _, test in tests)).first() if tests else None
    for (path, _), is_lost in zip(tests, found or (), strict=False):
        schema = placed(schema, path, StringType()) if is_lost else schema
    return schema


def _texts(
    reader: DataFrameReader, files: Sequence[BatchFile], types: Sequence[DataType], exactly: Exactly
) -> set[int]:
    """The positions of columns that Spark takes for numbers or times although a value would not be that of the file:
    12:00 would get the date of today, 12F become 12.0, 007 become 7.
    """
    tests: dict[int, Column] = {}
    for position, data_type in enumerate(types):
        text = F.col(f"c{position}")
        pattern = NO_FRACTION if isinstance(data_type, DoubleType) else NO_NUMBER
        lost = [exactly.lost(text, data_type), text.rlike(pattern) if isinstance(data_type, NumericType) else None]
        if (test := any_of(lost)) is not None:
            tests[position] = F.bool_or(test)
    if not tests:
        return set()
    columns = StructType([StructField(f"c{position}", StringType()) for position in range(len(types))])
    found = load_named(reader.schema(columns), files).select(*tests.values()).first() or ()
    return {position for position, is_text in zip(tests, found, strict=False) if is_text}


def _merged(left: StructType, right: StructType) -> StructType:
    types = {field.name: field.dataType for field in left}
    for field in right:
        types[field.name] = _common(types.get(field.name, field.dataType), field.dataType)
    return StructType([StructField(name, data_type) for name, data_type in types.items()])


def _common(left: DataType, right: DataType) -> DataType:
    if left == right or widens(right, left):
        return left
    if type(left) is type(right) and isinstance(left, StructType | ArrayType | MapType):
        seen, more = (StructType([StructField("x", side)]) for side in (left, right))
        return extended(seen, more, _common)["x"].dataType
    return right if widens(left, right) else StringType()


def schema_groups(
    spark: SparkSession, ingest: Ingest, files: Sequence[BatchFile]
) -> Iterable[tuple[StructType, list[BatchFile]]]:
    """The distinct schemas of files that hold their own (Parquet), each with its files."""
    for group in by_shape(files).values():
        yield own_schema(spark, ingest, group[0]), group
