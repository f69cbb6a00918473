"""Where the records stand that were refused once Spark had read them: Spark's rows are counted, file by file, and laid
beside the records of the file. Where the two numbers differ nothing is said.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from pyspark.sql import Column, DataFrame, SparkSession
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
    """The same records with ROW, which grows within a file that is read by `in_place`."""
    return frame.withColumn(ROW, F.monotonically_increasing_id())


@contextmanager
def _whole_files(spark: SparkSession) -> Iterator[None]:
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
    """A refused record: its ROW, the reason, and its columns as JSON."""

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


def _spans(parts: Sequence[tuple[int, int]]) -> Spans:
    before, total = [], 0
    for _, rows in parts:
        before.append(total)
        total += rows
    return Spans(tuple(first for first, _ in parts), tuple(before), total)


def in_place(
    spark: SparkSession, ingest: Ingest, frame: DataFrame, refused: Column, files: Sequence[BatchFile]
) -> list[Refusal]:
    """A refusal for each record of `frame` for which `refused` gives ROW, its reason and its columns as JSON: with its
    line and its text there, or its number in a file without lines, where they are known.
    """
    by_name = dict(zip(spark_names(spark, files), files, strict=True))
    parts: dict[str, list[tuple[int, int]]] = defaultdict(list)
    found: dict[str, list[Refused]] = defaultdict(list)
    # All in one query: a second one may number its rows otherwise.
    grouped = frame.groupBy(FILE, F.shiftright(ROW, PARTITION_BITS)).agg(
        F.min(ROW).alias("first"), F.count("*").alias("rows"), F.collect_list(refused).alias("refused")
    )
    with _whole_files(spark):
        rows = grouped.toArrow().to_pylist()
    for row in rows:
        parts[row[FILE]].append((row["first"], row["rows"]))
        found[row[FILE]] += [Refused(*one.values()) for one in row["refused"]]
    return [
        refusal
        for name, of_file in found.items()
        if of_file
        for refusal in _placed(ingest, by_name[name], of_file, _spans(sorted(parts[name])))
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
