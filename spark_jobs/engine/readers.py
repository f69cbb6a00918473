"""Spark's readers over the explicit files of one planned micro-batch: one data frame, one schema, bad records marked.

Every frame has the schema's columns, `CORRUPT` (the raw text of a record that does not fit, else null), `FILE` (the
file as Spark names it) and `RESCUED` (what of the record is not in its columns). What Spark's readers would lose
without a word is kept from them by the probe's findings: see records.py.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial, reduce

import pyarrow as pa
from pyspark.sql import Column, DataFrame, DataFrameReader, SparkSession
from pyspark.sql import functions as F  # noqa: N812  the name every Spark user knows
from pyspark.sql.types import (
    DataType,
    StringType,
    StructField,
    StructType,
)

from include.config.pipeline import Ingest
from include.config.settings import spark_uri
from spark_jobs.engine.batch_files import (
    BatchFile,
    kind_of,
    load_named,
    spark_name,
    spark_names,
)
from spark_jobs.engine.csv_rows import read_rows
from spark_jobs.engine.exact import Exactly, is_plain
from spark_jobs.engine.exact_xml import exactly_xml
from spark_jobs.engine.fitting import fit_columns
from spark_jobs.engine.frames import CORRUPT, FILE, RESCUED, exact_names, quoted
from spark_jobs.engine.names import is_partition, source_name, source_schema
from spark_jobs.engine.own_schemas import own_schema
from spark_jobs.engine.partitions import with_partitions
from spark_jobs.engine.rescue import VERBATIM, rescue_text, rescued_csv, rescued_json, with_verbatim
from spark_jobs.engine.shaping import (
    STRICT_JSON,
    by_options,
    by_shape,
    line_options,
    permissive,
    shaped,
    with_corrupt,
    with_rescued,
)
from spark_jobs.engine.verbatim import Places, places_of, verbatim_lines

COPY, OWN = "__sluice_copy", "__sluice_own"
LOST = "a value does not fit"  # in CORRUPT, where the record is read again for its text
LINE = "__sluice_line"
JSON_BLANKS = b" \t\r\n"
VARIANT = "singleVariantColumn"


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
            with_rescued(frame)
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
        yield _variants(lines_of(spark, files), schema.names[0])
        return
    options = {**STRICT_JSON, **line_options(ingest), **permissive()}
    exactly = Exactly("json", options)
    asked = exactly.asked_columns(schema)
    rescue = [file for file in files if file.rescue]
    if rescue:
        yield rescued_json(lines_of(spark, rescue), schema, options)
    whole = [file for file in files if file.report.content is None and not file.rescue]
    dirty = [file for file in whole if _by_lines(file)]
    clean = [file for file in whole if not _by_lines(file)]
    if clean:
        reader = spark.read.format("json").options(**options)
        yield shaped(_loaded(reader, asked, clean, fail_fast=fail_fast), schema, exactly, F.lit(LOST))
    small = [file for file in files if file.report.content and not file.rescue]
    if small:
        yield _parsed(_kept_lines(spark, small, places_of(asked, schema)), schema, exactly)
    if dirty:
        yield _parsed(with_verbatim(lines_of(spark, dirty), asked, schema), schema, exactly)


def _by_lines(file: BatchFile) -> bool:
    """True where Spark is given the lines of a file one by one: some are refused, or their text is wanted."""
    return file.doubt or (bool(file.report.bad) and not file.report.spool)


def _variants(lines: DataFrame, column: str) -> DataFrame:
    """Each record as one value."""
    value = F.try_parse_json("value")
    return lines.select(value.alias(column), F.when(value.isNull(), F.col("value")).alias(CORRUPT), FILE)


def _parsed(lines: DataFrame, schema: StructType, exactly: Exactly) -> DataFrame:
    """Lines (VERBATIM, `value` as in the file, FILE) as records."""
    record = F.from_json(VERBATIM, with_corrupt(exactly.asked_columns(schema)), dict(exactly.options))
    columns = [F.col(f"r.{quoted(name)}") for name in schema.names]
    corrupt = F.when(F.col(f"r.{CORRUPT}").isNotNull(), F.col("value")).alias(CORRUPT)
    line = F.col("value").alias(LINE)
    records = lines.select(record.alias("r"), "value", FILE).select(*columns, line, corrupt, FILE)
    return shaped(records, schema, exactly, F.col(LINE))


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
    given = verbatim_lines(lines, places)
    if given == lines:
        return spark.createDataFrame(pa.table(columns)).withColumn(VERBATIM, F.col("value"))
    return spark.createDataFrame(pa.table({**columns, VERBATIM: pa.array(given, pa.binary()).cast(pa.string())}))


def lines_of(spark: SparkSession, files: Sequence[BatchFile]) -> DataFrame:
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
        parser = {**options, **permissive()}
        for (header, rescue), group in _by_header(same).items():
            exactly = Exactly("csv", parser, frozenset() if rescue else _plain_columns(header, types, group))
            in_file_order = StructType(
                [StructField(n, exactly.asked_field(StructField(n, types.get(n, StringType())))) for n in header]
            )
            reader = spark.read.format("csv").options(**parser)
            records = _loaded(reader, in_file_order, group, fail_fast=fail_fast and not rescue)
            raw = None if rescue else _printed(header, options)
            yield shaped(rescued_csv(records, schema, header, parser, dirty=rescue), schema, exactly, raw)


def _plain_columns(header: Sequence[str], types: Mapping[str, DataType], files: Sequence[BatchFile]) -> frozenset[str]:
    """The columns whose values Spark's reader takes as they stand in each of the files."""
    looks = {name: [file.report.looks.get(at) for file in files] for at, name in enumerate(header) if name in types}
    return frozenset(name for name, seen in looks.items() if is_plain(types[name], seen))


def _printed(header: Sequence[str], options: Mapping[str, str]) -> Column:
    """A CSV record as text, of its fields."""
    dialect = {name: options[name] for name in ("sep", "quote", "escape", "nullValue") if name in options}
    return F.to_csv(F.struct(*map(quoted, header)), dialect)


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
    for group in by_shape(files).values():
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
    yield shaped(frame.withColumn(CORRUPT, F.lit(None).cast("string")), schema)


def _read_binary(
    spark: SparkSession, _ingest: Ingest, schema: StructType, files: Sequence[BatchFile]
) -> Iterable[DataFrame]:
    frame = load_named(spark.read.format("binaryFile"), files)
    yield shaped(frame.withColumn(CORRUPT, F.lit(None).cast("string")), schema)


def _read_xml(
    spark: SparkSession, ingest: Ingest, schema: StructType, files: Sequence[BatchFile]
) -> Iterable[DataFrame]:
    options = {**ingest.options.reader, **permissive()}
    exactly = exactly_xml(options)
    reader = spark.read.format("xml").options(**options)
    records = load_named(reader.schema(with_corrupt(exactly.asked_columns(schema))), files)
    yield shaped(records, schema, exactly, F.to_json(F.struct(*map(quoted, schema.names))))


def _read_rows(
    spark: SparkSession, _ingest: Ingest, schema: StructType, files: Sequence[BatchFile]
) -> Iterable[DataFrame]:
    yield from read_rows(spark, schema, files)


_READERS: Mapping[str, Callable[..., Iterable[DataFrame]]] = {
    "json": _read_json,
    "csv": _read_csv,
    "rows": _read_rows,
    "parquet": _read_parquet,
    "orc": _read_orc,
    "text": _read_text,
    "binaryFile": _read_binary,
    "xml": _read_xml,
}


def _loaded(reader: DataFrameReader, schema: StructType, files: Sequence[BatchFile], *, fail_fast: bool) -> DataFrame:
    """The records of text files with CORRUPT and FILE; no record is in CORRUPT where reading ends at one."""
    if fail_fast:
        return load_named(reader.option("mode", "FAILFAST").schema(schema), files, whole=True)
    return load_named(reader.schema(with_corrupt(schema)), files)
