"""The target's commit: the batch's records with where they are from, exactly once by `txnAppId` and `txnVersion`."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
from pyspark.sql import DataFrame, Observation, SparkSession
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import StructType

from include.config.pipeline import Ingest, Pipeline
from include.config.settings import Settings, spark_uri
from include.ledger.outcomes import BATCH, INGESTED_AT, SOURCE_FILE, SOURCE_VERSION
from include.ledger.tables import open_table
from include.ledger.target import app_id
from include.probe.tasks import spool_of
from spark_jobs.engine import checks
from spark_jobs.engine.batch_files import BatchFile, common_prefix, spark_names
from spark_jobs.engine.frames import FILE, RESCUED, exact_names, quoted, sql_literal
from spark_jobs.engine.growth import changes, extended
from spark_jobs.engine.misfits import is_misfit
from spark_jobs.engine.readers import read_files
from spark_jobs.engine.staging import Staging, needs_staging
from spark_jobs.engine.widening import WIDENING, widened
from spark_jobs.engine.work import Work

log = logging.getLogger(__name__)

MISFIT = "SLUICE_MISFIT"  # what this module and Spark's own readers say of a record that does not fit
MALFORMED = "MALFORMED_RECORD_IN_PARSING"
ENABLED = "delta.enableTypeWidening"
ORIGIN = "__sluice_origin"


@dataclass
class Target:
    """The table that a pipeline loads into."""

    spark: SparkSession
    pipeline: Pipeline
    ingest: Ingest
    settings: Settings
    run_id: str

    def __post_init__(self) -> None:
        self._staging = Staging(self.spark, self.ingest)

    def write(self, work: Work) -> None:
        """Commit the batch.

        Raises:
            Py4JJavaError, PySparkException: nothing was committed; see `says_misfit` for a record that does not fit.
        """
        batch = work.planned.batch
        if self.ingest.options.schema_evolution_mode == WIDENING:
            self._enable_widening(work)
        note = {"pipeline": self.pipeline.name, "batch": batch, "run_id": self.run_id}
        writer = (
            self._frame(work)
            .write.format("delta")
            .option("txnAppId", app_id(self.pipeline.name))
            .option("txnVersion", batch)
            .option("userMetadata", json.dumps(note))
            .option("mergeSchema", "true")
        )
        if replaced := self._replaced_rows(work):
            # One commit: the rows of the older versions go and those of the new one come.
            writer = writer.mode("overwrite").option("replaceWhere", replaced)
        else:
            writer = writer.mode("append")
        log.info("batch %d: committing to %s", batch, self.ingest.table)
        with exact_names(self.spark):  # files may have columns that differ by case only
            writer.save(spark_uri(self.settings.table_root(self.ingest.table)))
        if work.full:
            self._warn(batch)

    def _enable_widening(self, work: Work) -> None:
        """Let Delta widen columns of the table, where this batch is the first to need it: not all readers can read
        such tables. Killed before the batch's commit, the table has the feature a little early.
        """
        location = self.settings.table_root(self.ingest.table)
        table = open_table(location)
        if table is None or table.metadata().configuration.get(ENABLED) == "true":
            return
        there = StructType.fromJson(json.loads(table.schema().to_json()))
        wider = extended(there, work.schema.schema, widened)
        if any(change["change"] != "added" for change in changes(there, wider)):
            log.info("%s: %s is set", self.ingest.table, ENABLED)
            path = quoted(spark_uri(location))
            self.spark.sql(f"ALTER TABLE delta.{path} SET TBLPROPERTIES ('{ENABLED}' = 'true')")

    def _replaced_rows(self, work: Work) -> str:
        """The rows that go, as SQL; "" for none. A new version that cannot be read leaves the older rows standing."""
        planned = {file.path: file for file in work.planned.files}
        paths: dict[int, list[str]] = {}
        for file in work.readable:
            if (first := planned[file.path].replaces) is not None:
                paths.setdefault(first, []).append(sql_literal(file.path))
        return " OR ".join(
            f"({SOURCE_FILE} IN ({', '.join(literals)}) AND {SOURCE_VERSION} >= {first})"
            for first, literals in paths.items()
        )

    def _frame(self, work: Work) -> DataFrame:
        """The rows of the commit: the schema's columns, what does not fit them, then where each row is from."""
        columns = [quoted(name) for name in work.schema.schema.names]
        rescued = self.ingest.rescued_column
        more = [] if rescued is None else [F.col(RESCUED).alias(rescued)]
        origin = [SOURCE_FILE, SOURCE_VERSION]
        if work.full:
            records = self._with_origin(self._counted(self._fitting(work)), work.full)
        else:
            empty = [F.lit(None).cast(field.dataType).alias(field.name) for field in work.schema.schema]
            nothing = {RESCUED: F.lit(None).cast("string"), SOURCE_FILE: F.lit(""), SOURCE_VERSION: F.lit(1)}
            records = self.spark.range(0).select(*empty).withColumns(nothing)
        planned_at = F.timestamp_micros(F.lit(work.planned.planned_at))
        return records.select(
            *columns,
            *more,
            *origin,
            planned_at.alias(INGESTED_AT),
            F.lit(work.planned.batch).cast("bigint").alias(BATCH),
        )

    def _fitting(self, work: Work) -> DataFrame:
        # Clean data, which is nearly all data, is read once: a record that does not fit fails the job, and only then
        # are the records looked at one by one.
        schema = work.schema.schema
        if needs_staging(self.ingest, schema, work.full):
            spool = spool_of(self.settings, self.pipeline.name, work.planned.batch)
            frame = self._staging.read(schema, work.full, spool)
        else:
            frame = read_files(self.spark, self.ingest, schema, work.full, fail_fast=not work.tried)
        misfit = is_misfit(self.ingest)
        if work.tried:
            return frame.where(~misfit)
        checks.refuse_unusable(frame, self.ingest.checks)
        stop = F.raise_error(F.lit(MISFIT)).cast("boolean")
        return frame.where(F.when(misfit, stop).otherwise(F.lit(True)))

    def _counted(self, frame: DataFrame) -> DataFrame:
        """The same records, counted on their way by the `warn` checks."""
        self._warnings = Observation()
        counts = checks.counts(self.ingest.checks)
        return frame.observe(self._warnings, *counts) if counts else frame

    def _warn(self, batch: int) -> None:
        """Say how many records the `warn` checks let pass; asked after the commit."""
        if not checks.counts(self.ingest.checks):
            return
        for name, count in self._warnings.get.items():
            if count:
                log.warning("batch %d: check %s: %d records fail it and were loaded (action: warn)", batch, name, count)

    def _with_origin(self, frame: DataFrame, files: Sequence[BatchFile]) -> DataFrame:
        """The same records with the ledger's name and version of their file."""
        names = spark_names(self.spark, files)
        prefix = common_prefix(names, [file.path for file in files])
        if prefix is not None and len({file.version for file in files}) == 1:
            path = F.expr(f"substring({FILE}, {len(prefix) + 1})")
            return frame.withColumns({SOURCE_FILE: path, SOURCE_VERSION: F.lit(files[0].version)})
        # An Arrow table becomes a relation of the plan itself; rows of Python would start a Python worker (a second).
        columns = {
            ORIGIN: pa.array(names),
            SOURCE_FILE: pa.array([file.path for file in files]),
            SOURCE_VERSION: pa.array([file.version for file in files], pa.int32()),
        }
        origin = self.spark.createDataFrame(pa.table(columns))
        joined = frame.join(F.broadcast(origin), F.col(FILE) == F.col(ORIGIN), how="left")
        unnamed = F.raise_error(F.concat(F.lit("no planned file is named "), F.col(FILE)))
        return joined.withColumn(SOURCE_FILE, F.coalesce(F.col(SOURCE_FILE), unnamed))


def says_misfit(text: str) -> bool:
    """Whether the error of a commit says that a record does not fit the schema, or fails a check."""
    return MISFIT in text or MALFORMED in text
