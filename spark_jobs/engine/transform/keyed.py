"""A target whose rows are told apart by keys: the rows of some keys are put in the place of those that stand there."""

from collections.abc import Sequence
from dataclasses import dataclass

from delta.tables import DeltaTable
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812

from include.algebra.measures import quoted
from include.config.settings import spark_uri
from include.ledger.tables import open_table
from include.transform.outcomes import BatchFigures
from include.transform.ranges import PlannedRange
from spark_jobs.engine.transform.commit import Target
from spark_jobs.engine.transform.states import inserts, persisted, same_keys

GONE = "__sluice_gone"


def of_keys(rows: DataFrame, keys: DataFrame) -> DataFrame:
    """The rows that have one of these keys; NULL is a key like any other."""
    same = F.expr("TRUE" + same_keys(keys.columns))
    return rows.alias("t").join(keys.alias("s"), same, "left_semi")


@dataclass(frozen=True)
class KeyedTable:
    """The target of one micro-batch."""

    target: Target
    planned: PlannedRange

    def standing(self, keys: DataFrame) -> DataFrame | None:
        """Its rows of these keys; None before the first commit."""
        if not self.target.exists:
            return None
        return of_keys(self.target.spark.read.format("delta").load(self.target.location), keys)

    def put(self, rows: DataFrame, identity: Sequence[str], figures: BatchFigures) -> None:
        """Rows in the place of those with equal `identity`, of which each side has one; rows that are GONE are deleted.

        One commit, also where there is nothing to do.
        """
        if not self.target.exists or rows.isEmpty():
            self.target.append(rows.drop(GONE), self.planned, figures)
            return
        values: dict[str, str | Column] = {**inserts([name for name in rows.columns if name != GONE])}
        builder = (
            self._table()
            .merge(rows.alias("s"), "TRUE" + same_keys(identity))
            .whenMatchedDelete(condition=f"s.{GONE}")
            .whenMatchedUpdate(set=values)
            .whenNotMatchedInsert(condition=f"NOT s.{GONE}", values=values)
        )
        with self.target.as_transaction(self.planned, figures):
            builder.execute()

    def replace(self, rows: DataFrame, keys: DataFrame, figures: BatchFigures) -> None:
        """All rows of these keys, however many: the standing ones go, `rows` come. One commit."""
        gone = keys.withColumn(GONE, F.lit(True))
        with persisted(rows.withColumn(GONE, F.lit(False)).unionByName(gone, allowMissingColumns=True)) as ops:
            if not self.target.exists or ops.isEmpty():
                self.target.append(ops.where(~F.col(GONE)).drop(GONE), self.planned, figures)
                return
            values: dict[str, str | Column] = {**inserts(rows.columns)}
            builder = (
                self._table()
                .merge(ops.alias("s"), f"s.{GONE}" + same_keys(keys.columns))
                .whenMatchedDelete()
                .whenNotMatchedInsert(condition=f"NOT s.{GONE}", values=values)
            )
            with self.target.as_transaction(self.planned, figures):
                builder.execute()

    def _table(self) -> DeltaTable:
        return DeltaTable.forPath(self.target.spark, self.target.location).alias("t")


def rewrite_keys(target: Target, location: str, rows: DataFrame, keys: DataFrame, transaction: tuple[str, int]) -> None:
    """In a side table: the rows of these keys become `rows`; `transaction` is the application's id and the version.

    One commit, which is passed over where the table holds that transaction.
    """
    app, version = transaction
    columns = rows.columns

    def append(fresh: DataFrame) -> None:
        writer = fresh.write.format("delta").mode("append").option("txnAppId", app).option("txnVersion", version)
        writer.save(spark_uri(location))

    gone = keys.withColumn(GONE, F.lit(True))
    with persisted(rows.withColumn(GONE, F.lit(False)).unionByName(gone, allowMissingColumns=True)) as ops:
        if open_table(location) is None or ops.isEmpty():
            append(ops.where(~F.col(GONE)).select(*map(quoted, columns)))
            return
        values: dict[str, str | Column] = {**inserts(columns)}
        builder = (
            DeltaTable.forPath(target.spark, spark_uri(location))
            .alias("t")
            .merge(ops.alias("s"), f"s.{GONE}" + same_keys(keys.columns))
            .whenMatchedDelete()
            .whenNotMatchedInsert(condition=f"NOT s.{GONE}", values=values)
        )
        with target.transaction(app, version):
            builder.execute()
    append(rows.limit(0))  # a MERGE that changes no row is no commit; after one that is, this is none
