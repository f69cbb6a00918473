"""Sluice from a notebook or a PySpark script, in the session that is there:

    from spark_jobs.notebook import copy_into, local_session, run_pipeline
    spark = local_session()
    run_pipeline(spark, "flights")
    copy_into(spark, "COPY INTO bronze.planes FROM 'planes' FILEFORMAT = CSV FORMAT_OPTIONS ('header' = 'true')").show()

A session that was made elsewhere needs Delta's jars and extensions (delta-spark's `configure_spark_with_delta_pip` sets
them). Pipelines and statements have the same plans, the same locks and the same guarantees as with `sluice run` and
`sluice copy-into`; what they do not have is a JVM of their own.
"""

import os
import sys
import time
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from include.config.errors import ConfigError
from include.config.pipeline import Pipeline
from include.config.reader import load_pipeline
from include.config.result import RunResult
from include.config.settings import Settings, load_settings
from include.copy_into.plan import plan_statements
from include.copy_into.results import over, refuse_rejected, results
from include.copy_into.statement import CopyInto, read_statement
from include.ledger.table_lock import table_lock
from include.probe.workers import ProbePool
from include.submit.job import session_conf
from include.submit.steps import discover_step, new_run_id, publish_step
from spark_jobs.engine.batch import BatchLoader
from spark_jobs.engine.copy.loader import TableLoader
from spark_jobs.engine.copy.validate import validate_statement
from spark_jobs.engine.session import build_session
from spark_jobs.engine.stream import LedgerStream
from spark_jobs.engine.transform.runner import run_batches

RESULT = pa.schema(
    [
        pa.field("num_affected_rows", pa.int64(), nullable=False),
        pa.field("num_inserted_rows", pa.int64(), nullable=False),
        pa.field("num_skipped_corrupt_files", pa.int64(), nullable=False),
    ]
)
VALIDATED = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("records", pa.int64()),
        pa.field("errors", pa.int64(), nullable=False),
        pa.field("record", pa.int64()),
        pa.field("reason", pa.string()),
        pa.field("raw", pa.string()),
    ]
)


def local_session(name: str = "sluice", master: str = "local[*]") -> SparkSession:
    """A session of this process as Sluice's own jobs have it, with Delta; the one that is there, if there is one.

    Raises:
        ConfigError: Java or the jars are missing.
    """
    os.environ["PYSPARK_PYTHON"] = sys.executable  # the workers have what the driver has
    conf = {"spark.master": master, **session_conf(master)}
    spark = build_session(name, conf)
    spark.sparkContext.setLogLevel("ERROR")
    return spark


def run_pipeline(spark: SparkSession, name: str, *, wait: float = 600.0, settings: Settings | None = None) -> RunResult:
    """Do what is new for an `ingest` or `transform` pipeline, by name or by the path of its file, as `sluice run` does.

    `wait` is how many seconds to wait for another writer of the table; `settings` are those of the environment unless
    given.

    Raises:
        SluiceError: what stopped it; micro-batches before that are in.
    """
    started = time.monotonic()
    settings = settings or load_settings()
    pipeline = load_pipeline(name)
    if pipeline.section not in ("ingest", "transform"):
        raise ConfigError(
            f"{name} is a {pipeline.section} pipeline, which does not run in a session that is there.",
            remedy=f"Use `sluice run {name}`, or copy_into(spark, sql) for a statement.",
        )
    plan = discover_step(pipeline, settings, new_run_id())
    if plan.has_work:
        with table_lock(settings, pipeline.lock_name, wait):
            _do_pending(spark, pipeline, settings, plan.run_id)
    return publish_step(pipeline, settings, plan, None, time.monotonic() - started)


def _do_pending(spark: SparkSession, pipeline: Pipeline, settings: Settings, run_id: str) -> None:
    if pipeline.transform is not None:
        run_batches(spark, pipeline, settings, run_id)
        return
    ingest = pipeline.ingestion()
    pool = ProbePool()
    try:
        loader = BatchLoader(spark, pipeline, ingest, settings, run_id, pool)
        LedgerStream(spark, pipeline, ingest, settings).run(loader)
    finally:
        pool.close()


def copy_into(
    spark: SparkSession,
    sql: str,
    parameters: Mapping[str, str] | None = None,
    *,
    wait: float = 600.0,
    settings: Settings | None = None,
) -> DataFrame:
    """Run one COPY INTO statement and return its figures as one row.

    With VALIDATE nothing is written, and the rows are the errors that were found: one row for each, and one for each
    file without any. `wait` is how many seconds to wait for another writer of the table; `settings` are those of the
    environment unless given.

    Raises:
        SluiceError: the statement is wrong or was rejected, and why; nothing of it was loaded.
    """
    settings = settings or load_settings()
    statement = read_statement(sql, parameters)
    pool = ProbePool()
    try:
        if statement.validate is not None:
            return _validated(spark, validate_statement(spark, settings, pool, statement))
        return _loaded(spark, settings, pool, statement, wait)
    finally:
        pool.close()


def _loaded(spark: SparkSession, settings: Settings, pool: ProbePool, statement: CopyInto, wait: float) -> DataFrame:
    plan = plan_statements(settings, [statement], new_run_id())
    if not over(settings, plan):
        with table_lock(settings, statement.table, wait):
            TableLoader(spark, settings, pool, statement.table, plan.run_id).run()
    refuse_rejected(settings, plan)
    figures = results(settings, plan)[0].to_dict()
    row = {name: [figures[name]] for name in RESULT.names}
    return spark.createDataFrame(pa.Table.from_pydict(row, schema=RESULT))


def _validated(spark: SparkSession, found: Mapping[str, Any]) -> DataFrame:
    rows = [
        {**{name: file[name] for name in ("path", "records", "errors")}, **error}
        for file in found["files"]
        for error in (file["first_errors"] or [{}])
    ]
    return spark.createDataFrame(pa.Table.from_pylist(rows, schema=VALIDATED))
