"""COPY INTO from a notebook or a PySpark script, in the session that is there:

    from spark_jobs.notebook import copy_into
    copy_into(spark, "COPY INTO bronze.planes FROM 'planes' FILEFORMAT = CSV FORMAT_OPTIONS ('header' = 'true')").show()

The session needs Delta's jars and extensions (delta-spark's `configure_spark_with_delta_pip` sets them). The statement
has the same ledger, the same lock and the same guarantees as `sluice copy-into`.
"""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from include.config.settings import Settings, load_settings
from include.copy_into.plan import plan_statements
from include.copy_into.results import over, refuse_rejected, results
from include.copy_into.statement import CopyInto, read_statement
from include.ledger.table_lock import table_lock
from include.probe.workers import ProbePool
from include.submit.steps import new_run_id
from spark_jobs.engine.copy.loader import TableLoader
from spark_jobs.engine.copy.validate import validate_statement

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
