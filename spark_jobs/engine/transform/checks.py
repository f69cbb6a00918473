"""The checks step: rows for which an expectation is false are refused, left out, or only counted.

Rows that `quarantine` refuses go to `state/<pipeline>/refused_<step>` with the name of the first check that they fail,
committed before the target under the batch's number; `drop` leaves them out and counts them.
"""

import logging
from collections.abc import Sequence

from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812

from include.config.errors import DataRefused
from include.config.ingest import Check
from include.config.settings import Settings, spark_uri
from include.transform.ranges import PlannedRange
from spark_jobs.engine import checks

log = logging.getLogger(__name__)

CHECK, REFUSED_BATCH = "_check", "_refused_batch"


def passing(rows: DataFrame, step: Sequence[Check]) -> DataFrame:
    """The rows that no enforced check keeps out."""
    return rows.where(~checks.fails_any(step))


def refuse(
    rows: DataFrame, step: Sequence[Check], settings: Settings, pipeline: str, number: int, planned: PlannedRange
) -> int:
    """Write what is quarantined, count what is left out, and return how many rows that are.

    Raises:
        ConfigError: Spark does not understand a check.
        DataRefused: a row fails a `fail` check; nothing of the batch is written.
    """
    checks.refuse_unusable(rows, step)
    failing = {check.name: F.count_if(checks.fails(check)).alias(check.name) for check in step}
    first = rows.withColumn(CHECK, checks.first_failed(step)) if checks.enforced(step) else None
    counts = rows.agg(*failing.values()).collect()[0].asDict()
    for check in step:
        if counts[check.name] and check.action == "warn":
            log.warning("check %s: %d rows fail it and go on (action: warn)", check.name, counts[check.name])
        if counts[check.name] and check.action == "fail":
            raise DataRefused(
                f"transform.steps.{number}.checks: {check.name}: {counts[check.name]} rows fail {check.expr!r}.",
                remedy="Correct the source, or give the check another action: quarantine, drop, warn.",
            )
    if first is None or not any(counts[check.name] for check in checks.enforced(step)):
        return 0
    refused = first.where(F.col(CHECK).isNotNull())
    _quarantine(refused, step, settings, pipeline, number, planned)
    return refused.count()


def _quarantine(
    refused: DataFrame, step: Sequence[Check], settings: Settings, pipeline: str, number: int, planned: PlannedRange
) -> None:
    kept = [check.name for check in step if check.action == "quarantine"]
    (
        refused.where(F.col(CHECK).isin(kept))
        .withColumn(REFUSED_BATCH, F.lit(planned.batch))
        .write.format("delta")
        .mode("append")
        .option("mergeSchema", "true")
        .option("txnAppId", f"sluice:{pipeline}:refused:{number}")
        .option("txnVersion", planned.batch)
        .save(spark_uri(settings.state_root(pipeline, f"refused_{number}")))
    )
