"""The deduplicate step: of the rows with equal keys, the one that came first is kept, and no later one is let through.

The keys that were let through stand in `state/<pipeline>/seen_<step>/`, with the number of their batch. They are
committed before the target, under the batch's number; a replay takes the keys of its own batch for new, and so lets the
same rows through again. "First" is: by the ledger's batch (`_batch`, where the rows have it; else by micro-batch), then
by `time`, then by the row's own values. So the slicing of the source into micro-batches does not matter where rows are
from an ingested table.

Where rows of the source went, the rows of their keys are found again in the source as it is, and the memory of these
keys is written anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import Window as Over
from pyspark.sql import functions as F  # noqa: N812

from include.algebra.measures import quoted
from include.config.errors import ConfigError, StateLost
from include.config.settings import Settings, spark_uri
from include.config.steps import Deduplicate
from include.ledger.outcomes import BATCH
from include.ledger.tables import open_table
from include.transform.ranges import PlannedRange
from spark_jobs.engine.transform.commit import Target
from spark_jobs.engine.transform.facts import moment
from spark_jobs.engine.transform.keyed import rewrite_keys
from spark_jobs.engine.transform.problems import changed

AT, RANK, HASH, SEEN_BATCH = "__sluice_at", "__sluice_rank", "__sluice_hash", "batch"
_MICROS = 1_000_000


@dataclass(frozen=True)
class SeenKeys:
    """The memory of one deduplicate step."""

    spark: SparkSession
    settings: Settings
    pipeline: str
    number: int
    step: Deduplicate
    held: list[DataFrame]  # what is kept computed until the batch is in

    def first(self, rows: DataFrame, planned: PlannedRange) -> DataFrame:
        """The rows whose keys were not let through before, each once; their keys are remembered before this returns.

        Raises:
            ConfigError: a key, or `time`, is not there.
        """
        self._refuse_lost_memory(planned)
        timed = self._timed(rows)
        fresh = self._ranked(self._unseen(timed, planned)).persist()
        self.held.append(fresh)
        self._memory(fresh, planned).write.format("delta").mode("append").option("txnAppId", self._app_id).option(
            "txnVersion", planned.batch
        ).save(spark_uri(self._location))
        return fresh.drop(AT, HASH, RANK)

    def again(self, rows: DataFrame, keys: DataFrame, planned: PlannedRange, target: Target) -> DataFrame:
        """The first rows of some keys, of all the rows that they have; the memory of these keys is written anew.

        Raises:
            SourceChanged: the rows do not say in which batch they came.
        """
        self._refuse_lost_memory(planned)
        if planned.tables:
            raise changed(planned, "which duplicate of several source tables came first is known of appends only")
        if BATCH not in rows.columns:
            raise changed(planned, f"which duplicate came first is not known without the column {BATCH}")
        first = self._ranked(self._timed(rows)).persist()
        self.held.append(first)
        rewrite_keys(target, self._location, self._memory(first, planned), keys, (self._app_id, planned.batch))
        return first.drop(AT, HASH, RANK)

    def keys_of(self, rows: DataFrame) -> DataFrame:
        """The keys of rows, each once."""
        self._check(rows)
        return rows.select(*(quoted(key) for key in self.step.keys)).distinct()

    def _timed(self, rows: DataFrame) -> DataFrame:
        self._check(rows)
        at = F.lit(None).cast("timestamp") if self.step.time is None else F.expr(self.step.time).cast("timestamp")
        # The text of the row: a total order of different rows, and rows that are equal need none.
        return rows.withColumns({AT: at, HASH: F.to_json(F.struct(*(quoted(name) for name in rows.columns)))})

    def _ranked(self, fresh: DataFrame) -> DataFrame:
        """The rows that are let through."""
        arrived = [F.col(BATCH).asc_nulls_first()] if BATCH in fresh.columns else []
        order: list[Column] = [*arrived, F.col(AT).asc_nulls_last(), F.col(HASH).asc()]
        by_key = Over.partitionBy(*(quoted(key) for key in self.step.keys)).orderBy(*order)
        ranked = fresh.withColumn(RANK, F.row_number().over(by_key))
        return (
            ranked.where(F.col(RANK) == 1) if self.step.within is None else apart(ranked, self.step.keys, self._within)
        )

    def _unseen(self, rows: DataFrame, planned: PlannedRange) -> DataFrame:
        """The rows without those whose keys an earlier batch has let through."""
        if open_table(self._location) is None:
            return rows
        seen = self.spark.read.format("delta").load(spark_uri(self._location)).alias("s")
        seen = seen.where(F.col(SEEN_BATCH) < planned.batch)
        same = " AND ".join(f"t.{quoted(key)} <=> s.{quoted(key)}" for key in self.step.keys)
        if self.step.within is not None:
            first, last = rows.agg(F.unix_micros(F.min(AT)), F.unix_micros(F.max(AT))).collect()[0]
            if first is not None:  # lets Delta pass over the files of other times
                near_all = f"at BETWEEN {moment(first - self._within)} AND {moment(last + self._within)}"
                seen = seen.where(f"({near_all}) OR at IS NULL")
            near = f"abs(unix_micros(t.{AT}) - unix_micros(s.at)) <= {self._within}"
            same += f" AND (({near}) OR (t.{AT} IS NULL AND s.at IS NULL))"
        return rows.alias("t").join(seen, F.expr(same), "left_anti")

    def _memory(self, fresh: DataFrame, planned: PlannedRange) -> DataFrame:
        """What is remembered of rows that are let through."""
        keys = (quoted(key) for key in self.step.keys)
        return fresh.select(*keys, F.col(AT).alias("at"), F.lit(planned.batch).alias(SEEN_BATCH))

    def _refuse_lost_memory(self, planned: PlannedRange) -> None:
        """Stop where the keys of earlier batches are not remembered: all rows would pass for new ones.

        Raises:
            StateLost: always then.
        """
        seen = open_table(self._location)
        known = 0 if seen is None else seen.transaction_version(self._app_id) or 0
        if known < planned.batch - 1:
            raise StateLost(
                f"transform.steps.{self.number}.deduplicate: the keys that batches {known + 1} to {planned.batch - 1} "
                f"let through are not in {self._location}.",
                remedy="Restore the state folder from a backup. Where the step is new, or stands at another place, "
                "start over: another name and another table for this pipeline.",
            )

    def _check(self, rows: DataFrame) -> None:
        if missing := [key for key in self.step.keys if key not in rows.columns]:
            raise ConfigError(
                f"transform.steps.{self.number}.deduplicate: keys: there is no column {', '.join(missing)}.",
                remedy=f"Columns at this step: {', '.join(rows.columns)}.",
            )

    @property
    def _location(self) -> str:
        return self.settings.state_root(self.pipeline, f"seen_{self.number}")

    @property
    def _app_id(self) -> str:
        return f"sluice:{self.pipeline}:seen:{self.number}"

    @property
    def _within(self) -> int:
        return round((self.step.within or 0) * _MICROS)


def apart(ranked: DataFrame, keys: Sequence[str], within: int) -> DataFrame:
    """Of each key's rows, in the order of RANK: those that are further than `within` (micros) from all kept ones before
    them, by AT. Rows without a time are duplicates of each other.
    """
    pair = F.struct(F.col(RANK).alias("rank"), F.unix_micros(AT).alias("at"))
    kept = ranked.groupBy(*map(quoted, keys)).agg(F.array_sort(F.collect_list(pair)).alias("all"))
    near = f"exists(acc, old -> old.at <=> row.at OR abs(old.at - row.at) <= {within})"
    walk = (
        "aggregate(all, CAST(array() AS ARRAY<STRUCT<rank: INT, at: BIGINT>>), "
        f"(acc, row) -> CASE WHEN coalesce({near}, false) THEN acc ELSE array_append(acc, row) END, "
        "acc -> transform(acc, row -> row.rank))"
    )
    ranks = kept.select(*map(quoted, keys), F.explode(F.expr(walk)).alias(RANK)).alias("s")
    same = " AND ".join([f"t.{RANK} = s.{RANK}", *(f"t.{quoted(key)} <=> s.{quoted(key)}" for key in keys)])
    return ranked.alias("t").join(ranks, F.expr(same), "left_semi")
