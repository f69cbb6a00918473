"""Rows of two tables whose times are near: the pairs, and the left rows that stay alone. Pure: frames to frames."""

from dataclasses import dataclass

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812

from include.algebra.measures import quoted
from include.config.steps import Join, StreamJoin
from spark_jobs.engine.transform.join import added_columns

MATCHED, PART = "_matched", "__sluice_part"
LEFT_TIME, RIGHT_TIME = "__sluice_left_time", "__sluice_right_time"
_MICROS = 1_000_000
_LEAST_WIDTH = _MICROS
_SLACK = 1000


@dataclass(frozen=True)
class Pairs:
    """A stream_join step over left rows with the columns `own`, which get the columns `added` of the right ones."""

    step: StreamJoin
    own: tuple[str, ...]
    added: tuple[str, ...]

    @classmethod
    def of(cls, step: StreamJoin, left: DataFrame, right: DataFrame) -> "Pairs":
        """The step over these frames, which have their times.

        Raises:
            ConfigError: a column is missing, or would be there twice.
        """
        own, theirs = left.drop(LEFT_TIME).columns, right.drop(RIGHT_TIME).columns
        as_join = Join(table=step.table, on=step.on, columns=step.columns)
        return cls(step, tuple(own), tuple(added_columns(own, theirs, as_join)))

    def parted(self, left: DataFrame, right: DataFrame) -> tuple[DataFrame, DataFrame]:
        """Both as l and r, with the part of time that they are in: a left row in one, a right one in all it may match.

        So that a row is compared with those of near times, and not with all of its keys. A pair is in one part.
        """
        width = max(round((self.step.before + self.step.after) * _MICROS), _LEAST_WIDTH)
        early, late = (round(value * _MICROS) + _SLACK for value in (self.step.after, self.step.before))
        first, last = (f"(unix_micros({RIGHT_TIME}) {shift}) div {width}" for shift in (f"- {early}", f"+ {late}"))
        ours = left.withColumn(PART, F.expr(f"unix_micros({LEFT_TIME}) div {width}"))
        theirs = right.withColumn(PART, F.explode(F.expr(f"sequence({first}, {last})")))
        return ours.alias("l"), theirs.alias("r")

    def near(self) -> Column:
        """Whether a left row (l) and a right one (r) belong together."""
        keys = [f"l.{quoted(key)} = r.{quoted(key)}" for key in (*self.step.on, PART)]
        from_, to = _seconds(self.step.before), _seconds(self.step.after)
        bounds = f"r.{RIGHT_TIME} >= l.{LEFT_TIME} - {from_} AND r.{RIGHT_TIME} <= l.{LEFT_TIME} + {to}"
        return F.expr(" AND ".join([*keys, bounds]))

    def matched(self, left: DataFrame, right: DataFrame) -> DataFrame:
        """Each pair."""
        ours, theirs = self.parted(left, right)
        joined = ours.join(theirs, self.near(), "inner")
        return joined.select(
            *(F.col(f"l.{quoted(name)}") for name in self.own),
            *(F.col(f"r.{quoted(name)}") for name in self.added),
            F.lit(True).alias(MATCHED),
        )

    def final(self, newest: int | None) -> Column:
        """Left rows that no partner can come for any more, when `newest` (micros) is the newest right time.

        Those without a time never had one.
        """
        if newest is None:
            return F.col(LEFT_TIME).isNull()
        last = F.unix_micros(LEFT_TIME) + F.lit(round(self.step.after * _MICROS))
        return F.coalesce(last < F.lit(newest), F.lit(True))

    def alone(self, left: DataFrame, right: DataFrame) -> DataFrame:
        """The left rows without a partner."""
        ours, theirs = self.parted(left, right)
        rows = ours.join(theirs, self.near(), "left_anti")
        kinds = {field.name: field.dataType for field in right.schema}
        nothing = [F.lit(None).cast(kinds[name]).alias(name) for name in self.added]
        return rows.select(*map(quoted, self.own), *nothing, F.lit(False).alias(MATCHED))

    def all(self, left: DataFrame, right: DataFrame, newest: int | None) -> DataFrame:
        """What the table must hold of these rows."""
        rows = self.matched(left, right)
        if self.step.how == "inner":
            return rows.drop(MATCHED)
        return rows.unionByName(self.alone(left.where(self.final(newest)), right))


def newest_time(right: DataFrame) -> int | None:
    """The newest right time, in microseconds; None without rows."""
    newest: int | None = right.agg(F.unix_micros(F.max(RIGHT_TIME))).collect()[0][0]
    return newest


def _seconds(seconds: float) -> str:
    return f"make_dt_interval(0, 0, 0, {seconds})"
