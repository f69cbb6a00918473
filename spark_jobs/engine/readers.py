"""Spark's readers over the explicit files of one planned micro-batch: one data frame, one schema, bad records marked.

Every frame has the schema's columns, `CORRUPT` (the raw text of a record that does not fit, else null), `FILE` (the
file as Spark names it) and `RESCUED` (what of the record is not in its columns). What Spark's readers would lose
without a word is kept from them by the probe's findings: see records.py.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial, reduce

import pyarrow as pa
from pyspark.sql import DataFrame, DataFrameReader, SparkSession
from pyspark.sql import functions as F  # noqa: N812  the name every Spark user knows
from pyspark.sql.types import (
    ArrayType,
    DataType,
    MapType,
    NumericType,
    StringType,
    StructField,
    StructType,
    TimestampType,
    VariantType,
)

from include.config.pipeline import Ingest
from include.config.settings import spark_uri
from spark_jobs.engine.batch_files import (
    BatchFile,
    holds_its_schema,
    kind_of,
    load_named,
    spark_name,
    spark_names,
)
from spark_jobs.engine.fitting import fit_columns, widens
from spark_jobs.engine.frames import CORRUPT, FILE, RESCUED, exact_names, quoted
from spark_jobs.engine.growth import extended
from spark_jobs.engine.names import is_partition, source_name, source_schema
from spark_jobs.engine.own_schemas import own_schema, with_texts_for_void
from spark_jobs.engine.partitions import with_partitions
from spark_jobs.engine.rescue import VERBATIM, rescue_text, rescued_csv, rescued_json, with_verbatim
from spark_jobs.engine.verbatim import Places, places_of, verbatim

COPY, OWN = "__sluice_copy", "__sluice_own"
TIME_OF_DAY = r"^\s*[Tt]?\d{1,2}:"
NO_NUMBER = r"^\s*[+-]?0[0-9xX]|[0-9.][dDfF]\s*$"
JSON_BLANKS = b" \t\r\n"
VARIANT = "singleVariantColumn"
STRICT_JSON = {"allowSingleQuotes": "false", "allowNonNumericNumbers": "false"}


def read_files(
    spark: SparkSession, ingest: Ingest, schema: StructType, files: Sequence[BatchFile], *, fail_fast: bool = False
) -> DataFrame:
    """The records of `files` under `schema`, named as in the table, without those that the probe refused.

    With `fail_fast` the job may fail at a record that does not fit instead of having it in CORRUPT: a reader that need
    not keep it takes a tenth less CPU.
    """
    source = source_schema(schema)
    fast = {"json": partial(_read_json, fail_fast=fail_fast), "csv": partial(_read_csv, fail_fast=fail_fast)}
    readers: Mapping[str, Callable[..., Iterable[DataFrame]]] = {**_READERS, **fast}
    with exact_names(spark):
        frames = [
            _with_rescued(frame)
            for kind, group in by_format(ingest, files).items()
            for frame in readers[kind](spark, ingest, source, group)
        ]
        together = _filled(_union(frames or [_nothing(spark, source)]), source)
        named = _named_as_in_table(together, schema)
        records = _with_own_paths(spark, named, files)
        if not any(map(is_partition, schema)):
            return records
        paths = [file.path for file in files]
        return with_partitions(spark, records, schema, dict(zip(spark_names(spark, files), paths, strict=True)))


def _union(frames: Sequence[DataFrame]) -> DataFrame:
    """The records of all frames, two by two: one after the other would cost the square of their number."""
    while len(frames) > 1:
        pairs = [frames[start : start + 2] for start in range(0, len(frames), 2)]
        frames = [pair[0] if len(pair) == 1 else pair[0].unionByName(pair[1], True) for pair in pairs]
    return frames[0]


def _filled(frame: DataFrame, schema: StructType) -> DataFrame:
    """The schema's columns in its order (null where no file has them), then CORRUPT, FILE and RESCUED."""
    present = set(frame.columns)
    if frame.columns == [*schema.names, CORRUPT, FILE, RESCUED]:
        return frame
    columns = [
        F.col(quoted(field.name)) if field.name in present else F.lit(None).cast(field.dataType).alias(field.name)
        for field in schema
    ]
    return frame.select(*columns, CORRUPT, FILE, RESCUED)


def _nothing(spark: SparkSession, schema: StructType) -> DataFrame:
    """No record: those of the files are all refused."""
    more = [StructField(name, StringType()) for name in (CORRUPT, FILE, RESCUED)]
    return spark.createDataFrame([], StructType([*schema, *more]))


def _with_rescued(frame: DataFrame) -> DataFrame:
    return frame if RESCUED in frame.columns else frame.withColumn(RESCUED, F.lit(None).cast("string"))


def _with_own_paths(spark: SparkSession, records: DataFrame, files: Sequence[BatchFile]) -> DataFrame:
    """What was rescued from a clean copy is from the file that was copied."""
    copied = [file for file in files if file.report.spool]
    if not copied:
        return records
    own_names = [spark_name(spark, spark_uri(file.planned.uri)) for file in copied]
    columns = {COPY: pa.array(spark_names(spark, copied)), OWN: pa.array(own_names)}
    own = F.broadcast(spark.createDataFrame(pa.table(columns)))
    joined = records.join(own, F.col(FILE) == F.col(COPY), how="left")
    rescued = F.when(F.col(OWN).isNotNull(), F.replace(RESCUED, FILE, OWN)).otherwise(F.col(RESCUED))
    return joined.withColumn(RESCUED, rescued).drop(COPY, OWN)


def _named_as_in_table(records: DataFrame, schema: StructType) -> DataFrame:
    if schema.simpleString() == source_schema(schema).simpleString():
        return records
    # A cast between structs goes by position, so it renames fields below, too.
    fields = [field for field in schema if not is_partition(field)]
    columns = [F.col(quoted(source_name(f))).cast(f.dataType).alias(f.name) for f in fields]
    return records.select(*columns, CORRUPT, FILE, RESCUED)


def by_format(ingest: Ingest, files: Sequence[BatchFile]) -> Mapping[str, list[BatchFile]]:
    """The files by the format that Spark reads them in."""
    groups: dict[str, list[BatchFile]] = {}
    for file in files:
        groups.setdefault(kind_of(ingest, file), []).append(file)
    return groups


def _read_json(
    spark: SparkSession, ingest: Ingest, schema: StructType, files: Sequence[BatchFile], *, fail_fast: bool = False
) -> Iterable[DataFrame]:
    """Clean files by Spark's JSON source; files with refused lines as text, less those lines, through the same
    parser.
    """
    if VARIANT in ingest.options.reader:
        yield _variants(_lines(spark, files), schema.names[0])
        return
    options = {**_dates(schema), **STRICT_JSON, **_line_options(ingest), **_permissive()}
    rescue = [file for file in files if file.rescue]
    if rescue:
        yield rescued_json(_lines(spark, rescue), schema, options)
    whole = [file for file in files if file.report.content is None and not file.rescue]
    clean = [file for file in whole if file.report.spool or not file.report.bad]
    dirty = [file for file in whole if file.report.bad and not file.report.spool]
    if clean:
        yield _loaded(spark.read.format("json").options(**options), schema, clean, fail_fast=fail_fast)
    small = [file for file in files if file.report.content and not file.rescue]
    if small:
        yield _parsed(_kept_lines(spark, small, places_of(schema)), schema, options)
    if dirty:
        yield _parsed(with_verbatim(_lines(spark, dirty), schema), schema, options)


def _variants(lines: DataFrame, column: str) -> DataFrame:
    """Each record as one value."""
    value = F.try_parse_json("value")
    return lines.select(value.alias(column), F.when(value.isNull(), F.col("value")).alias(CORRUPT), FILE)


def _parsed(lines: DataFrame, schema: StructType, options: Mapping[str, str]) -> DataFrame:
    """Lines (VERBATIM, `value` as in the file, FILE) as records."""
    record = F.from_json(VERBATIM, _with_corrupt(schema), dict(options))
    columns = [F.col(f"r.{quoted(name)}") for name in schema.names]
    corrupt = F.when(F.col(f"r.{CORRUPT}").isNotNull(), F.col("value")).alias(CORRUPT)
    return lines.select(record.alias("r"), "value", FILE).select(*columns, corrupt, FILE)


def _kept_lines(spark: SparkSession, files: Sequence[BatchFile], places: Places = None) -> DataFrame:
    """The lines of files whose content the probe kept: they are not listed, opened and split by Spark once more."""
    lines: list[bytes] = []
    names: list[str] = []
    for name, file in zip(spark_names(spark, files), files, strict=True):
        own = [line for line in (file.report.content or b"").splitlines() if line.strip(JSON_BLANKS)]
        lines += own
        names += [name] * len(own)
    # Clean lines are UTF-8, the probe says so.
    columns = {"value": pa.array(lines, pa.binary()).cast(pa.string()), FILE: pa.array(names, pa.string())}
    given = [verbatim(line, places) for line in lines]
    if given == lines:
        return spark.createDataFrame(pa.table(columns)).withColumn(VERBATIM, F.col("value"))
    return spark.createDataFrame(pa.table({**columns, VERBATIM: pa.array(given, pa.binary()).cast(pa.string())}))


def _line_options(ingest: Ingest) -> dict[str, str]:
    """Without what the probe has taken care of: Spark is given lines in UTF-8."""
    return {name: value for name, value in ingest.options.reader.items() if name not in ("multiLine", "encoding")}


def _lines(spark: SparkSession, files: Sequence[BatchFile]) -> DataFrame:
    """The lines (`value`, FILE) that the probe did not refuse."""
    kept = [file for file in files if file.report.content is not None]
    read = [file for file in files if file.report.content is None]
    frames = [_kept_lines(spark, kept).select("value", FILE)] if kept else []
    if read:
        text = load_named(spark.read.format("text"), read)
        lines = text.where(F.btrim("value", F.lit(JSON_BLANKS.decode())) != "")
        # Whether a line is refused depends on its bytes alone. A clean copy has none of them.
        raws = {bad.raw for file in read if not file.report.spool for bad in file.report.bad}
        if raws:
            frame = spark.createDataFrame(pa.table({"refused": pa.array(sorted(raws), pa.binary())}))
            same = lines["value"].cast("binary") == frame["refused"]
            lines = lines.join(F.broadcast(frame), same, how="left_anti")
        frames.append(lines)
    return reduce(DataFrame.unionByName, frames)


def _read_csv(
    spark: SparkSession, ingest: Ingest, schema: StructType, files: Sequence[BatchFile], *, fail_fast: bool = False
) -> Iterable[DataFrame]:
    """One frame per distinct header: Spark matches CSV columns by position, so each header gets a schema in its
    order. Columns that the schema does not have are read as they stand.
    """
    types = {field.name: field.dataType for field in schema}
    for options, same in by_options(ingest, files):
        parser = {**_dates(schema), **options, **_permissive()}
        for (header, rescue), group in _by_header(same).items():
            in_file_order = StructType([StructField(name, types.get(name, StringType())) for name in header])
            reader = spark.read.format("csv").options(**parser)
            records = _loaded(reader, in_file_order, group, fail_fast=fail_fast and not rescue)
            yield _shaped(rescued_csv(records, schema, header, parser, dirty=rescue), schema)


def _dates(schema: StructType) -> dict[str, str]:
    """How dates are read where the user does not say: Spark would cut the time off a text that has one."""
    return {"dateFormat": "yyyy-M-d"} if '"date"' in schema.json() else {}


def by_options(ingest: Ingest, files: Sequence[BatchFile]) -> Iterator[tuple[dict[str, str], list[BatchFile]]]:
    """The files by the reader's options that they need: the pipeline's, and what the probe found about each."""
    groups: dict[tuple[tuple[str, str], ...], list[BatchFile]] = {}
    for file in files:
        groups.setdefault(tuple(sorted(file.report.options.items())), []).append(file)
    for options, group in groups.items():
        yield {**ingest.options.reader, **dict(options)}, group


def _by_header(files: Sequence[BatchFile]) -> Mapping[tuple[tuple[str, ...], bool], list[BatchFile]]:
    groups: dict[tuple[tuple[str, ...], bool], list[BatchFile]] = {}
    for file in files:
        groups.setdefault((file.report.shape, file.rescue), []).append(file)
    return groups


def _read_parquet(
    spark: SparkSession, ingest: Ingest, schema: StructType, files: Sequence[BatchFile]
) -> Iterable[DataFrame]:
    yield from _read_columns("parquet", spark, ingest, schema, files)


def _read_orc(
    spark: SparkSession, ingest: Ingest, schema: StructType, files: Sequence[BatchFile]
) -> Iterable[DataFrame]:
    yield from _read_columns("orc", spark, ingest, schema, files)


def _read_columns(
    kind: str, spark: SparkSession, ingest: Ingest, schema: StructType, files: Sequence[BatchFile]
) -> Iterable[DataFrame]:
    """One frame per distinct schema: Spark would take that of one file for all."""
    for group in _by_shape(files).values():
        seen = own_schema(spark, ingest, group[0])
        frame = load_named(spark.read.format(kind).options(**ingest.options.reader).schema(seen), group)
        present = StructType([field for field in schema if field.name in seen.names])
        fitted = fit_columns(seen, present)
        kept = [fitted[name].kept.alias(name) for name in present.names]
        left = {name: part.left for name, part in fitted.items() if part.left is not None}
        yield frame.select(*kept, F.lit(None).cast("string").alias(CORRUPT), FILE, rescue_text(left).alias(RESCUED))


def _read_text(
    spark: SparkSession, ingest: Ingest, schema: StructType, files: Sequence[BatchFile]
) -> Iterable[DataFrame]:
    frame = load_named(spark.read.format("text").options(**ingest.options.reader), files)
    yield _shaped(frame.withColumn(CORRUPT, F.lit(None).cast("string")), schema)


def _read_binary(
    spark: SparkSession, _ingest: Ingest, schema: StructType, files: Sequence[BatchFile]
) -> Iterable[DataFrame]:
    frame = load_named(spark.read.format("binaryFile"), files)
    yield _shaped(frame.withColumn(CORRUPT, F.lit(None).cast("string")), schema)


def _read_xml(
    spark: SparkSession, ingest: Ingest, schema: StructType, files: Sequence[BatchFile]
) -> Iterable[DataFrame]:
    reader = spark.read.format("xml").options(**{**ingest.options.reader, **_permissive()})
    yield _shaped(load_named(reader.schema(_with_corrupt(schema)), files), schema)


_READERS = {
    "json": _read_json,
    "csv": _read_csv,
    "parquet": _read_parquet,
    "orc": _read_orc,
    "text": _read_text,
    "binaryFile": _read_binary,
    "xml": _read_xml,
}


def _loaded(reader: DataFrameReader, schema: StructType, files: Sequence[BatchFile], *, fail_fast: bool) -> DataFrame:
    """The records of text files with CORRUPT, FILE and RESCUED; no record is in CORRUPT where reading ends at one."""
    if fail_fast:
        records = load_named(reader.option("mode", "FAILFAST").schema(schema), files)
        return _shaped(records.withColumn(CORRUPT, F.lit(None).cast("string")), schema)
    return _shaped(load_named(reader.schema(_with_corrupt(schema)), files), schema)


def _permissive() -> dict[str, str]:
    return {"mode": "PERMISSIVE", "columnNameOfCorruptRecord": CORRUPT}


def _with_corrupt(schema: StructType) -> StructType:
    return StructType([*schema, StructField(CORRUPT, StringType())])


def _by_shape(files: Sequence[BatchFile]) -> Mapping[tuple[str, ...], list[BatchFile]]:
    groups: dict[tuple[str, ...], list[BatchFile]] = {}
    for file in files:
        groups.setdefault(file.report.shape, []).append(file)
    return groups


def _shaped(frame: DataFrame, schema: StructType) -> DataFrame:
    """Those of the schema's columns that the frame has, in its order, then CORRUPT, FILE and RESCUED."""
    present = set(frame.columns)
    columns = [F.col(quoted(f.name)).cast(f.dataType).alias(f.name) for f in schema if f.name in present]
    return _with_rescued(frame).select(*columns, CORRUPT, FILE, RESCUED)


def infer_schema(spark: SparkSession, ingest: Ingest, files: Sequence[BatchFile]) -> StructType:
    """The schema that the files show, with column types only where `cloudFiles.inferColumnTypes` asks for them."""
    if ingest.options.format == "text":
        return StructType([StructField("value", StringType())])
    with exact_names(spark):
        if ingest.options.format == "json":
            return _infer_json(spark, ingest, files)
        if ingest.options.format == "binaryFile":
            return load_named(spark.read.format("binaryFile"), files[:1]).drop(FILE).schema
        seen = (
            _infer_group(spark, ingest, options, header, group)
            for options, same in by_options(ingest, files)
            for header, group in _by_shape(same).items()
        )
        return reduce(_merged, seen)


def _infer_json(spark: SparkSession, ingest: Ingest, files: Sequence[BatchFile]) -> StructType:
    """From the lines that the probe did not refuse: a refused line must not shape the table."""
    if name := ingest.options.reader.get(VARIANT):
        return StructType([StructField(name, VariantType())])
    as_text = "false" if ingest.options.infer_column_types else "true"
    options = {**STRICT_JSON, **_line_options(ingest), **_permissive(), "primitivesAsString": as_text}
    reader = spark.read.format("json").options(**options)
    if any(file.report.bad or file.report.content is not None for file in files):
        inferred = reader.json(_lines(spark, files).select("value")).schema
    else:
        inferred = load_named(reader, files).schema
    fields = [field for field in inferred if field.name not in (CORRUPT, FILE)]
    if not ingest.options.infer_column_types:
        fields = [StructField(field.name, StringType()) for field in fields]
    return StructType(fields)


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
        inferred = load_named(reader.format("xml").options(**_permissive()), files).schema
        return StructType([field for field in inferred if field.name not in (CORRUPT, FILE)])
    if not ingest.options.infer_column_types:
        return StructType([StructField(name, StringType()) for name in header])
    inferred = load_named(reader.format("csv").option("inferSchema", "true"), files).drop(FILE).schema
    types = [field.dataType for _, field in zip(header, inferred, strict=False)]
    texts = _texts(reader.format("csv"), files, types)
    return StructType(
        [
            StructField(name, StringType() if position in texts else data_type)
            for position, (name, data_type) in enumerate(zip(header, types, strict=False))
        ]
    )


def _texts(reader: DataFrameReader, files: Sequence[BatchFile], types: Sequence[DataType]) -> set[int]:
    """The positions of columns that Spark takes for numbers or timestamps although a value would not be that of the
    file: 12:00 would get the date of today, 12F become 12.0, 007 become 7.
    """
    patterns = {
        position: TIME_OF_DAY if isinstance(data_type, TimestampType) else NO_NUMBER
        for position, data_type in enumerate(types)
        if isinstance(data_type, TimestampType | NumericType)
    }
    if not patterns:
        return set()
    columns = StructType([StructField(f"c{position}", StringType()) for position in range(len(types))])
    records = load_named(reader.schema(columns), files)
    has = [F.bool_or(F.col(f"c{position}").rlike(pattern)) for position, pattern in patterns.items()]
    found = records.select(*has).first() or ()
    return {position for position, is_text in zip(patterns, found, strict=False) if is_text}


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
    for group in _by_shape(files).values():
        yield own_schema(spark, ingest, group[0]), group
