"""The sink of a window step: partial aggregates of the micro-batch, merged into the target by window and keys.

Nothing is held back and no state is kept elsewhere: the target's rows are the state. Each micro-batch is one commit
with the batch's number, so late rows merge however late, and a replay adds nothing twice.

Where rows of the source went or were updated, the windows they are in are computed anew from the source as it was at
the end of the range, and put in the place of the old ones.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import pyarrow as pa
from pyspark.sql import DataFrame, Observation
from pyspark.sql import functions as F  # noqa: N812

from include.algebra.measures import TIME, quoted
from include.config.windows import Window
from include.transform.local_merge import LocalMerge
from include.transform.outcomes import BatchFigures
from include.transform.ranges import PlannedRange
from spark_jobs.engine.transform.commit import Target
from spark_jobs.engine.transform.facts import Facts, facts_of, facts_of_arrow, moment
from spark_jobs.engine.transform.late import LateRows
from spark_jobs.engine.transform.merge import WindowTable
from spark_jobs.engine.transform.problems import changed
from spark_jobs.engine.transform.source import FEED_COLUMNS
from spark_jobs.engine.transform.sources import Source
from spark_jobs.engine.transform.states import END, START, States, persisted, with_time
from spark_jobs.engine.transform.steps import RowSteps

# Rows of a micro-batch, in each of their windows, up to which the driver's memory takes what comes of them.
MOST_ROWS = 1_000_000


@dataclass(frozen=True)
class WindowSink:
    """Aggregates what the steps make of the source's new rows."""

    source: Source
    steps: RowSteps
    target: Target
    window: Window
    known: dict[str, States] = field(default_factory=dict)

    def write(self, planned: PlannedRange) -> None:
        """One commit of the target; rows without a time, and late ones that are diverted, are written before it."""
        changes = planned.versions.kind == "changes"
        if changes:
            self._refuse_what_cannot_follow(planned)
        rows = self._rows(self.source.added(planned), planned)
        late = LateRows(self.target, self.window, planned)
        states = self._states(rows)
        local = None if changes else self._local(planned)
        WindowTable(self.target, states, planned).refuse_other_definition(self.window)
        seen = Observation()
        windows = states.of_rows(late.in_time(rows.observe(seen, *late.counts())))
        with self._computed(windows, local) as (partial, facts, found):
            table = WindowTable(self.target, states, planned, local, found)
            # Where Spark sees that there are no rows it leaves out the observation, too.
            counts = seen.get if facts.states else rows.agg(*late.counts()).collect()[0].asDict()
            figures = replace(late.write(rows, counts, facts.rows), rows_quarantined=self.steps.rows_refused)
            if changes:
                self._replace(planned, states, table, partial, figures)
            elif not self.target.exists or not facts.states:
                table.append(partial, facts, figures)
            elif self.window.type == "session":
                table.merge_sessions(partial, facts, figures)
            else:
                table.merge(partial, facts, figures)

    def _states(self, rows: DataFrame) -> States:
        """The window step over rows like these: analysed once for all micro-batches."""
        shape = rows.schema.json()
        if shape not in self.known:
            self.known[shape] = States(self.window, rows)
        return self.known[shape]

    def _local(self, planned: PlannedRange) -> LocalMerge | None:
        """The target as delta-rs merges into it, where the micro-batch is small enough for the driver's memory."""
        rows, windows = planned.versions.rows, 1
        if self.window.size is not None and self.window.slide is not None:
            windows = math.ceil(self.window.size / self.window.slide)
        if rows is None or rows * windows > MOST_ROWS:
            return None
        return self.target.merged_locally((START, *self.window.keys))

    @contextmanager
    def _computed(
        self, partial: DataFrame, local: LocalMerge | None
    ) -> Iterator[tuple[DataFrame, Facts, pa.Table | None]]:
        """The window rows, computed once, what is known of them, and themselves where they are in memory."""
        if local is None:
            with persisted(partial) as kept:
                yield kept, facts_of(kept), None
            return
        found = partial.toArrow()
        yield self.target.spark.createDataFrame(found, partial.schema), facts_of_arrow(found), found

    def _rows(self, frame: DataFrame, planned: PlannedRange, *, again: bool = False) -> DataFrame:
        return with_time(self.window, self.steps.apply(frame, planned, again=again))

    def _refuse_what_cannot_follow(self, planned: PlannedRange) -> None:
        """Stop before anything is written.

        Raises:
            SourceChanged: which rows were late is not known any more, or which were duplicates.
        """
        if self.window.late is not None and self.window.late.action == "divert":
            raise changed(planned, "which rows were diverted as late cannot be told again")
        self.steps.refuse_memory(planned)

    def _replace(
        self, planned: PlannedRange, states: States, table: WindowTable, partial: DataFrame, figures: BatchFigures
    ) -> None:
        """Compute anew the windows of all rows that were added, taken away or updated."""
        feed = self.source.feed(planned).drop(*FEED_COLUMNS)
        changed_rows = self._rows(feed, planned, again=True).where(F.col(TIME).isNotNull())
        with persisted(states.of_rows(changed_rows).select(START, END, *map(quoted, self.window.keys))) as affected:
            facts = facts_of(affected.withColumn("__sluice_rows", F.lit(1)))
            if not facts.states:  # a MERGE of nothing is no commit
                table.append(partial.limit(0), facts, figures)
                return
            now = self._rows(self.source.as_of(planned), planned, again=True).where(F.col(TIME).isNotNull())
            if self.window.type == "session":
                keys = affected.select(*map(quoted, self.window.keys)).distinct()
                table.replace_sessions(states.of_rows(_of_keys(now, keys)), keys, figures)
            else:
                table.replace(states.of_rows(now.where(_within(facts))), affected, facts, figures)


def _within(facts: Facts) -> str:
    parts = [f"({TIME} >= {moment(part.first)} AND {TIME} < {moment(part.end)})" for part in facts.parts]
    return " OR ".join(parts) or "FALSE"


def _of_keys(rows: DataFrame, keys: DataFrame) -> DataFrame:
    """The rows that have one of these keys; NULL is a key like any other."""
    t, s = rows.alias("t"), keys.alias("s")
    same = F.expr(" AND ".join(["TRUE", *(f"t.{quoted(key)} <=> s.{quoted(key)}" for key in keys.columns)]))
    return t.join(s, on=same, how="left_semi")
