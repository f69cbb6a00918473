"""VALIDATE: what a statement would load and what it would refuse, for each file. Writes nothing."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from include.config.errors import SluiceError
from include.config.settings import Settings
from include.copy_into.plan import plan_statements
from include.copy_into.statement import CopyInto
from include.copy_into.target import open_target
from include.ledger.versions import PlannedBatch
from include.probe.spool import clear_spool
from include.probe.workers import ProbePool
from include.submit.failures import failure_of
from spark_jobs.engine.copy.constraints import Constraints
from spark_jobs.engine.copy.prepare import Preparation, target_schema
from spark_jobs.engine.copy.shape import misfits
from spark_jobs.engine.copy.spark_errors import told
from spark_jobs.engine.frames import quoted
from spark_jobs.engine.work import Work, refusals

PREVIEW_ROWS = 50
ERRORS_SHOWN = 100


def validate_statement(spark: SparkSession, settings: Settings, pool: ProbePool, statement: CopyInto) -> dict[str, Any]:
    """The files that the statement would load, each with its errors; some of the rows; why it would be refused.

    All records are checked; VALIDATE n ROWS says how many are shown.
    """
    files = plan_statements(settings, [statement], "validate", dry_run=True).new_files
    planned = PlannedBatch(0, files, 0)
    table = open_target(settings.table_root(statement.table))
    target = target_schema(table)
    preparation = Preparation(spark, settings, pool, statement, target, Constraints.of(table, target))
    work = preparation.look(planned)
    found: dict[str, Any] = {"rows": [], "columns": [], "error": None}
    try:
        work = preparation.with_schema(work)
        work, shown = _checked(preparation, work, statement)
        found.update(shown)
        preparation.ruled(work)
    except SluiceError as error:
        found["error"] = _failure(error)
    except (Py4JJavaError, PySparkException) as error:
        explained = told(error)
        if explained is error:
            raise
        found["error"] = _failure(explained)
    finally:
        clear_spool(preparation.spool)
    return {"valid": found["error"] is None, **found, "files": _files(work)}


def _failure(error: BaseException) -> Mapping[str, str]:
    failure = failure_of(error)
    return {"class": failure.error_class, "message": failure.message, "remedy": failure.remedy}


def _checked(preparation: Preparation, work: Work, statement: CopyInto) -> tuple[Work, dict[str, Any]]:
    for _ in range(len(work.planned.files) + 1):
        if not work.full:
            return work, {}
        try:
            work = preparation.with_misfits(work)
            shaped = preparation.shaped(work)
            rows = shaped.frame.where(~misfits()).select(*(quoted(name) for name in shaped.names))
            limit = (
                PREVIEW_ROWS if statement.validate is None or not statement.validate.rows else statement.validate.rows
            )
            preview = rows.limit(limit).toArrow().to_pylist()
        except (Py4JJavaError, PySparkException) as error:
            work = replace(preparation.after_failure(work, error), tried=False)
        else:
            columns = [f"{field.name} {field.dataType.simpleString()}" for field in rows.schema]
            return work, {"rows": preview, "columns": columns}
    return work, {}


def _files(work: Work) -> list[dict[str, Any]]:
    refused = refusals(work)
    counts = Counter(refusal.path for refusal in refused)
    reports = {file.path: file.report for file in work.readable} | dict(work.left_out)
    return [
        {
            "path": file.path,
            "size": file.size,
            "records": reports[file.path].records,
            "errors": counts[file.path],
            "readable": file.path not in work.left_out,
            "first_errors": [
                {"record": refusal.record, "reason": refusal.reason, "raw": refusal.raw}
                for refusal in refused
                if refusal.path == file.path
            ][:ERRORS_SHOWN],
        }
        for file in work.planned.files
    ]
