"""The steps of a `cache` pipeline: has the table changed, what was refreshed."""

from collections.abc import Mapping
from typing import Any

from include.cache.figures import read_figures
from include.cache.refresh import CachePlan, dimension_of, plan_refresh
from include.cache.store import SnapshotStore
from include.config.pipeline import Pipeline
from include.config.result import Figures
from include.config.settings import Settings
from include.submit.sections import Plan


class CacheSteps:
    """See include.submit.sections.SectionSteps."""

    def plan(self, pipeline: Pipeline, settings: Settings, run_id: str) -> CachePlan:
        """Look at the table's log."""
        return plan_refresh(pipeline, settings, run_id)

    def restored(self, found: Mapping[str, Any]) -> CachePlan:
        """The plan from its JSON form."""
        return CachePlan.from_dict(found)

    def figures(self, pipeline: Pipeline, settings: Settings, plan: Plan) -> Figures:
        """What the run refreshed; `table_version` is that of the newest snapshot."""
        figures = read_figures(settings, pipeline.name, plan.run_id)
        newest = SnapshotStore.of(settings.home, dimension_of(pipeline.caching(), settings)).newest()
        return Figures(
            batches=sum(sum(item["refreshes"].values()) for item in figures),
            table_version=None if newest < 0 else newest,
            cache=figures,
        )
