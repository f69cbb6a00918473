"""The window table: how window rows of a micro-batch enter it. Each way is one commit with the batch's number."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from delta.tables import DeltaTable
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import StructType

from include.algebra.measures import quoted
from include.config.errors import ConfigError
from include.config.windows import Window
from include.ledger.state_files import read_document, write_document
from include.transform.local_merge import LocalMerge
from include.transform.near_rows import NOBODY, Identity, Near, NotMerged, Spans, fitted
from include.transform.outcomes import BatchFigures
from include.transform.ranges import PlannedRange
from include.transform.rewrite import ROWS_PER_FILE
from spark_jobs.engine.transform.commit import Target
from spark_jobs.engine.transform.facts import Facts
from spark_jobs.engine.transform.states import END, OLD, ROWS, START, States, inserts, persisted, same_keys

log = logging.getLogger(__name__)

GONE = "__sluice_gone"
# Of the first rows: small ones, as a merge writes the files anew that it meets; but not one for each hour of years.
MOST_FILES = 200


@dataclass(frozen=True)
class WindowTable:
    """The target of a window step, for one micro-batch."""

    target: Target
    states: States
    planned: PlannedRange
    local: LocalMerge | None = None  # where the rows to be merged are few enough for the driver
    found: pa.Table | None = None  # those rows, then

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
        files = min(facts.states // ROWS_PER_FILE + 1, MOST_FILES)
        ordered = partial.repartitionByRange(files, START) if files > 1 else partial.coalesce(1)
        rows = ordered.sortWithinPartitions(START).select(*map(quoted, self.states.columns))
        self.target.append(rows, self.planned, figures)

    def merge(self, partial: DataFrame, facts: Facts, figures: BatchFigures) -> None:
        """Window rows of the same window and keys become one, by the algebra of their measures."""
        local, found = self.local, self.found
        if local is not None and found is not None:
            near = self._near(local, facts.spans())
            if near is not None and self._commit(local, near, lambda: self._merged(near, found), figures):
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
        near = None if self.local is None else self._near(self.local, spans)
        t = (self._table().toDF().where(facts.touching("t")) if near is None else self._alike(near, spans)).alias("t")
        touching = F.expr(f"t.{START} <= s.{END} AND t.{END} >= s.{START}{same_keys(self.states.keys)}")
        touched = t.join(partial.select(START, END, *map(quoted, self.states.keys)).alias("s"), touching, "left_semi")
        standing = touched.withColumns({ROWS: F.lit(0).cast("bigint"), OLD: F.col(START)})
        fresh = partial.withColumn(OLD, F.lit(None).cast("timestamp"))
        with persisted(self.states.joined_sessions(standing.unionByName(fresh))) as joined:
            kept = joined.withColumn(GONE, F.lit(False)).drop(OLD, ROWS)
            absorbed = joined.withColumn(OLD, F.explode(OLD)).where(F.col(OLD) != F.col(START))
            gone = absorbed.withColumns({START: F.col(OLD), GONE: F.lit(True)}).drop(OLD, ROWS)
            rows = kept.unionByName(gone)
            if self.local is None or near is None or not self._commit(self.local, near, rows.toArrow, figures, GONE):
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

    def _near(self, local: LocalMerge, spans: Spans) -> Near | None:
        """The rows of the files that may hold windows of these times; None where that is left to Delta-Spark."""
        try:
            return local.near(spans)
        except NotMerged as error:
            self._say(error)
            return None

    def _alike(self, near: Near, spans: Spans) -> DataFrame:
        """Those of the near rows that are of these times and whose keys are among those of the micro-batch."""
        keys, rows = self.states.keys, near.rows
        alike = np.zeros(rows.num_rows, dtype=bool)
        alike[spans.of(rows)] = True
        if keys and self.found is not None:
            fresh = fitted(self.found, pa.schema([rows.schema.field(key) for key in keys]))
            alike &= near.places(fresh, keys) != NOBODY
        return self._frame(rows.filter(pa.array(alike)), self._kinds)

    def _merged(self, near: Near, found: pa.Table) -> pa.Table:
        """The micro-batch's window rows, each as one with the standing row of its window and keys, if there is one.

        Raises:
            NotMerged: a value does not fit the table's column.
        """
        fresh = fitted(found, pa.schema([near.rows.schema.field(name) for name in self.states.columns]))
        places = near.places(fresh, (START, *self.states.keys))
        met = places != NOBODY
        if not met.any():
            return fresh
        standing = near.rows.select(fresh.column_names).filter(pa.array(met)).to_struct_array()
        pairs = pa.table({"t": standing, "s": fresh.take(places[met]).to_struct_array()})
        kinds = StructType([self._kinds[name] for name in fresh.column_names])
        merged = self.states.merged(self._frame(pairs, StructType().add("t", kinds).add("s", kinds)), kinds).toArrow()
        others = np.ones(fresh.num_rows, dtype=bool)
        others[places[met]] = False
        return pa.concat_tables([fitted(merged, fresh.schema), fresh.filter(pa.array(others))])

    @property
    def _kinds(self) -> StructType:
        """The table's columns as Spark has them."""
        return StructType() if self.local is None else StructType.fromJson(self.local.schema)

    def _frame(self, rows: pa.Table, kinds: StructType) -> DataFrame:
        spark = self.target.spark
        return spark.createDataFrame(rows, kinds) if rows.num_rows else spark.createDataFrame([], kinds)

    def _commit(
        self, local: LocalMerge, near: Near, rows: Callable[[], pa.Table], figures: BatchFigures, gone: str = ""
    ) -> bool:
        """Merge without Spark; False where that could not be done, and nothing was committed."""
        identity = Identity(START, self.states.keys)
        try:
            self.target.merge_locally(local, near, rows(), identity, self.planned, figures, gone)
        except NotMerged as error:
            self._say(error)
            return False
        return True

    def _say(self, error: NotMerged) -> None:
        log.warning("batch %d is merged by Delta-Spark, as it could not be done here: %s", self.planned.batch, error)

    def _table(self) -> DeltaTable:
        return DeltaTable.forPath(self.target.spark, self.target.location).alias("t")
