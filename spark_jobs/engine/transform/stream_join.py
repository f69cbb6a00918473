"""The sink of a stream_join step: rows of two growing tables whose times are near, each pair once.

No state is kept: both tables are their own memory. A batch reads both at the versions that were planned with it, and
brings the pairs that the batches before it could not know: its new left rows with all right rows, and the left rows
before it with the right rows that came since the batch before it.

In a left join a row without a partner comes when it is final: when the newest time of the right table is past the last
time at which a partner may be. A partner that arrives later takes its place in the same commit. `_matched` tells them.

Where rows of one of the tables went or were updated, the keys that they have are joined anew, and with them those whose
left rows are final now and were not, or the other way round. Where an earlier version was vacuumed, or had no change
feed, the batch computes the whole table anew. Each is one commit.
"""

import logging
from dataclasses import dataclass, replace

from delta.tables import DeltaTable
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812

from include.algebra.measures import quoted
from include.config.settings import Settings
from include.config.steps import StreamJoin
from include.ledger.tables import open_table
from include.transform.commits import CHANGE_FEED, read_commits
from include.transform.outcomes import BatchFigures
from include.transform.plan_table import PlanTable
from include.transform.ranges import Pin, PlannedRange, VersionRange
from spark_jobs.engine.transform.commit import Target
from spark_jobs.engine.transform.keyed import KeyedTable, of_keys
from spark_jobs.engine.transform.pairs import LEFT_TIME, MATCHED, RIGHT_TIME, Pairs, newest_time
from spark_jobs.engine.transform.problems import file_is_gone
from spark_jobs.engine.transform.source import FEED_COLUMNS, TableSource, pinned_frame
from spark_jobs.engine.transform.sources import Source
from spark_jobs.engine.transform.states import inserts, persisted
from spark_jobs.engine.transform.steps import RowSteps

GONE = "__sluice_gone"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Came:
    """What came to the right table between two pins: a range of its versions, or nothing.

    `by_feed` is false where its rows cannot be told from those that went.
    """

    planned: PlannedRange | None
    changes: bool = False
    by_feed: bool = True


@dataclass(frozen=True)
class Sides:
    """What a batch reads: left rows before it and new ones, right rows that are new and all of them.

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
        found = PlanTable(self.settings, self.target.pipeline.name).ranges(planned.batch - 1, planned.batch - 1)
        earlier = found[0] if found else None
        try:
            came = self._came(planned, earlier)
            if planned.versions.kind != "changes" and not came.changes:
                self._grow(planned, earlier, came)
            elif earlier is None or not self.target.exists:
                self._anew(planned, "there is nothing to go on from")
            elif not came.by_feed or (planned.versions.kind == "changes" and not planned.versions.feed):
                self._anew(planned, "rows of one of the tables went or were updated, without its change feed")
            else:
                self._follow(planned, earlier, came)
        except (PySparkException, Py4JJavaError) as error:
            if not file_is_gone(error):
                raise
            self._anew(planned, "files of earlier versions are gone")

    def _anew(self, planned: PlannedRange, why: str) -> None:
        """The whole table."""
        log.warning("batch %d: the join is computed as a whole: %s", planned.batch, why)
        self.steps.release()
        right = self._right(pinned_frame(self.target.spark, self.settings, self.step.table, self._pin(planned)))
        left = self._left(self.source.as_of(planned), planned)
        rows = Pairs.of(self.step, left, right).all(left, right, newest_time(right))
        figures = BatchFigures(
            rows_read=planned.versions.rows or 0, rows_loaded=None, rows_quarantined=self.steps.rows_refused
        )
        self.target.append(rows, planned, figures, "TRUE" if self.target.exists else "")

    def _follow(self, planned: PlannedRange, earlier: PlannedRange, came: Came) -> None:
        """All rows of the keys that are concerned."""
        spark, table = self.target.spark, self.step.table
        right = self._right(pinned_frame(spark, self.settings, table, self._pin(planned)))
        left = self._left(self.source.as_of(planned), planned, again=True)
        new_left = self._left(self.source.added(planned), planned)  # counts what the checks refuse
        touched = self._keys(new_left)
        if planned.versions.kind == "changes":
            gone = self.source.feed(planned).drop(*FEED_COLUMNS)
            touched = touched.unionByName(self._keys(self._left(gone, planned, again=True)))
        if came.planned is not None:
            other = TableSource(spark, table, self.settings)
            touched = touched.unionByName(
                self._keys(other.feed(came.planned) if came.changes else other.added(came.planned))
            )
        before = newest_time(self._right(pinned_frame(spark, self.settings, table, self._pin(earlier))))
        now, pairs = newest_time(right), Pairs.of(self.step, left, right)
        if self.step.how == "left" and before != now:
            touched = touched.unionByName(self._keys(left.where(pairs.final(before) != pairs.final(now))))
        with persisted(touched.distinct()) as keys:
            rows = pairs.all(of_keys(left, keys), of_keys(right, keys), now)
            with persisted(rows) as fresh:
                figures = BatchFigures(
                    rows_read=planned.versions.rows or 0,
                    rows_loaded=fresh.count(),
                    rows_quarantined=self.steps.rows_refused,
                )
                KeyedTable(self.target, planned).replace(fresh, keys, figures)

    def _keys(self, rows: DataFrame) -> DataFrame:
        return rows.select(*map(quoted, self.step.on))

    def _pin(self, planned: PlannedRange) -> Pin:
        return planned.pinned[self.step.table]

    def _grow(self, planned: PlannedRange, earlier: PlannedRange | None, came: Came) -> None:
        sides = self._sides(planned, earlier, came)
        pairs = Pairs.of(self.step, sides.new_left, sides.right)
        rows = pairs.matched(sides.new_left, sides.right)
        if sides.old_left is not None and sides.new_right is not None:
            rows = rows.unionByName(pairs.matched(sides.old_left, sides.new_right))
        figures = BatchFigures(
            rows_read=planned.versions.rows or 0, rows_loaded=None, rows_quarantined=self.steps.rows_refused
        )
        if self.step.how == "inner":
            self.target.append(rows.drop(MATCHED), planned, figures)
            return
        rows = rows.unionByName(_alone(pairs, sides))
        replaced = _replaced(pairs, sides)
        if replaced is None:
            self.target.append(rows, planned, figures)
            return
        with persisted(replaced) as gone:
            if gone.isEmpty():
                self.target.append(rows, planned, figures)
            else:
                self._merge(rows, gone, pairs.own, planned, figures)

    # ---- what is read

    def _sides(self, planned: PlannedRange, earlier: PlannedRange | None, came: Came) -> Sides:
        table, spark = self.step.table, self.target.spark
        right = self._right(pinned_frame(spark, self.settings, table, self._pin(planned)))
        new_left = self._left(self.source.added(planned), planned)
        if earlier is None:
            return Sides(None, new_left, None, right, None, newest_time(right))
        old_right = self._right(pinned_frame(spark, self.settings, table, self._pin(earlier)))
        old_left = self._left(self.source.as_of(earlier), planned, again=True)
        new_right = None
        if came.planned is not None:
            new_right = self._right(TableSource(spark, table, self.settings).added(came.planned))
        return Sides(old_left, new_left, new_right, right, newest_time(old_right), newest_time(right))

    def _came(self, planned: PlannedRange, earlier: PlannedRange | None) -> Came:
        """The versions of the right table between the two pins."""
        if earlier is None:
            return Came(None)
        past, pin, location = self._pin(earlier), self._pin(planned), self.settings.table_root(self.step.table)
        commits = list(read_commits(location, past.version + 1, pin.version))
        if all(commit.empty for commit in commits):
            return Came(None)
        then = open_table(location, past.version)
        feed = then is not None and str(then.metadata().configuration.get(CHANGE_FEED)).lower() == "true"
        feed = feed and all(commit.feed is not False for commit in commits)
        changes = any(commit.changes for commit in commits)
        kind = "changes" if changes else "appends"
        versions = VersionRange(kind, past.version + 1, pin.version, None, 0, feed)  # type: ignore[arg-type]
        batch = PlannedRange(planned.batch, pin.table_id, versions, {}, planned.planned_at, planned.run_id)
        return Came(batch, changes, by_feed=feed or not changes)

    def _left(self, rows: DataFrame, planned: PlannedRange, *, again: bool = False) -> DataFrame:
        stepped = self.steps.apply(rows, planned, again=again)
        return stepped.withColumn(LEFT_TIME, F.expr(self.step.time).cast("timestamp"))

    def _right(self, rows: DataFrame) -> DataFrame:
        return rows.withColumn(RIGHT_TIME, F.expr(self.step.other_time).cast("timestamp"))

    # ---- what is written

    def _merge(
        self, rows: DataFrame, gone: DataFrame, own: tuple[str, ...], planned: PlannedRange, figures: BatchFigures
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
            with self.target.as_transaction(planned, replace(figures, rows_loaded=count)):
                builder.execute()


def _alone(pairs: Pairs, sides: Sides) -> DataFrame:
    """The left rows that became final without a partner."""
    rows = sides.new_left.where(pairs.final(sides.now))
    if sides.old_left is not None:
        rows = rows.unionByName(sides.old_left.where(~pairs.final(sides.before) & pairs.final(sides.now)))
    return pairs.alone(rows, sides.right)


def _replaced(pairs: Pairs, sides: Sides) -> DataFrame | None:
    """The left rows that stand alone in the target and have a partner now."""
    if sides.old_left is None or sides.new_right is None:
        return None
    settled, fresh = pairs.parted(sides.old_left.where(pairs.final(sides.before)), sides.new_right)
    return settled.join(fresh, pairs.near(), "left_semi").select(*map(quoted, pairs.own)).distinct()
