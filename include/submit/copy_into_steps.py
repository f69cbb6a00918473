"""The steps of a `copy_into` pipeline: plan its statements, count their outcomes."""

from collections.abc import Mapping
from typing import Any, cast

from include.config.pipeline import Pipeline
from include.config.result import Figures, FileCounts, RowCounts
from include.config.settings import Settings
from include.copy_into.plan import CopyPlan, plan_statements
from include.copy_into.results import results
from include.ledger.target import table_version
from include.submit.sections import Plan


class CopyIntoSteps:
    """See include.submit.sections.SectionSteps."""

    def plan(self, pipeline: Pipeline, settings: Settings, run_id: str) -> CopyPlan:
        """Plan the statements, in their order."""
        return plan_statements(settings, pipeline.statements(), run_id)

    def restored(self, found: Mapping[str, Any]) -> CopyPlan:
        """The plan from its JSON form."""
        return CopyPlan.from_dict(found)

    def figures(self, pipeline: Pipeline, settings: Settings, plan: Plan) -> Figures:
        """Counted from the outcomes of the statements' batches; that one was rejected is the job's failure."""
        copy_plan = cast(CopyPlan, plan)
        done = results(settings, copy_plan)
        files = [file for result in done for file in result.files]
        return Figures(
            files=FileCounts(
                discovered=sum(one.discovered for one in copy_plan.statements),
                loaded=sum(file["status"] == "loaded" for file in files),
                quarantined=sum(file["status"] == "quarantined" for file in files),
                skipped=sum(one.skipped for one in copy_plan.statements),
            ),
            rows=RowCounts(
                loaded=sum(result.num_inserted_rows for result in done),
                quarantined=sum(file["rows_quarantined"] for file in files),
            ),
            batches=sum(1 for one, result in zip(copy_plan.statements, done, strict=True) if result.files),
            table_version=table_version(settings, pipeline.targets[0]),
        )
