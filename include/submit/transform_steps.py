"""The steps of a `transform` pipeline: plan the source's new versions, count what their commits say."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from include.cache.figures import read_figures
from include.config.pipeline import Pipeline
from include.config.result import Figures
from include.config.settings import Settings
from include.submit.sections import Plan
from include.transform.outcomes import run_figures, write_missing
from include.transform.plan import TransformPlan, plan_transform


class TransformSteps:
    """See include.submit.sections.SectionSteps."""

    def plan(self, pipeline: Pipeline, settings: Settings, run_id: str) -> TransformPlan:
        """Plan the versions of the source that are new."""
        return plan_transform(pipeline, settings, run_id)

    def restored(self, found: Mapping[str, Any]) -> TransformPlan:
        """The plan from its JSON form."""
        return TransformPlan.from_dict(found)

    def figures(self, pipeline: Pipeline, settings: Settings, plan: Plan) -> Figures:
        """Counted from the commits of the run, also of one that was killed after its last commit."""
        write_missing(settings, pipeline)
        return replace(
            run_figures(settings, pipeline, plan.run_id), cache=read_figures(settings, pipeline.name, plan.run_id)
        )
