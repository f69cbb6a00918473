"""Spark's readers over the explicit files of one planned micro-batch: one data frame, one schema, bad records marked.

Every frame has the schema's columns, `CORRUPT` (the raw text of a record that does not fit, else null) and `FILE`
(the file as Spark names it). What Spark's readers would lose without a word is kept from them by the probe's
findings: see records.py.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import pyarrow as pa
from pyspark.sql import Column, DataFrame, DataFrameReader, SparkSession
from pyspark.sql import functions as F  # noqa: N812  the name every Spark user knows
from pyspark.sql.types import DataType, StringType, StructField, StructType

from include.config.errors import SchemaDrift
from include.config.pipeline import Ingest
from include.config.settings import spark_uri
from include.probe.probe import FileReport
from include.probe.streams import Planned

CORRUPT = "__sluice_corrupt"
FILE = "__sluice_file"
COLUMNAR = ("parquet", "orc")
GLOB_CHARACTERS = re.compile(r"([{}\[\]*?\\])")
JSON_BLANKS = b" \t\r\n"
STRICT_JSON = {"allowSingleQuotes": "false", "allowNonNumericNumbers": "false"}
WIDENS = {
    "tinyint": {"smallint", "int", "bigint"},
    "smallint": {"int", "bigint"},
    "int": {"bigint"},
    "float": {"double"},
}


@dataclass(frozen=True)
class BatchFile:
    """A file of the batch that is to be read: its ledger path and version, where it is, and what the probe found."""

    path: str
    version: int
    planned: Planned
    report: FileReport

    @property
    def uri(self) -> str:
        """What Spark reads: the file itself, or the clean copy of it that the probe made."""
        return self.report.spool or self.planned.uri


def read_files(spark: SparkSession, ingest: Ingest, schema: StructType, files: Sequence[BatchFile]) -> DataFrame:
    """The records of `files` under `schema`, without those that the probe refused."""
    frames = [
        frame
        for kind, group in by_format(ingest, files).items()
        for frame in _READERS[kind](spark, ingest, schema, group)
    ]
    return reduce(DataFrame.unionByName, frames)


def by_format(ingest: Ingest, files: Sequence[BatchFile]) -> Mapping[str, list[BatchFile]]:
    """The files by the format that Spark reads them in."""
    groups: dict[str, list[BatchFile]] = {}
    for file in files:
        groups.setdefault(file.report.reads_as or ingest.options.format, []).append(file)
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
    clean = [file for file in files if not file.report.bad and file.report.content is None]
    if clean:
        reader = spark.read.format("json").options(**options).schema(_with_corrupt(schema))
        yield _shaped(load_named(reader, clean), schema)
    parsed = F.from_json("value", _with_corrupt(schema), options)
    small = [file for file in files if file.report.content]
    if small:
        yield _kept_lines(spark, small).select(parsed.alias("r"), FILE).select("r.*", FILE)
    dirty = [file for file in files if file.report.bad]
    if dirty:
        lines = _without_refused(spark, load_named(spark.read.format("text"), dirty), dirty)
        yield lines.select(parsed.alias("r"), FILE).select("r.*", FILE)


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


def _without_refused(spark: SparkSession, text: DataFrame, files: Sequence[BatchFile]) -> DataFrame:
    """The lines that the probe did not refuse: whether a line is refused depends on its bytes alone."""
    raws = {bad.raw for file in files for bad in file.report.bad}
    frame = spark.createDataFrame(pa.table({"refused": pa.array(sorted(raws), pa.binary())}))
    lines = text.where(F.btrim("value", F.lit(JSON_BLANKS.decode())) != "")
    return lines.join(F.broadcast(frame), lines["value"].cast("binary") == frame["refused"], how="left_anti")


def _read_csv(
    spark: SparkSession, ingest: Ingest, schema: StructType, files: Sequence[BatchFile]
) -> Iterable[DataFrame]:
    """One frame per distinct header: Spark matches CSV columns by position, so each header gets a schema in its
    order.
    """
    types = {field.name: field.dataType for field in schema}
    for options, same in by_options(ingest, files):
        for header, group in _by_shape(same).items():
            in_file_order = StructType([StructField(name, types[name]) for name in header])
            reader = spark.read.format("csv").options(**{**options, **_permissive()})
            yield _shaped(load_named(reader.schema(_with_corrupt(in_file_order)), group), schema)


def by_options(ingest: Ingest, files: Sequence[BatchFile]) -> Iterator[tuple[dict[str, str], list[BatchFile]]]:
    """The files by the reader's options that they need: the pipeline's, and what the probe found about each."""
    groups: dict[tuple[tuple[str, str], ...], list[BatchFile]] = {}
    for file in files:
        groups.setdefault(tuple(sorted(file.report.options.items())), []).append(file)
    for options, group in groups.items():
        yield {**ingest.options.reader, **dict(options)}, group


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
        yield _shaped(frame.withColumn(CORRUPT, F.lit(None).cast("string")), schema)


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
    """The schema's columns in its order (null where the files have none), then CORRUPT and FILE."""
    present = set(frame.columns)
    columns = [_typed(field, present) for field in schema]
    return frame.select(*columns, CORRUPT, FILE)


def quoted(name: str) -> str:
    """A column's name as Spark takes it for one name, whatever dots and back-quotes are in it."""
    return "`" + name.replace("`", "``") + "`"


def _typed(field: StructField, present: set[str]) -> Column:
    value = F.col(quoted(field.name)) if field.name in present else F.lit(None)
    return value.cast(field.dataType).alias(field.name)


def infer_schema(spark: SparkSession, ingest: Ingest, files: Sequence[BatchFile]) -> StructType:
    """The schema that the files show, with column types only where `cloudFiles.inferColumnTypes` asks for them."""
    if ingest.options.format == "text":
        return StructType([StructField("value", StringType())])
    if ingest.options.format == "json":
        return _infer_json(spark, ingest, files)
    if ingest.options.format == "binaryFile":
        return load_named(spark.read.format("binaryFile"), files[:1]).drop(FILE).schema
    return reduce(
        _merged,
        (
            _infer_group(spark, ingest, options, header, group)
            for options, same in by_options(ingest, files)
            for header, group in _by_shape(same).items()
        ),
    )


def _infer_json(spark: SparkSession, ingest: Ingest, files: Sequence[BatchFile]) -> StructType:
    """From the lines that the probe did not refuse: a refused line must not shape the table."""
    as_text = "false" if ingest.options.infer_column_types else "true"
    options = {**STRICT_JSON, **_line_options(ingest), **_permissive(), "primitivesAsString": as_text}
    reader = spark.read.format("json").options(**options)
    if any(file.report.bad for file in files):
        text = load_named(spark.read.format("text"), files)
        inferred = reader.json(_without_refused(spark, text, files).select("value")).schema
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
    kind = files[0].report.reads_as or ingest.options.format
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
    return right if widens(left, right) else StringType()


def widens(narrow: DataType, wide: DataType) -> bool:
    """True where every value of `narrow` is exactly a value of `wide`."""
    return wide.simpleString() in WIDENS.get(narrow.simpleString(), set())


def refuse_parquet_drift(spark: SparkSession, schema: StructType, files: Sequence[BatchFile]) -> None:
    """Compare each distinct Parquet schema among the files with the pipeline's.

    Raises:
        SchemaDrift: a file has a column that the schema lacks, or has it with a type that does not fit.
    """
    known = {field.name: field.dataType for field in schema}
    for group in _by_shape(files).values():
        physical = load_named(spark.read.format(group[0].report.reads_as or "parquet"), group[:1]).drop(FILE).schema
        for field in physical:
            expected = known.get(field.name)
            if expected is None:
                raise drift(group[0].path, field.name, None, f"{field.name} {field.dataType.simpleString()}")
            if expected != field.dataType and not widens(field.dataType, expected):
                raise SchemaDrift(
                    f"{group[0].path}: column {field.name!r} is {field.dataType.simpleString()}, "
                    f"the schema has {expected.simpleString()}.",
                    remedy="Mend the file, or load it through a pipeline of its own.",
                    path=group[0].path,
                    column=field.name,
                )


def drift(path: str, column: str, record: int | None, hint: str) -> SchemaDrift:
    """The error for a column that the schema does not have, first seen in `path` at `record`."""
    where = path if record is None else f"{path}, line {record}"
    return SchemaDrift(
        f"{where}: {column!r} is not in the schema. Nothing of this batch was loaded.",
        remedy=f'Add it to the pipeline file: options: cloudFiles.schemaHints: "{hint}", then run again.',
        path=path,
        column=column,
        record=record,
    )
