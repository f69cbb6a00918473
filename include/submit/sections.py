"""What each section of a pipeline file gives to a run: how it is planned without Spark, and how it is counted.

A new section is a class with the methods of `SectionSteps`, a line in `steps_of`, and an application in
include/submit/job.py.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from include.config.pipeline import Pipeline
from include.config.result import Figures
from include.config.settings import Settings


class Plan(Protocol):
    """What there is to do now. It goes from task to task as JSON."""

    @property
    def run_id(self) -> str:
        """The run that planned it."""

    @property
    def has_work(self) -> bool:
        """False where no JVM is needed."""

    @property
    def pending_bytes(self) -> int:
        """Bytes that the job will read: they choose the JVM's profile."""

    def to_dict(self) -> dict[str, object]:
        """As JSON types, with at least `pending_bytes`."""


class SectionSteps(Protocol):
    """The parts of a run that differ by section. None of them needs Spark."""

    def plan(self, pipeline: Pipeline, settings: Settings, run_id: str) -> Plan:
        """Find what is new and commit the plan for it; put in order what a killed run left.

        Raises:
            SluiceError: there is nothing that can be planned, and why.
        """

    def restored(self, found: Mapping[str, Any]) -> Plan:
        """The inverse of a plan's `to_dict`."""

    def figures(self, pipeline: Pipeline, settings: Settings, plan: Plan) -> Figures:
        """What the run of this plan committed.

        Raises:
            SluiceError: it cannot be read.
        """


def steps_of(pipeline: Pipeline) -> SectionSteps:
    """The steps of the pipeline's section."""
    # Imported here: a section's steps bring Delta and Arrow, which a DAG's parse must not pay for.
    if pipeline.section == "ingest":
        from include.submit.ingest_steps import IngestSteps  # noqa: PLC0415

        return IngestSteps()
    if pipeline.section == "transform":
        from include.submit.transform_steps import TransformSteps  # noqa: PLC0415

        return TransformSteps()
    if pipeline.section == "copy_into":
        from include.submit.copy_into_steps import CopyIntoSteps  # noqa: PLC0415

        return CopyIntoSteps()
    from include.submit.cache_steps import CacheSteps  # noqa: PLC0415

    return CacheSteps()
