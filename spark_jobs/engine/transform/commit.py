"""How a micro-batch enters the target: one commit that carries the batch's number and its figures."""

import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from include.config.errors import TableLocked
from include.config.pipeline import Pipeline
from include.config.settings import Settings, spark_uri
from include.ledger.tables import open_table
from include.ledger.target import app_id, committed_batch
from include.transform.local_merge import LocalMerge
from include.transform.near_rows import Identity, Near
from include.transform.outcomes import BatchFigures, Note
from include.transform.ranges import PlannedRange

log = logging.getLogger(__name__)

LOST_RACE = ("ConcurrentTransactionException", "DELTA_CONCURRENT_TRANSACTION")
_TXN = "spark.databricks.delta.write"
_METADATA = "spark.databricks.delta.commitInfo.userMetadata"


@dataclass(frozen=True)
class Target:
    """The table that a transformation writes."""

    spark: SparkSession
    pipeline: Pipeline
    settings: Settings
    run_id: str

    @property
    def name(self) -> str:
        """As the pipeline file names it."""
        return self.pipeline.transformation().table

    @property
    def location(self) -> str:
        """As Spark takes it."""
        return spark_uri(self.settings.table_root(self.name))

    @property
    def exists(self) -> bool:
        """False before the first commit."""
        return open_table(self.settings.table_root(self.name)) is not None

    def merged_locally(self, keys: Collection[str]) -> LocalMerge | None:
        """The table for merges without Spark; None where they are Delta-Spark's work."""
        return LocalMerge.open(self.settings.table_root(self.name), keys)

    def merge_locally(
        self,
        into: LocalMerge,
        near: Near,
        rows: pa.Table,
        identity: Identity,
        planned: PlannedRange,
        figures: BatchFigures,
        gone: str = "",
    ) -> None:
        """Commit rows without Spark; see LocalMerge.commit.

        Raises:
            TableLocked: another process committed to the table meanwhile.
            NotMerged: that could not be done.
        """
        into.commit(
            near, rows, identity, self.note(planned, figures), (app_id(self.pipeline.name), planned.batch), gone
        )

    def note(self, planned: PlannedRange, figures: BatchFigures) -> str:
        """The text that the commit carries."""
        return Note(self.pipeline.name, planned.batch, self.run_id, figures).to_json()

    def append(self, frame: DataFrame, planned: PlannedRange, figures: BatchFigures, replaced: str = "") -> None:
        """Commit rows; those that fulfil the SQL predicate `replaced` go in the same commit.

        Raises:
            TableLocked: another process committed to the table as this pipeline.
        """
        writer = (
            frame.write.format("delta")
            .option("txnAppId", app_id(self.pipeline.name))
            .option("txnVersion", planned.batch)
            .option("userMetadata", self.note(planned, figures))
            .option("mergeSchema", "true")
        )
        writer = writer.mode("overwrite").option("replaceWhere", replaced) if replaced else writer.mode("append")
        with self._fenced():
            writer.save(self.location)

    @contextmanager
    def as_transaction(self, planned: PlannedRange, figures: BatchFigures) -> Iterator[None]:
        """For what is no DataFrame write (MERGE): the session's next commit carries the batch's number and figures.

        Raises:
            TableLocked: another process committed to the table as this pipeline.
        """
        self.spark.conf.set(_METADATA, self.note(planned, figures))
        try:
            with self._fenced(), self.transaction(app_id(self.pipeline.name), planned.batch):
                yield
        finally:
            self.spark.conf.unset(_METADATA)
        if committed_batch(self.settings, self.name, app_id(self.pipeline.name)) < planned.batch:
            # A MERGE that changes no row is no commit; the batch is done all the same.
            nothing = self.spark.read.format("delta").load(self.location).limit(0)
            self.append(nothing, planned, figures)

    @contextmanager
    def transaction(self, app: str, version: int) -> Iterator[None]:
        """The session's next commit, whatever table it is of, is version `version` of the application `app`."""
        conf = {f"{_TXN}.txnAppId": app, f"{_TXN}.txnVersion": str(version)}
        for key, value in conf.items():
            self.spark.conf.set(key, value)
        try:
            yield
        finally:
            for key in conf:
                self.spark.conf.unset(key)

    @contextmanager
    def _fenced(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if any(mark in str(error) for mark in LOST_RACE):
                raise TableLocked(
                    f"Another process committed to {self.name} as {self.pipeline.name}.", remedy="Run again."
                ) from error
            raise
