"""The deduplicate step: of the rows with equal keys, the one that came first is kept, and no later one is let through.

The keys that were let through stand in `state/<pipeline>/seen_<step>/`, with the number of their batch. They are
committed before the target, under the batch's number; a replay takes the keys of its own batch for new, and so lets the
same rows through again. "First" is: by micro-batch, then by `time`, then by the row's own values.
"""

from dataclasses import dataclass

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import Window as Over
from pyspark.sql import functions as F  # noqa: N812

from include.algebra.measures import quoted
from include.config.errors import ConfigError
from include.config.settings import Settings, spark_uri
from include.config.transform import Deduplicate
from include.ledger.tables import open_table
from include.transform.ranges import PlannedRange
from spark_jobs.engine.transform.facts import moment

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
        fresh = self._ranked(rows, planned).persist()
        self.held.append(fresh)
        self._remember(fresh, planned)
        return fresh.drop(AT, HASH, RANK)

    def _ranked(self, rows: DataFrame, planned: PlannedRange) -> DataFrame:
        """The rows that are let through."""
        self._check(rows)
        at = F.lit(None).cast("timestamp") if self.step.time is None else F.expr(self.step.time).cast("timestamp")
        # The text of the row: a total order of different rows, and rows that are equal need none.
        timed = rows.withColumns({AT: at, HASH: F.to_json(F.struct(*(quoted(name) for name in rows.columns)))})
        fresh = self._unseen(timed, planned)
        by_key = Over.partitionBy(*(quoted(key) for key in self.step.keys)).orderBy(F.col(AT).asc_nulls_last(), HASH)
        if self.step.within is None:
            return fresh.withColumn(RANK, F.row_number().over(by_key)).where(F.col(RANK) == 1)
        return self._apart(fresh.withColumn(RANK, F.row_number().over(by_key)))

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

    def _apart(self, ranked: DataFrame) -> DataFrame:
        """Of each key's rows in the order of time: the first, and each that is further than `within` from the last kept
        one. Rows without a time are duplicates of each other.
        """
        pair = F.struct(F.unix_micros(AT).alias("at"), F.col(RANK).alias("rank"))
        kept = ranked.groupBy(*(quoted(key) for key in self.step.keys)).agg(
            F.array_sort(F.collect_list(pair)).alias("all")
        )
        walk = (
            "aggregate(all, named_struct('last', CAST(NULL AS BIGINT), 'untimed', false, "
            "'ranks', CAST(array() AS ARRAY<INT>)), (acc, row) -> CASE "
            "WHEN row.at IS NULL AND acc.untimed THEN acc "
            "WHEN row.at IS NULL THEN named_struct('last', acc.last, 'untimed', true, "
            "'ranks', array_append(acc.ranks, row.rank)) "
            f"WHEN acc.last IS NULL OR row.at - acc.last > {self._within} THEN named_struct('last', row.at, "
            "'untimed', acc.untimed, 'ranks', array_append(acc.ranks, row.rank)) ELSE acc END, acc -> acc.ranks)"
        )
        ranks = kept.select(*(quoted(key) for key in self.step.keys), F.explode(F.expr(walk)).alias(RANK)).alias("s")
        same = " AND ".join([f"t.{RANK} = s.{RANK}", *(f"t.{quoted(k)} <=> s.{quoted(k)}" for k in self.step.keys)])
        return ranked.alias("t").join(ranks, F.expr(same), "left_semi")

    def _remember(self, fresh: DataFrame, planned: PlannedRange) -> None:
        keys = fresh.select(
            *(quoted(key) for key in self.step.keys), F.col(AT).alias("at"), F.lit(planned.batch).alias(SEEN_BATCH)
        )
        (
            keys.write.format("delta")
            .mode("append")
            .option("txnAppId", f"sluice:{self.pipeline}:seen:{self.number}")
            .option("txnVersion", planned.batch)
            .save(spark_uri(self._location))
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
    def _within(self) -> int:
        return round((self.step.within or 0) * _MICROS)
