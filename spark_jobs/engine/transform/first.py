"""The sink of a deduplicate step with `order_by`: the table holds the first row of each key, by an order of the rows.

The table does not depend on the order of arrival: a row that comes later and stands before the one in the table takes
its place. Nothing is remembered elsewhere. Where rows of the source went, the first rows of their keys are found again
in the source as it is.

With `within` a row that takes the place of a kept one may free others, which the table does not hold: then the rows of
a micro-batch's keys are taken again from the source, each time, and the first, the next that is far from it, and so on,
are put in the place of those that stand there.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pyspark.errors import AnalysisException, ParseException
from pyspark.sql import Column, DataFrame
from pyspark.sql import Window as Over
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.window import WindowSpec

from include.algebra.measures import quoted
from include.config.errors import ConfigError
from include.config.steps import Deduplicate
from include.transform.outcomes import BatchFigures
from include.transform.ranges import PlannedRange
from spark_jobs.engine.transform.commit import Target
from spark_jobs.engine.transform.deduplicate import AT, RANK, apart
from spark_jobs.engine.transform.keyed import GONE, KeyedTable, of_keys
from spark_jobs.engine.transform.problems import unusable
from spark_jobs.engine.transform.source import FEED_COLUMNS
from spark_jobs.engine.transform.sources import Source
from spark_jobs.engine.transform.states import persisted
from spark_jobs.engine.transform.steps import RowSteps

STANDING = "__sluice_standing"
_WHERE = "transform.steps: deduplicate"
_SORTING = re.compile(r"(?P<expr>.*?)(?P<desc>\s+(asc|desc))?(\s+nulls\s+(?P<nulls>first|last))?\s*", re.I | re.S)


@dataclass(frozen=True)
class FirstSink:
    """Keeps the first row of each key."""

    source: Source
    steps: RowSteps
    target: Target
    step: Deduplicate

    def write(self, planned: PlannedRange) -> None:
        """One commit of the target."""
        if planned.versions.kind == "changes":
            self.steps.refuse_memory(planned)
        rows = self.steps.apply(self.source.added(planned), planned)
        self._check(rows)
        table = KeyedTable(self.target, planned)
        if self.step.within is not None:
            self._again(rows, table, planned, round(self.step.within * 1_000_000))
            return
        if planned.versions.kind == "changes":
            self._follow(rows, table, planned)
            return
        with persisted(self._first(rows.withColumn(STANDING, F.lit(False)))) as best:
            figures = self._figures(planned, best)
            standing = table.standing(best.select(*self._keys))
            if standing is None:
                table.put(best.drop(STANDING), self.step.keys, figures)
                return
            both = self._first(best.unionByName(standing.withColumn(STANDING, F.lit(True)), allowMissingColumns=True))
            with persisted(both.where(~F.col(STANDING)).drop(STANDING).withColumn(GONE, F.lit(False))) as better:
                table.put(better, self.step.keys, figures)

    def _follow(self, rows: DataFrame, table: KeyedTable, planned: PlannedRange) -> None:
        """Find again the first rows of all keys that have rows which were added, taken away or updated."""
        touched = self.steps.apply(self.source.feed(planned).drop(*FEED_COLUMNS), planned, again=True)
        now = self.steps.apply(self.source.as_of(planned), planned, again=True)
        with persisted(touched.select(*self._keys).distinct()) as keys:
            first = self._first(of_keys(now, keys).withColumn(STANDING, F.lit(False))).drop(STANDING)
            with persisted(first.withColumn(GONE, F.lit(False))) as best:
                figures = self._figures(planned, rows)
                standing = table.standing(keys)
                if standing is None:
                    table.put(best, self.step.keys, figures)
                    return
                same = " AND ".join(f"t.{key} <=> s.{key}" for key in self._keys)
                gone = standing.alias("t").join(best.alias("s"), F.expr(same), "left_anti")
                with persisted(
                    best.unionByName(gone.withColumn(GONE, F.lit(True)), allowMissingColumns=True)
                ) as operations:
                    table.put(operations, self.step.keys, figures)

    def _again(self, rows: DataFrame, table: KeyedTable, planned: PlannedRange, within: int) -> None:
        """Put the rows that are apart, of all rows of the keys concerned, in the place of those that stand there."""
        touched = rows.select(*self._keys)
        if planned.versions.kind == "changes":
            feed = self.steps.apply(self.source.feed(planned).drop(*FEED_COLUMNS), planned, again=True)
            touched = touched.unionByName(feed.select(*self._keys))
        with persisted(touched.distinct()) as keys:
            now = of_keys(self.steps.apply(self.source.as_of(planned), planned, again=True), keys)
            timed = now.withColumn(AT, F.expr(self.step.time or "NULL").cast("timestamp"))
            with persisted(timed.withColumn(RANK, F.row_number().over(self._order(now.columns)))) as ranked:
                kept = apart(ranked, self.step.keys, within).drop(AT, RANK)
                table.replace(kept, keys, self._figures(planned, kept))

    @property
    def _keys(self) -> list[str]:
        return [quoted(key) for key in self.step.keys]

    def _first(self, rows: DataFrame) -> DataFrame:
        """Of each key the first row; of rows that are equal in the order, the one with the least text."""
        columns = [name for name in rows.columns if name != STANDING]
        # Of two rows that are the same the standing one is kept: it need not be written.
        order = self._order(columns, F.col(STANDING).desc())
        return rows.withColumn(RANK, F.row_number().over(order)).where(F.col(RANK) == 1).drop(RANK)

    def _order(self, columns: Sequence[str], *last: Column) -> WindowSpec:
        """The order of each key's rows; those that are equal in `order_by` come by the text of all their columns."""
        orders = [_sorted_by(text) for text in self.step.order_by or ()]
        text = F.to_json(F.struct(*map(quoted, columns)))
        return Over.partitionBy(*self._keys).orderBy(*orders, text, *last)

    def _figures(self, planned: PlannedRange, rows: DataFrame) -> BatchFigures:
        read = planned.versions.rows
        count = rows.count()
        return BatchFigures(
            rows_read=count if read is None else read, rows_loaded=count, rows_quarantined=self.steps.rows_refused
        )

    def _check(self, rows: DataFrame) -> None:
        if missing := [key for key in self.step.keys if key not in rows.columns]:
            raise ConfigError(
                f"{_WHERE}: keys: there is no column {', '.join(missing)}.",
                remedy=f"Columns at this step: {', '.join(rows.columns)}.",
            )
        try:
            self._first(rows.withColumn(STANDING, F.lit(False)))
        except (AnalysisException, ParseException) as error:
            raise unusable(f"{_WHERE}: order_by", error, rows) from None


def _sorted_by(text: str) -> Column:
    """An expression with ASC or DESC, NULLS FIRST or LAST; NULL is last where it does not say."""
    found = _SORTING.fullmatch(text)
    if found is None:
        raise ConfigError(f"{_WHERE}: order_by: {text!r} is no order.", remedy="Write an expression, ASC or DESC.")
    value = F.expr(found["expr"])
    first = (found["nulls"] or "last").lower() == "first"
    if (found["desc"] or "asc").strip().lower() == "desc":
        return value.desc_nulls_first() if first else value.desc_nulls_last()
    return value.asc_nulls_first() if first else value.asc_nulls_last()
