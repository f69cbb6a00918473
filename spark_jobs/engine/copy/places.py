"""Where the records stand that were refused once Spark had read them: Spark's rows are counted, file by file, and laid
beside the records of the file. Where the two numbers differ nothing is said.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from include.config.ingest import Ingest
from include.ledger.quarantine import Refusal
from include.probe.places import places
from spark_jobs.engine.batch_files import BatchFile, holds_its_schema, kind_of, spark_names
from spark_jobs.engine.frames import FILE

ROW = "__sluice_row"
NUMBERED_BYTES = 256 << 20  # of a file; the rows of a longer one are read in parts, whose order is not known
MAX_GROWTH = 16  # of a clean copy, which may be decompressed
PARTITION_BITS = 33  # of a row's number that count within its partition
SIZE, COUNT = "spark.sql.files.maxPartitionBytes", "spark.sql.files.minPartitionNum"


def with_rows(frame: DataFrame) -> DataFrame:
    """The same records with ROW, which grows within a file that is read in `whole_files`."""
    return frame.withColumn(ROW, F.monotonically_increasing_id())


@contextmanager
def whole_files(spark: SparkSession) -> Iterator[None]:
    """What is read within reads files of up to NUMBERED_BYTES in one go, so that their rows come in order."""
    before = {name: spark.conf.get(name, None) for name in (SIZE, COUNT)}
    spark.conf.set(SIZE, str(NUMBERED_BYTES))
    spark.conf.set(COUNT, "1")
    try:
        yield
    finally:
        for name, value in before.items():
            spark.conf.unset(name) if value is None else spark.conf.set(name, value)


class Refused(NamedTuple):
    """A refused record: its file as Spark names it, its ROW, the reason, and its columns as JSON."""

    file: str
    row: int
    reason: str
    record: str


@dataclass(frozen=True)
class Spans:
    """For a file the first ROW of each partition that has rows of it, in order, and how many there are before."""

    firsts: tuple[int, ...]
    before: tuple[int, ...]
    total: int

    def position(self, row: int) -> int:
        """The place of a row among those of its file, from 0."""
        at = bisect_right(self.firsts, row) - 1
        return self.before[at] + row - self.firsts[at]


def spans_of(frame: DataFrame) -> Mapping[str, Spans]:
    """The spans of each file, as Spark names it; `frame` has ROW."""
    partition = F.shiftright(ROW, PARTITION_BITS)
    found = frame.groupBy(FILE, partition).agg(F.min(ROW).alias("first"), F.count("*").alias("rows"))
    parts: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for row in found.toArrow().to_pylist():
        parts[row[FILE]].append((row["first"], row["rows"]))
    return {name: _spans(sorted(of_file)) for name, of_file in parts.items()}


def _spans(parts: Sequence[tuple[int, int]]) -> Spans:
    before, total = [], 0
    for _, rows in parts:
        before.append(total)
        total += rows
    return Spans(tuple(first for first, _ in parts), tuple(before), total)


def in_place(
    spark: SparkSession, ingest: Ingest, frame: DataFrame, refused: Sequence[Refused], files: Sequence[BatchFile]
) -> list[Refusal]:
    """A refusal for each of the `refused` records of `frame`, which has ROW and is read in `whole_files`: with its line
    and its text there, or its number in a file without lines, where they are known.
    """
    if not refused:
        return []
    spans, by_name = spans_of(frame), dict(zip(spark_names(spark, files), files, strict=True))
    of_file: dict[str, list[Refused]] = defaultdict(list)
    for one in refused:
        of_file[one.file].append(one)
    return [
        refusal for name, found in of_file.items() for refusal in _placed(ingest, by_name[name], found, spans[name])
    ]


def _placed(ingest: Ingest, file: BatchFile, found: Sequence[Refused], spans: Spans) -> Iterator[Refusal]:
    records = _records(ingest, file, spans.total)
    for one in sorted(found, key=lambda one: one.row):
        place, at = None, spans.position(one.row)
        if records is not None:
            place = records[at]
        elif holds_its_schema(ingest, file) and len(spans.firsts) == 1 and _in_one(file):
            place = (at + 1, one.record)
        number, raw = place or (None, one.record)
        yield Refusal(file.path, file.version, one.reason, number, raw, line=records is not None)


def _records(ingest: Ingest, file: BatchFile, total: int) -> list[tuple[int, str]] | None:
    if not _in_one(file):
        return None
    known = places(kind_of(ingest, file), file.planned, ingest.options.reader, file.report)
    records = None if known is None else list(known)
    return records if records is not None and len(records) == total else None


def _in_one(file: BatchFile) -> bool:
    """Whether the file, or a copy that is not much longer, is read in one go."""
    return file.planned.size <= NUMBERED_BYTES // (MAX_GROWTH if file.report.spool else 1)
