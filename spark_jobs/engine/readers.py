"""Spark's readers over the explicit files of one planned micro-batch: one data frame, one schema, bad records marked.

Every frame has the schema's columns, `CORRUPT` (the raw text of a record that does not fit, else null), `FILE` (the
file as Spark names it) and `RESCUED` (what of the record is not in its columns). What Spark's readers would lose
without a word is kept from them by the probe's findings: see records.py.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import pyarrow as pa
from pyspark.sql import Column, DataFrame, DataFrameReader, SparkSession
from pyspark.sql import functions as F  # noqa: N812  the name every Spark user knows
from pyspark.sql.types import ArrayType, DataType, MapType, StringType, StructField, StructType

from include.config.pipeline import Ingest
from include.config.settings import spark_uri
from include.probe.probe import FileReport
from include.probe.streams import Planned
from spark_jobs.engine.fitting import fit_columns, widens
from spark_jobs.engine.frames import CORRUPT, FILE, RESCUED, exact_names, quoted
from spark_jobs.engine.growth import extended
from spark_jobs.engine.names import is_partition, source_name, source_schema
from spark_jobs.engine.partitions import with_partitions
from spark_jobs.engine.rescue import rescue_text, rescued_csv, rescued_json

COLUMNAR = ("parquet", "orc")
GLOB_CHARACTERS = re.compile(r"([{}\[\]*?\\])")
COPY, OWN = "__sluice_copy", "__sluice_own"
JSON_BLANKS = b" \t\r\n"
STRICT_JSON = {"allowSingleQuotes": "false", "allowNonNumericNumbers": "false"}


@dataclass(frozen=True)
class BatchFile:
    """A file of the batch that is to be read: its ledger path and version, where it is, and what the probe found.

    `rescue` says that something in it does not fit the schema: it is read with what that takes.
    """

    path: str
    version: int
    planned: Planned
    report: FileReport
    rescue: bool = False

    @property
    def uri(self) -> str:
        """What Spark reads: the file itself, or the clean copy of it that the probe made."""
        return self.report.spool or self.planned.uri


def read_files(spark: SparkSession, ingest: Ingest, schema: StructType, files: Sequence[BatchFile]) -> DataFrame:
    """The records of `files` under `schema`, named as in the table, without those that the probe refused."""
    source = source_schema(schema)
    with exact_names(spark):
        frames = [
            _with_rescued(frame)
            for kind, group in by_format(ingest, files).items()
            for frame in _READERS[kind](spark, ingest, source, group)
        ]
        named = _named_as_in_table(reduce(DataFrame.unionByName, frames), schema)
        records = _with_own_paths(spark, named, files)
        if not any(map(is_partition, schema)):
            return records
        paths = [file.path for file in files]
        return with_partitions(spark, records, schema, dict(zip(spark_names(spark, files), paths, strict=True)))


def _with_rescued(frame: DataFrame) -> DataFrame:
    return frame if RESCUED in frame.columns else frame.withColumn(RESCUED, F.lit(None).cast("string"))


def _with_own_paths(spark: SparkSession, records: DataFrame, files: Sequence[BatchFile]) -> DataFrame:
    """What was rescued from a clean copy is from the file that was copied."""
    copied = [file for file in files if file.report.spool]
    if not copied:
        return records
    columns = {COPY: pa.array(spark_names(spark, copied)), OWN: pa.array([spark_uri(f.planned.uri) for f in copied])}
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


def uris(files: Iterable[BatchFile]) -> list[str]:
    """The files as Spark names them."""
    return [spark_uri(file.uri) for file in files]


def load_named(reader: DataFrameReader, files: Sequence[BatchFile]) -> DataFrame:
    """Exactly these files, with FILE: a `*` or `[` in a name is that character, not a pattern.

    Spark's own switch for that (`__globPaths__`) reads ALL paths once more for each path with such a character, so they
    are escaped instead. Hadoop cannot expand a pattern with a colon in it: such a file, alone, goes by the switch.
    """
    named = uris(files)
    alone = [uri for uri in named if GLOB_CHARACTERS.search(uri) and ":" in uri.rpartition("/")[2]]
    together = [GLOB_CHARACTERS.sub(r"\\\1", uri) for uri in named if uri not in alone]
    frames = [reader.load(together)] if together else []
    frames += [reader.option("__globPaths__", "false").load([uri]) for uri in alone]
    return reduce(
        DataFrame.unionByName, (frame.select("*", F.col("_metadata.file_path").alias(FILE)) for frame in frames)
    )


def spark_names(spark: SparkSession, files: Sequence[BatchFile]) -> list[str]:
    """What Spark's `_metadata.file_path` says for each file: Hadoop's escaping, asked of Hadoop where a name needs
    any.
    """
    jvm_path = spark._jvm.org.apache.hadoop.fs.Path  # type: ignore[union-attr]
    names = []
    for uri in uris(files):
        name = uri if _is_plain(uri) else str(jvm_path(uri).toUri().toString())
        names.append(f"file:{name}" if name.startswith("/") else name)
    return names


def common_prefix(names: Sequence[str], paths: Sequence[str]) -> str | None:
    """What stands before the ledger's path in each of Spark's names, None where that differs or the path is escaped."""
    prefix = names[0].removesuffix(paths[0])
    same = all(name == prefix + path for name, path in zip(names, paths, strict=True))
    return prefix if same else None


def _is_plain(uri: str) -> bool:
    return uri.isascii() and all(c.isalnum() or c in "/._-:" for c in uri)


def _read_json(
    spark: SparkSession, ingest: Ingest, schema: StructType, files: Sequence[BatchFile]
) -> Iterable[DataFrame]:
    """Clean files by Spark's JSON source; files with refused lines as text, less those lines, through the same
    parser.
    """
    options = {**STRICT_JSON, **_line_options(ingest), **_permissive()}
    parsed = F.from_json("value", _with_corrupt(schema), options)
    rescue = [file for file in files if file.rescue]
    if rescue:
        yield rescued_json(_lines(spark, rescue), schema, options)
    whole = [file for file in files if file.report.content is None and not file.rescue]
    clean = [file for file in whole if file.report.spool or not file.report.bad]
    dirty = [file for file in whole if file.report.bad and not file.report.spool]
    if clean:
        reader = spark.read.format("json").options(**options).schema(_with_corrupt(schema))
        yield _shaped(load_named(reader, clean), schema)
    small = [file for file in files if file.report.content and not file.rescue]
    if small:
        yield _kept_lines(spark, small).select(parsed.alias("r"), FILE).select("r.*", FILE)
    if dirty:
        yield _lines(spark, dirty).select(parsed.alias("r"), FILE).select("r.*", FILE)


def _kept_lines(spark: SparkSession, files: Sequence[BatchFile]) -> DataFrame:
    """The lines of files whose content the probe kept: they are not listed, opened and split by Spark once more."""
    lines: list[bytes] = []
    names: list[str] = []
    for name, file in zip(spark_names(spark, files), files, strict=True):
        own = [line for line in (file.report.content or b"").splitlines() if line.strip(JSON_BLANKS)]
        lines += own
        names += [name] * len(own)
    # Clean lines are UTF-8, the probe says so.
    columns = {"value": pa.array(lines, pa.binary()).cast(pa.string()), FILE: pa.array(names)}
    return spark.createDataFrame(pa.table(columns))


def _line_options(ingest: Ingest) -> dict[str, str]:
    """Without what the probe has taken care of: Spark is given lines in UTF-8."""
    return {name: value for name, value in ingest.options.reader.items() if name not in ("multiLine", "encoding")}


def _lines(spark: SparkSession, files: Sequence[BatchFile]) -> DataFrame:
    """The lines that the probe did not refuse: whether a line is refused depends on its bytes alone."""
    text = load_named(spark.read.format("text"), files)
    raws = {bad.raw for file in files for bad in file.report.bad}
    frame = spark.createDataFrame(pa.table({"refused": pa.array(sorted(raws), pa.binary())}))
    lines = text.where(F.btrim("value", F.lit(JSON_BLANKS.decode())) != "")
    return lines.join(F.broadcast(frame), lines["value"].cast("binary") == frame["refused"], how="left_anti")


def _read_csv(
    spark: SparkSession, ingest: Ingest, schema: StructType, files: Sequence[BatchFile]
) -> Iterable[DataFrame]:
    """One frame per distinct header: Spark matches CSV columns by position, so each header gets a schema in its
    order. Columns that the schema does not have are read as they stand.
    """
    types = {field.name: field.dataType for field in schema}
    for options, same in by_options(ingest, files):
        parser = {**options, **_permissive()}
        for (header, rescue), group in _by_header(same).items():
            in_file_order = StructType([StructField(name, types.get(name, StringType())) for name in header])
            reader = spark.read.format("csv").options(**parser)
            records = load_named(reader.schema(_with_corrupt(in_file_order)), group)
            yield _shaped(rescued_csv(records, schema, header, parser, dirty=rescue), schema)


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
        frame = load_named(spark.read.format(kind).options(**ingest.options.reader), group)
        fitted = fit_columns(frame.drop(FILE).schema, schema)
        kept = [fitted[name].kept.alias(name) for name in schema.names]
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
    """The schema's columns in its order (null where the files have none), then CORRUPT, FILE and RESCUED."""
    present = set(frame.columns)
    columns = [_typed(field, present) for field in schema]
    return _with_rescued(frame).select(*columns, CORRUPT, FILE, RESCUED)


def _typed(field: StructField, present: set[str]) -> Column:
    value = F.col(quoted(field.name)) if field.name in present else F.lit(None)
    return value.cast(field.dataType).alias(field.name)


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
    as_text = "false" if ingest.options.infer_column_types else "true"
    options = {**STRICT_JSON, **_line_options(ingest), **_permissive(), "primitivesAsString": as_text}
    reader = spark.read.format("json").options(**options)
    if any(file.report.bad for file in files):
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
    kind = kind_of(ingest, files[0])
    if kind in COLUMNAR:
        return load_named(reader.format(kind), files[:1]).drop(FILE).schema
    if kind == "xml":
        inferred = load_named(reader.format("xml").options(**_permissive()), files).schema
        return StructType([field for field in inferred if field.name not in (CORRUPT, FILE)])
    if not ingest.options.infer_column_types:
        return StructType([StructField(name, StringType()) for name in header])
    inferred = load_named(reader.format("csv").option("inferSchema", "true"), files).drop(FILE).schema
    return StructType([StructField(name, field.dataType) for name, field in zip(header, inferred, strict=False)])


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
        with exact_names(spark):
            reader = spark.read.format(kind_of(ingest, group[0])).options(**ingest.options.reader)
            seen = load_named(reader, group[:1]).drop(FILE).schema
        yield seen, group


def kind_of(ingest: Ingest, file: BatchFile) -> str:
    """The format that Spark reads the file in."""
    return file.report.reads_as or ingest.options.format


def holds_its_schema(ingest: Ingest, file: BatchFile) -> bool:
    """True where the file says its columns' types (Parquet, ORC, Avro), so that nothing of it need be parsed."""
    return kind_of(ingest, file) in COLUMNAR
