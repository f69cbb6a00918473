"""The sink of an apply_changes step: the newest row of each key (SCD 1), or each key's history (SCD 2).

The table does not depend on the order in which changes arrive. Deletes are remembered in `state/<pipeline>/deletes`,
committed before the target under the batch's number, so that a row which arrives after the delete that ends it is ended
all the same. What is remembered twice says nothing new.

Where the source's rows were updated or deleted, the keys that are concerned are computed anew from the source as it is.
So a table that changes (the gold table of another pipeline) is followed by its change feed, too.
"""

from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import Window as Over
from pyspark.sql import functions as F  # noqa: N812

from include.algebra.measures import quoted
from include.config.errors import ConfigError, DataRefused, StateLost
from include.config.settings import spark_uri
from include.config.steps import ApplyChanges
from include.ledger.tables import open_table
from include.transform.outcomes import BatchFigures
from include.transform.ranges import PlannedRange
from spark_jobs.engine.transform.commit import Target
from spark_jobs.engine.transform.keyed import GONE, KeyedTable, of_keys, rewrite_keys
from spark_jobs.engine.transform.source import FEED_COLUMNS
from spark_jobs.engine.transform.sources import Source
from spark_jobs.engine.transform.states import persisted, same_keys
from spark_jobs.engine.transform.steps import RowSteps

START_AT, END_AT = "__start_at", "__end_at"
DELETES, TEXT, NEXT = "__sluice_deletes", "__sluice_text", "__sluice_next"
_WHERE = "transform.steps: apply_changes"


@dataclass(frozen=True)
class ChangesSink:
    """Applies what the steps make of the source's new rows: each row is a change of its key."""

    source: Source
    steps: RowSteps
    target: Target
    step: ApplyChanges

    def write(self, planned: PlannedRange) -> None:
        """One commit of the target; the deletes of the batch are remembered before it.

        Raises:
            SourceChanged: the source took changes back, and a deduplicate step stands before.
            DataRefused: a row does not say when it happened.
        """
        changes = planned.versions.kind == "changes"
        if changes:
            self.steps.refuse_memory(planned)
        rows = self.steps.apply(self.source.added(planned), planned)
        self._check(rows)
        if changes:
            self._follow(rows, planned)
            return
        with persisted(self._told(rows)) as told:
            count = self._refuse_undated(told)
            self._remember(told, planned)
            figures = BatchFigures(
                rows_read=planned.versions.rows or count, rows_loaded=count, rows_quarantined=self.steps.rows_refused
            )
            with persisted(self._standing(told, rows.columns, planned)) as rows_now:
                KeyedTable(self.target, planned).put(rows_now, self._identity, figures)

    def _follow(self, rows: DataFrame, planned: PlannedRange) -> None:
        """Compute anew the keys that have rows which were added, taken away or updated."""
        touched = self.steps.apply(self.source.feed(planned).drop(*FEED_COLUMNS), planned, again=True)
        now = self.steps.apply(self.source.as_of(planned), planned, again=True)
        with (
            persisted(touched.select(*self._keys).distinct()) as keys,
            persisted(self._told(of_keys(now, keys))) as told,
        ):
            self._refuse_undated(told)
            transaction = (self._deletes_id, planned.batch)
            rewrite_keys(self.target, self._deletes_location, self._deleted(told), keys, transaction)
            count = rows.count()
            figures = BatchFigures(
                rows_read=planned.versions.rows or count, rows_loaded=count, rows_quarantined=self.steps.rows_refused
            )
            standing = KeyedTable(self.target, planned).standing(keys)
            with persisted(self._with_gone(self._kept(self._one_each(told)), standing)) as rows_now:
                KeyedTable(self.target, planned).put(rows_now, self._identity, figures)

    # ---- what the changes say

    @property
    def _keys(self) -> list[str]:
        return [quoted(key) for key in self.step.keys]

    def _told(self, rows: DataFrame) -> DataFrame:
        """The changes: whether each is a delete, and its text, which orders changes of equal sequence."""
        deletes = F.expr(f"coalesce({self.step.delete_when}, false)") if self.step.delete_when else F.lit(False)
        return rows.withColumns(
            {DELETES: deletes.cast("boolean"), TEXT: F.to_json(F.struct(*map(quoted, rows.columns)))}
        )

    def _standing(self, told: DataFrame, columns: list[str], planned: PlannedRange) -> DataFrame:
        """The rows that the target must hold for the keys of the batch, and those that must go (GONE)."""
        keys = told.select(*self._keys).distinct()
        now = of_keys(self._deletes(), keys).unionByName(told.where(~F.col(DELETES)), allowMissingColumns=True)
        old = KeyedTable(self.target, planned).standing(keys)
        if old is not None:
            rows = old.select(*map(quoted, columns))
            texts = F.to_json(F.struct(*map(quoted, columns)))
            now = now.unionByName(rows.withColumns({DELETES: F.lit(False), TEXT: texts}), allowMissingColumns=True)
        return self._with_gone(self._kept(self._one_each(now)), old)

    def _with_gone(self, kept: DataFrame, old: DataFrame | None) -> DataFrame:
        """The rows that must stand, and those of the target that must go (GONE)."""
        kept = kept.withColumn(GONE, F.lit(False))
        if old is None:
            return kept
        same = F.expr("TRUE" + same_keys(self._identity))
        gone = old.alias("t").join(kept.alias("s"), same, "left_anti").withColumn(GONE, F.lit(True))
        return kept.unionByName(gone, allowMissingColumns=True)

    def _kept(self, events: DataFrame) -> DataFrame:
        kept = self._newest(events) if self.step.scd == 1 else self._history(events)
        return kept.drop(DELETES, TEXT)

    def _one_each(self, events: DataFrame) -> DataFrame:
        """Of the events of a key at one sequence: the delete, else the one with the greatest text."""
        order = Over.partitionBy(*self._keys, quoted(self.step.sequence_by)).orderBy(
            F.col(DELETES).desc(), F.col(TEXT).desc()
        )
        return events.withColumn(NEXT, F.row_number().over(order)).where(F.col(NEXT) == 1).drop(NEXT)

    def _newest(self, events: DataFrame) -> DataFrame:
        order = Over.partitionBy(*self._keys).orderBy(F.col(quoted(self.step.sequence_by)).desc())
        ranked = events.withColumn(NEXT, F.row_number().over(order)).where(F.col(NEXT) == 1)
        return ranked.where(~F.col(DELETES)).drop(NEXT)

    def _history(self, events: DataFrame) -> DataFrame:
        """Each row holds until the key's next event, row or delete."""
        sequence = F.col(quoted(self.step.sequence_by))
        order = Over.partitionBy(*self._keys).orderBy(sequence)
        dated = events.withColumns({START_AT: sequence, END_AT: F.lead(sequence).over(order)})
        return dated.where(~F.col(DELETES))

    # ---- tables

    @property
    def _identity(self) -> list[str]:
        """The columns that tell the rows of the target apart."""
        return [*self.step.keys] if self.step.scd == 1 else [*self.step.keys, START_AT]

    @property
    def _deletes_location(self) -> str:
        return self.target.settings.state_root(self.target.pipeline.name, "deletes")

    def _deletes(self) -> DataFrame:
        return self.target.spark.read.format("delta").load(spark_uri(self._deletes_location))

    @property
    def _deletes_id(self) -> str:
        return f"sluice:{self.target.pipeline.name}:deletes"

    def _deleted(self, told: DataFrame) -> DataFrame:
        """What is remembered of deletes: keys and sequence."""
        columns = [*self._keys, *([] if self.step.sequence_by in self.step.keys else [quoted(self.step.sequence_by)])]
        return told.where(F.col(DELETES)).select(*columns, DELETES, F.lit("").alias(TEXT)).distinct()

    def _remember(self, told: DataFrame, planned: PlannedRange) -> None:
        self._refuse_lost_memory(planned)
        writer = self._deleted(told).write.format("delta").mode("append").option("txnAppId", self._deletes_id)
        writer.option("txnVersion", planned.batch).save(spark_uri(self._deletes_location))

    # ---- refusals

    def _refuse_lost_memory(self, planned: PlannedRange) -> None:
        table = open_table(self._deletes_location)
        known = 0 if table is None else table.transaction_version(self._deletes_id) or 0
        if known < planned.batch - 1:
            raise StateLost(
                f"{_WHERE}: the deletes that batches {known + 1} to {planned.batch - 1} told are not in "
                f"{self._deletes_location}.",
                remedy="Restore the state folder from a backup, or start over: another name and another table.",
            )

    def _check(self, rows: DataFrame) -> None:
        if missing := [name for name in (*self.step.keys, self.step.sequence_by) if name not in rows.columns]:
            raise ConfigError(
                f"{_WHERE}: there is no column {', '.join(missing)}.",
                remedy=f"Columns at this step: {', '.join(rows.columns)}. Compute others by a `select` step.",
            )

    def _refuse_undated(self, told: DataFrame) -> int:
        """The number of changes.

        Raises:
            DataRefused: one of them has no sequence.
        """
        undated = F.count_if(F.col(quoted(self.step.sequence_by)).isNull())
        count, without = told.agg(F.count(F.lit(1)), undated).collect()[0]
        if without:
            raise DataRefused(
                f"{without} of {count} changes have NULL in {self.step.sequence_by}: they cannot be put in order.",
                remedy=f"Leave them out: a step `filter: {self.step.sequence_by} IS NOT NULL` before apply_changes.",
            )
        return int(count)
