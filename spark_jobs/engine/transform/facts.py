"""What is known of a micro-batch's window rows before they are merged: how many, and in which parts of time."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812

from include.transform.near_rows import Span, Spans
from spark_jobs.engine.transform.states import END, ROWS, START

MOST_PARTS = 100
_DAY = 86_400_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FOUR_DIGITS = tuple((datetime(year, 1, 1, tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1) for year in (1000, 9999))


@dataclass(frozen=True)
class Part:
    """A part of time, in microseconds since the epoch: the first start, the last start, the last end of windows."""

    first: int
    last: int
    end: int


@dataclass(frozen=True)
class Facts:
    """`states` window rows of `rows` rows, in `parts` of time that keep apart what is days apart."""

    states: int
    rows: int
    parts: tuple[Part, ...]

    def starts(self, alias: str) -> str:
        """The SQL condition that lets Delta pass over the files of other times."""
        return _any(f"{alias}.{START} BETWEEN {moment(part.first)} AND {moment(part.last)}" for part in self.parts)

    def spans(self) -> Spans:
        """The times of these windows, by their starts."""
        return Spans(START, START, [Span(part.first, part.last) for part in self.parts])

    def touching_spans(self) -> Spans:
        """The times of windows that may touch one of these."""
        return Spans(START, END, [Span(part.first, part.end) for part in self.parts])

    def touching(self, alias: str) -> str:
        """The SQL condition of windows that may touch one of these."""
        return _any(
            f"({alias}.{START} <= {moment(part.end)} AND {alias}.{END} >= {moment(part.first)})" for part in self.parts
        )


def facts_of(states: DataFrame) -> Facts:
    """One small job over window rows."""
    day = F.date_trunc("day", F.col(START))
    rows = (
        states.groupBy(day.alias("day"))
        .agg(
            F.count(F.lit(1)).alias("states"),
            F.sum(ROWS).alias("rows"),
            F.unix_micros(F.min(START)).alias("first"),
            F.unix_micros(F.max(START)).alias("last"),
            F.unix_micros(F.max(END)).alias("end"),
        )
        .drop("day")  # Python has no day before the year 1, nor after 9999
        .collect()
    )
    parts = sorted((Part(row["first"], row["last"], row["end"]) for row in rows), key=lambda part: part.first)
    return Facts(sum(row["states"] for row in rows), sum(row["rows"] for row in rows), few(parts, MOST_PARTS))


def facts_of_arrow(states: pa.Table) -> Facts:
    """The same of window rows in memory."""
    micros = {name: states[name].cast(pa.timestamp("us", "UTC")).cast(pa.int64()) for name in (START, END)}
    days = pc.divide(micros[START], pa.scalar(_DAY, pa.int64()))
    table = pa.table({"day": days, "first": micros[START], "end": micros[END], "rows": states[ROWS]})
    found = table.group_by("day").aggregate(
        [("first", "min"), ("first", "max"), ("end", "max"), ("rows", "sum"), ("rows", "count")]
    )
    rows = found.to_pylist()
    parts = sorted(
        (Part(row["first_min"], row["first_max"], row["end_max"]) for row in rows), key=lambda part: part.first
    )
    return Facts(states.num_rows, sum(row["rows_sum"] for row in rows), few(parts, MOST_PARTS))


def few(parts: Sequence[Part], most: int) -> tuple[Part, ...]:
    """The same parts, and where they are more than `most` the nearest neighbours as one."""
    if len(parts) <= most:
        return tuple(parts)
    gaps = sorted(range(1, len(parts)), key=lambda at: parts[at].first - parts[at - 1].last, reverse=True)
    cuts = [0, *sorted(gaps[: most - 1]), len(parts)]
    groups = [parts[begin:end] for begin, end in pairwise(cuts)]
    return tuple(Part(group[0].first, group[-1].last, max(part.end for part in group)) for group in groups)


def moment(micros: int) -> str:
    """A timestamp in SQL: a literal, where there is one that Python can write."""
    if not _FOUR_DIGITS[0] <= micros <= _FOUR_DIGITS[1]:
        return f"timestamp_micros({micros})"
    at = _EPOCH + timedelta(microseconds=micros)
    return f"TIMESTAMP '{at:%Y-%m-%d %H:%M:%S.%f}+00:00'"


def _any(conditions: Iterable[str]) -> str:
    texts = list(conditions)
    return f"({' OR '.join(texts)})" if texts else "FALSE"
