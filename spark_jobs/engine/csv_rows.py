"""CSV files of rare headers: the probe made JSON lines of them (include/probe/csv_rows.py), which one reader reads.

A plan grows with headers times columns, so that a thousand headers in a batch would not end. The files of the headers
that weigh most are left to Spark's own CSV reader.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import reduce

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import (
    BooleanType,
    DataType,
    DateType,
    DoubleType,
    IntegerType,
    LongType,
    MapType,
    StringType,
    StructField,
    StructType,
    TimestampType,
)

from include.config.ingest import Ingest
from include.probe.csv_rows import ROWS, may_be_rows
from include.probe.report import FileReport
from spark_jobs.engine.batch_files import BatchFile, load_named
from spark_jobs.engine.exact import any_of, of_text
from spark_jobs.engine.frames import CORRUPT, FILE, RESCUED, quoted
from spark_jobs.engine.rescue import rescue_text

MANY = 16  # headers, above which the rare ones are read as rows
NATIVE = 8  # headers that have a reader of their own then
MOST_TYPED = 500  # columns of rare headers that get a type: a plan of a thousand casts and checks takes a gigabyte
# What Spark's own inference takes texts for, the first that all values are.
CANDIDATES: Mapping[str, DataType] = {
    "i": IntegerType(), "l": LongType(), "d": DoubleType(), "day": DateType(), "t": TimestampType(), "b": BooleanType(),
}  # fmt: skip
NO_NUMBER = r"^\s*[+-]?0[0-9]"
NO_FRACTION = rf"{NO_NUMBER}|^\s*[+-]?\d{{16,}}\s*$"  # an integer that a double would round


def rare(ingest: Ingest, reports: Sequence[FileReport], sizes: Mapping[str, int]) -> set[str]:
    """The paths of the CSV files that are to be read as rows."""
    if ingest.options.format != "csv" or not may_be_rows(ingest.options.reader):
        return set()
    groups: dict[tuple[object, ...], list[FileReport]] = {}
    for report in reports:
        if report.verdict == "ok" and report.records:
            groups.setdefault((report.shape, *sorted(report.options.items())), []).append(report)
    if len(groups) <= MANY:
        return set()
    heaviest = sorted(groups.values(), key=lambda group: -sum(sizes[report.path] for report in group))
    return {report.path for group in heaviest[NATIVE:] for report in group}


def is_rows(file: BatchFile) -> bool:
    """True for a file that the probe made rows of."""
    return file.report.reads_as == ROWS


def read_rows(spark: SparkSession, schema: StructType, files: Sequence[BatchFile]) -> Iterator[DataFrame]:
    """The records under `schema`; those of files with columns that it lacks come by themselves, with RESCUED."""
    names = set(schema.names)
    plain = [file for file in files if names.issuperset(file.report.shape) and not file.rescue]
    others = [file for file in files if not names.issuperset(file.report.shape) or file.rescue]
    if plain:
        yield _fitted(_texts(spark, schema.names, plain), schema, [], rescue=False)
    if others:
        extra = sorted({name for file in others for name in file.report.shape} - names)
        yield _fitted(_texts(spark, [*schema.names, *extra], others), schema, extra, rescue=True)


def _texts(spark: SparkSession, names: Collection[str], files: Sequence[BatchFile]) -> DataFrame:
    texts = StructType([StructField(name, StringType()) for name in names])
    reader = spark.read.schema(StructType([StructField("v", texts), StructField("raw", StringType())]))
    return load_named(reader.format("json"), files)


def _fitted(frame: DataFrame, schema: StructType, extra: Sequence[str], *, rescue: bool) -> DataFrame:
    texts = {name: F.col(f"v.{quoted(name)}") for name in (*schema.names, *extra)}
    columns = [_value(texts[field.name], field.dataType).alias(field.name) for field in schema]
    lost = {
        field.name: texts[field.name].isNotNull() & _value(texts[field.name], field.dataType).isNull()
        for field in schema
        if not isinstance(field.dataType, StringType)
    }
    if not rescue:
        is_lost = any_of(list(lost.values()))
        corrupt = F.lit(None).cast("string") if is_lost is None else F.when(is_lost, F.col("raw"))
        return frame.select(*columns, corrupt.alias(CORRUPT), FILE, F.lit(None).cast("string").alias(RESCUED))
    left = {name: F.when(one, texts[name]) for name, one in lost.items()}
    left |= {name: texts[name] for name in extra}
    return frame.select(*columns, F.lit(None).cast("string").alias(CORRUPT), FILE, rescue_text(left).alias(RESCUED))


def _value(text: Column, wanted: DataType) -> Column:
    return text if isinstance(wanted, StringType) else of_text(text, wanted)


def infer_rows(spark: SparkSession, files: Sequence[BatchFile], *, types: bool) -> StructType:
    """The schema that the files show, in one look at all of them."""
    names = list(dict.fromkeys(name for file in files for name in file.report.shape))
    found = _common_types(spark, files) if types and len(names) <= MOST_TYPED else {}
    return StructType([StructField(name, found.get(name, StringType())) for name in names])


def _common_types(spark: SparkSession, files: Sequence[BatchFile]) -> dict[str, DataType]:
    schema = StructType([StructField("v", MapType(StringType(), StringType()))])
    values = load_named(spark.read.schema(schema).format("json"), files).select(F.explode("v").alias("name", "text"))
    text = F.col("text")
    numbers = {"i": NO_NUMBER, "l": NO_NUMBER, "d": NO_FRACTION}
    tests = {
        name: reduce(
            Column.__and__,
            [of_text(text, kind).isNotNull(), *([~text.rlike(numbers[name])] if name in numbers else [])],
        )
        for name, kind in CANDIDATES.items()
    }
    all_are = [F.bool_and(test).alias(name) for name, test in tests.items()]
    found: dict[str, DataType] = {}
    for row in values.groupBy("name").agg(*all_are).toArrow().to_pylist():
        kind = next((kind for name, kind in CANDIDATES.items() if row[name]), None)
        if kind is not None:
            found[row["name"]] = kind
    return found
