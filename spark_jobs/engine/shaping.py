"""What the readers of all formats share: options, groups of files, and the columns of a frame of records."""

from collections.abc import Iterator, Mapping, Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import StringType, StructField, StructType

from include.config.ingest import Ingest
from include.config.spark_options import LENIENT_JSON
from spark_jobs.engine.batch_files import BatchFile
from spark_jobs.engine.exact import Exactly, any_of
from spark_jobs.engine.frames import CORRUPT, FILE, RESCUED, quoted

# NaN and the like are texts by then, which Spark takes for numbers only where that is allowed.
TAKEN_CARE_OF = {"multiLine", "encoding", "lineSep", *LENIENT_JSON} - {"allowNonNumericNumbers"}
STRICT_JSON = {"allowSingleQuotes": "false", "allowNonNumericNumbers": "false"}


def permissive() -> dict[str, str]:
    """Options under which a record that does not fit is in CORRUPT."""
    return {"mode": "PERMISSIVE", "columnNameOfCorruptRecord": CORRUPT}


def with_corrupt(schema: StructType) -> StructType:
    """The columns and CORRUPT."""
    return StructType([*schema, StructField(CORRUPT, StringType())])


def by_shape(files: Sequence[BatchFile]) -> Mapping[tuple[str, ...], list[BatchFile]]:
    """The files by their shape (see FileReport)."""
    groups: dict[tuple[str, ...], list[BatchFile]] = {}
    for file in files:
        groups.setdefault(file.report.shape, []).append(file)
    return groups


def shaped(
    frame: DataFrame, schema: StructType, exactly: Exactly | None = None, raw: Column | None = None
) -> DataFrame:
    """Those of the schema's columns that the frame has, in its order, then CORRUPT, FILE and RESCUED.

    `exactly` makes the values of what was asked for; where one is lost, the record is corrupt, with `raw` as its text.
    """
    present = frame.columns
    fields = [field for field in schema if field.name in present]
    if exactly is None:
        columns = [F.col(quoted(f.name)).cast(f.dataType).alias(f.name) for f in fields]
        return with_rescued(frame).select(*columns, CORRUPT, FILE, RESCUED)
    if present == [*schema.names, CORRUPT, FILE, RESCUED] and not any(map(exactly.doubts_field, fields)):
        return frame
    columns = [exactly.kept_field(F.col(quoted(f.name)), f).alias(f.name) for f in fields]
    lost = any_of([exactly.lost_field(F.col(quoted(f.name)), f) for f in fields])
    corrupt = F.col(CORRUPT)
    if lost is not None and raw is not None:
        corrupt = F.coalesce(corrupt, F.when(lost, raw)).alias(CORRUPT)
    return with_rescued(frame).select(*columns, corrupt, FILE, RESCUED)


def with_rescued(frame: DataFrame) -> DataFrame:
    """The frame with RESCUED, null if it had none."""
    return frame if RESCUED in frame.columns else frame.withColumn(RESCUED, F.lit(None).cast("string"))


def by_options(ingest: Ingest, files: Sequence[BatchFile]) -> Iterator[tuple[dict[str, str], list[BatchFile]]]:
    """The files by the reader's options that they need: the pipeline's, and what the probe found about each."""
    groups: dict[tuple[tuple[str, str], ...], list[BatchFile]] = {}
    for file in files:
        groups.setdefault(tuple(sorted(file.report.options.items())), []).append(file)
    reader = {name: value for name, value in ingest.options.reader.items() if name != "lineSep"}  # copies have lines
    for options, group in groups.items():
        yield {**reader, **dict(options)}, group


def line_options(ingest: Ingest) -> dict[str, str]:
    """Without what the probe has taken care of: Spark is given lines of strict JSON in UTF-8."""
    return {name: value for name, value in ingest.options.reader.items() if name not in TAKEN_CARE_OF}
