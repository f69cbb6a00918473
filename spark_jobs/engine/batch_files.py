"""The files of a batch as Spark is given them: where they are, what Spark calls them, the format that it reads."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce

from pyspark.sql import DataFrame, DataFrameReader, SparkSession
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import StructType

from include.config.pipeline import Ingest
from include.config.settings import spark_uri
from include.probe.probe import FileReport
from include.probe.streams import Planned
from spark_jobs.engine.frames import CORRUPT, FILE, RESCUED
from spark_jobs.engine.names import source_name

FEW_SHAPES = 16
COLUMNAR = ("parquet", "orc")
GLOB_CHARACTERS = re.compile(r"([{}\[\]*?\\])")


@dataclass(frozen=True)
class BatchFile:
    """A file of the batch that is to be read: its ledger path and version, where it is, and what the probe found.

    `rescue` says that something in it does not fit the schema: it is read with what that takes. `doubt` says the same
    where nothing can be rescued: then CORRUPT is the record's own text.
    """

    path: str
    version: int
    planned: Planned
    report: FileReport
    rescue: bool = False
    doubt: bool = False

    @property
    def uri(self) -> str:
        """What Spark reads: the file itself, or the clean copy of it that the probe made."""
        return self.report.spool or self.planned.uri


def uris(files: Iterable[BatchFile]) -> list[str]:
    """The files as Spark names them."""
    return [spark_uri(file.uri) for file in files]


def load_named(reader: DataFrameReader, files: Sequence[BatchFile], *, whole: bool = False) -> DataFrame:
    """Exactly these files, with FILE: a `*` or `[` in a name is that character, not a pattern. Where all of each record
    is in its columns, `whole`, also with CORRUPT and RESCUED: each step of a plan by itself costs 10 ms and more.

    Spark's own switch for that (`__globPaths__`) reads ALL paths once more for each path with such a character, so they
    are escaped instead. Hadoop cannot expand a pattern with a colon in it: such a file, alone, goes by the switch.

    FILE is `input_file_name()`: `_metadata.file_path` is the same but makes Spark copy each row once more. Of a million
    rows of six columns it made 1.43 s of CPU 1.78 s (JSON) and 1.02 s 1.29 s (CSV); this makes them 1.53 s and 1.09 s.
    """
    named = uris(files)
    alone = [uri for uri in named if GLOB_CHARACTERS.search(uri) and ":" in uri.rpartition("/")[2]]
    together = [GLOB_CHARACTERS.sub(r"\\\1", uri) for uri in named if uri not in alone]
    frames = [reader.load(together)] if together else []
    frames += [reader.option("__globPaths__", "false").load([uri]) for uri in alone]
    columns = [F.input_file_name().alias(FILE)]
    if whole:
        nothing = F.lit(None).cast("string")
        columns = [nothing.alias(CORRUPT), *columns, nothing.alias(RESCUED)]
    return reduce(DataFrame.unionByName, (frame.select("*", *columns) for frame in frames))


def spark_names(spark: SparkSession, files: Iterable[BatchFile]) -> list[str]:
    """What Spark's `input_file_name()` says for each file."""
    return [spark_name(spark, uri) for uri in uris(files)]


def spark_name(spark: SparkSession, uri: str) -> str:
    """What `input_file_name()` says for a file: Hadoop's escaping, asked of Hadoop where a name needs any."""
    name = uri if _is_plain(uri) else str(spark._jvm.org.apache.hadoop.fs.Path(uri).toUri().toString())  # type: ignore[union-attr]
    return f"file://{name}" if name.startswith("/") else name


def common_prefix(names: Sequence[str], paths: Sequence[str]) -> str | None:
    """What stands before the ledger's path in each of Spark's names, None where that differs or the path is escaped."""
    prefix = names[0].removesuffix(paths[0])
    same = all(name == prefix + path for name, path in zip(names, paths, strict=True))
    return prefix if same else None


def _is_plain(uri: str) -> bool:
    return uri.isascii() and all(c.isalnum() or c in "/._-:" for c in uri)


def kind_of(ingest: Ingest, file: BatchFile) -> str:
    """The format that Spark reads the file in."""
    return file.report.reads_as or ingest.options.format


def holds_its_schema(ingest: Ingest, file: BatchFile) -> bool:
    """True where the file says its columns' types (Parquet, ORC, Avro), so that nothing of it need be parsed."""
    return kind_of(ingest, file) in COLUMNAR


def own_columns(ingest: Ingest, schema: StructType, files: Sequence[BatchFile]) -> StructType:
    """The columns of the schema that the files have, where they say which: a wide table has thousands of others."""
    if ingest.options.format != "csv" and not all(holds_its_schema(ingest, file) for file in files):
        return schema
    split = "\0" if ingest.options.format == "csv" else ": "
    names = {column.split(split)[0] for file in files for column in file.report.shape}
    return StructType([field for field in schema if source_name(field) in names])


def by_few_shapes(files: Sequence[BatchFile]) -> Iterator[list[BatchFile]]:
    """The files in parts of few shapes: Spark's plan of one grows with shapes times columns."""
    shapes: dict[tuple[str, ...], list[BatchFile]] = {}
    for file in files:
        shapes.setdefault(file.report.shape, []).append(file)
    groups = list(shapes.values())
    for start in range(0, len(groups), FEW_SHAPES):
        yield [file for group in groups[start : start + FEW_SHAPES] for file in group]
