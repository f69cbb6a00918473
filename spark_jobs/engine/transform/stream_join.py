"""The sink of a stream_join step: rows of two growing tables whose times are near, each pair once.

No state is kept: both tables are their own memory. A batch reads both at the versions that were planned with it, and
brings the pairs that the batches before it could not know: its new left rows with all right rows, and the left rows
before it with the right rows that came since the batch before it.

In a left join a row without a partner comes when it is final: when the newest time of the right table is past the last
time at which a partner may be. A partner that arrives later takes its place in the same commit. `_matched` tells them.

Where rows of one of the tables went, or an earlier version of one was vacuumed, the batch computes the whole table anew
from both as they are at its versions, and puts it in the place of the old one, in one commit.
"""

import logging
from dataclasses import dataclass

from delta.tables import DeltaTable
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812

from include.algebra.measures import quoted
from include.config.settings import Settings
from include.config.transform import Join, StreamJoin
from include.ledger.tables import open_table
from include.transform.commits import CHANGE_FEED, read_commits
from include.transform.outcomes import BatchFigures
from include.transform.plan_table import PlanTable
from include.transform.ranges import Pin, PlannedRange, VersionRange
from spark_jobs.engine.transform.commit import Target
from spark_jobs.engine.transform.join import added_columns
from spark_jobs.engine.transform.problems import file_is_gone
from spark_jobs.engine.transform.source import Source, pinned_frame
from spark_jobs.engine.transform.states import inserts, persisted
from spark_jobs.engine.transform.steps import RowSteps

MATCHED = "_matched"
LEFT_TIME, RIGHT_TIME, GONE = "__sluice_left_time", "__sluice_right_time", "__sluice_gone"
_MICROS = 1_000_000


log = logging.getLogger(__name__)


class RowsWent(Exception):
    """Raised, and caught here, when rows of the other table were deleted or updated."""


@dataclass(frozen=True)
class Sides:
    """What a batch reads: left rows before it and new ones, right rows before it, new ones and all of them.

    `before` and `now` are the newest right times (micros) of the batch before and of this one, None without rows.
    """

    old_left: DataFrame | None
    new_left: DataFrame
    new_right: DataFrame | None
    right: DataFrame
    before: int | None
    now: int | None


@dataclass(frozen=True)
class StreamJoinSink:
    """Joins what the steps make of the source with the other table."""

    source: Source
    steps: RowSteps
    target: Target
    step: StreamJoin
    settings: Settings

    def write(self, planned: PlannedRange) -> None:
        """One commit of the target."""
        if planned.versions.kind == "changes":
            self._anew(planned, "rows of the source went or were updated")
            return
        try:
            self._grow(planned)
        except RowsWent:
            self._anew(planned, f"rows of {self.step.table} went or were updated")
        except (PySparkException, Py4JJavaError) as error:
            if not file_is_gone(error):
                raise
            self._anew(planned, "files of earlier versions are gone")

    def _anew(self, planned: PlannedRange, why: str) -> None:
        log.warning("batch %d: the join is computed as a whole: %s", planned.batch, why)
        self.steps.release()
        right = self._right(pinned_frame(self.target.spark, self.settings, self.step.table, self._pin(planned)))
        left = self._left(self.source.as_of(planned), planned)
        sides = Sides(None, left, None, right, None, _newest(right))
        own, added = [name for name in left.columns if name != LEFT_TIME], self._added(sides)
        rows = self._pairs(left, right, own, added)
        rows = rows.drop(MATCHED) if self.step.how == "inner" else rows.unionByName(self._alone(sides, own, added))
        figures = BatchFigures(
            rows_read=planned.versions.rows or 0, rows_loaded=None, rows_quarantined=self.steps.rows_refused
        )
        self.target.append(rows, planned, figures, "TRUE" if self.target.exists else "")

    def _pin(self, planned: PlannedRange) -> Pin:
        return planned.pinned[self.step.table]

    def _grow(self, planned: PlannedRange) -> None:
        sides = self._sides(planned)
        left = [name for name in sides.new_left.columns if name != LEFT_TIME]
        added = self._added(sides)
        pairs = self._pairs(sides.new_left, sides.right, left, added)
        if sides.old_left is not None and sides.new_right is not None:
            pairs = pairs.unionByName(self._pairs(sides.old_left, sides.new_right, left, added))
        figures = BatchFigures(rows_read=planned.versions.rows or 0, rows_loaded=None)
        if self.step.how == "inner":
            self.target.append(pairs.drop(MATCHED), planned, figures)
            return
        rows = pairs.unionByName(self._alone(sides, left, added))
        replaced = self._replaced(sides, left)
        if replaced is None:
            self.target.append(rows, planned, figures)
            return
        with persisted(replaced) as gone:
            if gone.isEmpty():
                self.target.append(rows, planned, figures)
            else:
                self._merge(rows, gone, left, planned, figures)

    # ---- what is read

    def _sides(self, planned: PlannedRange) -> Sides:
        table, pin = self.step.table, self._pin(planned)
        earlier = PlanTable(self.settings, self.target.pipeline.name).ranges(planned.batch - 1, planned.batch - 1)
        spark = self.target.spark
        right = self._right(pinned_frame(spark, self.settings, table, pin))
        new_left = self._left(self.source.added(planned), planned)
        if not earlier:
            return Sides(None, new_left, None, right, None, _newest(right))
        past = earlier[0].pinned[table]
        old_right = self._right(pinned_frame(spark, self.settings, table, past))
        old_left = self._left(self.source.as_of(earlier[0]), planned, again=True)
        new_right = None if past.version == pin.version else self._right(self._came(planned, past, pin))
        return Sides(old_left, new_left, new_right, right, _newest(old_right), _newest(right))

    def _came(self, planned: PlannedRange, past: Pin, pin: Pin) -> DataFrame:
        """The right rows that came between the two pins."""
        location = self.settings.table_root(self.step.table)
        commits = [commit for commit in read_commits(location, past.version + 1, pin.version) if not commit.empty]
        if any(commit.changes for commit in commits):
            raise RowsWent
        other = Source(self.target.spark, self.step.table, self.settings)
        if not commits:
            return pinned_frame(self.target.spark, self.settings, self.step.table, pin).where(F.lit(False))
        then = open_table(location, past.version)
        feed = then is not None and str(then.metadata().configuration.get(CHANGE_FEED)).lower() == "true"
        versions = VersionRange("appends", past.version + 1, pin.version, None, 0, feed)
        return other.added(PlannedRange(planned.batch, pin.table_id, versions, {}, planned.planned_at, planned.run_id))

    def _left(self, rows: DataFrame, planned: PlannedRange, *, again: bool = False) -> DataFrame:
        stepped = self.steps.apply(rows, planned, again=again)
        return stepped.withColumn(LEFT_TIME, F.expr(self.step.time).cast("timestamp"))

    def _right(self, rows: DataFrame) -> DataFrame:
        return rows.withColumn(RIGHT_TIME, F.expr(self.step.other_time).cast("timestamp"))

    def _added(self, sides: Sides) -> list[str]:
        as_join = Join(table=self.step.table, on=self.step.on, columns=self.step.columns)
        left, right = sides.new_left.drop(LEFT_TIME), sides.right.drop(RIGHT_TIME)
        return added_columns(left.columns, right.columns, as_join)

    # ---- what is written

    def _near(self) -> Column:
        keys = [f"l.{quoted(key)} = r.{quoted(key)}" for key in self.step.on]
        from_, to = _seconds(self.step.before), _seconds(self.step.after)
        bounds = f"r.{RIGHT_TIME} >= l.{LEFT_TIME} - {from_} AND r.{RIGHT_TIME} <= l.{LEFT_TIME} + {to}"
        return F.expr(" AND ".join([*keys, bounds]))

    def _pairs(self, left: DataFrame, right: DataFrame, own: list[str], added: list[str]) -> DataFrame:
        joined = left.alias("l").join(right.alias("r"), self._near(), "inner")
        return joined.select(
            *(F.col(f"l.{quoted(name)}") for name in own),
            *(F.col(f"r.{quoted(name)}") for name in added),
            F.lit(True).alias(MATCHED),
        )

    def _final(self, newest: int | None) -> Column:
        """Left rows that no partner can come for any more; those without a time never had one."""
        if newest is None:
            return F.col(LEFT_TIME).isNull()
        last = F.unix_micros(LEFT_TIME) + F.lit(round(self.step.after * _MICROS))
        return F.coalesce(last < F.lit(newest), F.lit(True))

    def _alone(self, sides: Sides, own: list[str], added: list[str]) -> DataFrame:
        """The left rows that became final without a partner."""
        rows = sides.new_left.where(self._final(sides.now))
        if sides.old_left is not None:
            rows = rows.unionByName(sides.old_left.where(~self._final(sides.before) & self._final(sides.now)))
        alone = rows.alias("l").join(sides.right.alias("r"), self._near(), "left_anti")
        kinds = {field.name: field.dataType for field in sides.right.schema}
        nothing = [F.lit(None).cast(kinds[name]).alias(name) for name in added]
        return alone.select(*map(quoted, own), *nothing, F.lit(False).alias(MATCHED))

    def _replaced(self, sides: Sides, own: list[str]) -> DataFrame | None:
        """The left rows that stand alone in the target and have a partner now."""
        if sides.old_left is None or sides.new_right is None:
            return None
        settled = sides.old_left.where(self._final(sides.before)).alias("l")
        return settled.join(sides.new_right.alias("r"), self._near(), "left_semi").select(*map(quoted, own)).distinct()

    def _merge(
        self, rows: DataFrame, gone: DataFrame, own: list[str], planned: PlannedRange, figures: BatchFigures
    ) -> None:
        source = rows.withColumn(GONE, F.lit(False)).unionByName(
            gone.withColumn(GONE, F.lit(True)), allowMissingColumns=True
        )
        same = " AND ".join([f"s.{GONE} AND NOT t.{MATCHED}", *(f"t.{quoted(k)} <=> s.{quoted(k)}" for k in own)])
        with persisted(source) as ops:
            count = ops.where(~F.col(GONE)).count()
            values: dict[str, str | Column] = {**inserts(rows.columns)}
            builder = (
                DeltaTable.forPath(self.target.spark, self.target.location)
                .alias("t")
                .merge(ops.alias("s"), same)
                .whenMatchedDelete()
                .whenNotMatchedInsert(condition=f"NOT s.{GONE}", values=values)
            )
            told = BatchFigures(rows_read=figures.rows_read, rows_loaded=count)
            with self.target.as_transaction(planned, told):
                builder.execute()


def _newest(right: DataFrame) -> int | None:
    newest: int | None = right.agg(F.unix_micros(F.max(RIGHT_TIME))).collect()[0][0]
    return newest


def _seconds(seconds: float) -> str:
    return f"make_dt_interval(0, 0, 0, {seconds})"
