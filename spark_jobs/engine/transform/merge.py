"""The window table: how window rows of a micro-batch enter it. Each way is one commit with the batch's number."""

import logging
from dataclasses import dataclass

from delta.tables import DeltaTable
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import StructType

from include.algebra.measures import quoted
from include.config.errors import ConfigError
from include.config.windows import Window
from include.ledger.state_files import read_document, write_document
from include.transform.local_merge import Identity, LocalMerge, NotMerged, Spans
from include.transform.outcomes import BatchFigures
from include.transform.ranges import PlannedRange
from spark_jobs.engine.transform.commit import Target
from spark_jobs.engine.transform.facts import Facts
from spark_jobs.engine.transform.states import END, OLD, ROWS, START, States, inserts, persisted, same_keys

log = logging.getLogger(__name__)

GONE = "__sluice_gone"
ROWS_PER_FILE = 250_000


@dataclass(frozen=True)
class WindowTable:
    """The target of a window step, for one micro-batch."""

    target: Target
    states: States
    planned: PlannedRange
    local: LocalMerge | None = None  # where the rows to be merged are few enough for the driver

    def refuse_other_definition(self, window: Window) -> None:
        """Stop where the table was made by another window step: its states mean something else.

        Raises:
            ConfigError: always then.
        """
        location = self.target.settings.state_root(self.target.pipeline.name, "window.json")
        written = window.model_dump(mode="json", exclude={"late"})
        standing = read_document(location)
        if standing is not None and self.target.exists and standing != written:
            differing = [name for name in written if written[name] != standing.get(name)]
            raise ConfigError(
                f"transform.steps: window: {', '.join(differing)} changed since {self.target.name} was made.",
                remedy="What the table holds cannot be merged with that: write into another table, under another name "
                "of the pipeline.",
            )
        if standing != written:
            write_document(location, written)

    def append(self, partial: DataFrame, facts: Facts, figures: BatchFigures) -> None:
        """The first window rows, in the order of time so that files can be passed over; or none at all."""
        files = facts.states // ROWS_PER_FILE + 1
        ordered = partial.repartitionByRange(files, START) if files > 1 else partial.coalesce(1)
        rows = ordered.sortWithinPartitions(START).select(*map(quoted, self.states.columns))
        self.target.append(rows, self.planned, figures)

    def merge(self, partial: DataFrame, facts: Facts, figures: BatchFigures) -> None:
        """Window rows of the same window and keys become one, by the algebra of their measures."""
        spans = facts.spans()
        standing = None if self.local is None else self._standing(self.local, spans)
        if self.local is not None and standing is not None:
            rows = self.states.merged(partial, standing)
            if self._commit(self.local, rows, spans, figures):
                return
        same = f"t.{START} = s.{START}{same_keys(self.states.keys)} AND {facts.starts('t')}"
        builder = (
            self._table()
            .merge(partial.alias("s"), same)
            .whenMatchedUpdate(set={**self.states.updates()})
            .whenNotMatchedInsert(values={**inserts(self.states.columns)})
        )
        with self.target.as_transaction(self.planned, figures):
            builder.execute()

    def merge_sessions(self, partial: DataFrame, facts: Facts, figures: BatchFigures) -> None:
        """Sessions that touch become one; those that it absorbed go."""
        spans = facts.touching_spans()
        local = None if self.local is None else self._standing(self.local, spans)
        t = (self._table().toDF().where(facts.touching("t")) if local is None else local).alias("t")
        near = F.expr(f"t.{START} <= s.{END} AND t.{END} >= s.{START}{same_keys(self.states.keys)}")
        touched = t.join(partial.select(START, END, *map(quoted, self.states.keys)).alias("s"), near, "left_semi")
        standing = touched.withColumns({ROWS: F.lit(0).cast("bigint"), OLD: F.col(START)})
        fresh = partial.withColumn(OLD, F.lit(None).cast("timestamp"))
        with persisted(self.states.joined_sessions(standing.unionByName(fresh))) as joined:
            kept = joined.withColumn(GONE, F.lit(False)).drop(OLD, ROWS)
            absorbed = joined.withColumn(OLD, F.explode(OLD)).where(F.col(OLD) != F.col(START))
            gone = absorbed.withColumns({START: F.col(OLD), GONE: F.lit(True)}).drop(OLD, ROWS)
            rows = kept.unionByName(gone)
            if self.local is None or local is None or not self._commit(self.local, rows, spans, figures, GONE):
                self._put(rows, facts.touching("t"), figures)

    def replace(self, now: DataFrame, affected: DataFrame, facts: Facts, figures: BatchFigures) -> None:
        """The affected windows as they are now; those without a row any more go."""
        keys = [START, END, *self.states.keys]
        a, n = affected.alias("a"), now.alias("n")
        same = F.expr(" AND ".join(f"a.{quoted(key)} <=> n.{quoted(key)}" for key in keys))
        rest = [F.col(f"n.{quoted(name)}") for name in self.states.columns if name not in keys]
        rows = a.join(n, same, "left").select(
            *(F.col(f"a.{quoted(key)}") for key in keys), *rest, F.col(f"n.{ROWS}").isNull().alias(GONE)
        )
        self._put(rows, facts.starts("t"), figures)

    def replace_sessions(self, now: DataFrame, keys: DataFrame, figures: BatchFigures) -> None:
        """All sessions of the affected keys as they are now."""
        with persisted(now) as sessions:
            t = self._table().toDF().alias("t")
            same = F.expr(f"TRUE{same_keys(self.states.keys)}")
            standing = t.join(keys.alias("s"), same, "left_semi")
            again = F.expr(f"t.{START} = s.{START}{same_keys(self.states.keys)}")
            gone = standing.alias("t").join(sessions.alias("s"), again, "left_anti").withColumn(GONE, F.lit(True))
            self._put(sessions.drop(ROWS).withColumn(GONE, F.lit(False)).unionByName(gone), "TRUE", figures)

    def _put(self, rows: DataFrame, where: str, figures: BatchFigures) -> None:
        """Rows in the place of those with the same start and keys; rows that are GONE are deleted."""
        values: dict[str, str | Column] = {**inserts(self.states.columns)}
        same = f"t.{START} = s.{START}{same_keys(self.states.keys)} AND {where}"
        with persisted(rows) as source:
            builder = (
                self._table()
                .merge(source.alias("s"), same)
                .whenMatchedDelete(condition=f"s.{GONE}")
                .whenMatchedUpdate(set=values)
                .whenNotMatchedInsert(condition=f"NOT s.{GONE}", values=values)
            )
            with self.target.as_transaction(self.planned, figures):
                builder.execute()

    def _standing(self, local: LocalMerge, spans: Spans) -> DataFrame | None:
        """The rows of the files that may hold windows of these times; None where they are too many bytes."""
        files = local.files(spans)
        if files is None:
            return None
        schema = StructType.fromJson(local.schema)
        if not files:
            return self.target.spark.createDataFrame([], schema)
        return self.target.spark.read.schema(schema).parquet(*files)

    def _commit(self, local: LocalMerge, rows: DataFrame, spans: Spans, figures: BatchFigures, gone: str = "") -> bool:
        """Merge by delta-rs; False where it could not, and nothing was committed."""
        identity = Identity((START,), self.states.keys, spans)
        try:
            self.target.merge_locally(local, rows.toArrow(), identity, self.planned, figures, gone)
        except NotMerged as error:
            log.warning("batch %d is merged by Delta-Spark, as delta-rs could not: %s", self.planned.batch, error)
            return False
        return True

    def _table(self) -> DeltaTable:
        return DeltaTable.forPath(self.target.spark, self.target.location).alias("t")
