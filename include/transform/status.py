"""The sums of a transformation, as `sluice status` shows them. Read only, without Spark."""

from typing import Any

from include.cache.status import sums
from include.config.pipeline import Pipeline
from include.config.settings import Settings
from include.ledger.files import last_failure
from include.ledger.target import app_id, committed_batch, table_version
from include.transform.outcomes import outcome_rows
from include.transform.plan_table import PlanTable


def status(settings: Settings, pipeline: Pipeline) -> dict[str, Any]:
    """Rows, batches, what is planned and not done, the target's version, cached joins and the last failure (or None).

    Raises:
        StateLost: the target holds batches that the plan never had.
    """
    target = pipeline.transformation().table
    committed = committed_batch(settings, target, app_id(pipeline.name))
    plan = PlanTable(settings, pipeline.name)
    plan.refuse_lost_state(committed)
    pending = plan.ranges(committed + 1, plan.last_batch)
    outcomes = outcome_rows(settings, pipeline.name)
    return {
        "pipeline": pipeline.name,
        "table": target,
        **{
            name: sum(int(row[name]) for row in outcomes)
            for name in ("rows_read", "rows_loaded", "rows_late", "rows_quarantined")
        },
        "last_batch": plan.last_batch,
        "pending_batches": len(pending),
        "pending_bytes": sum(item.versions.size for item in pending),
        "table_version": table_version(settings, target),
        "cache": sums(settings, pipeline.name),
        "last_failure": last_failure(settings, pipeline.name),
    }
