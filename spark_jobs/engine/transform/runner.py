"""The loop over the planned micro-batches: each once, in order, until the target holds the last one.

The plan says which versions a batch reads, the target's transaction version says which batches are in. There is no
checkpoint that could be lost:

| killed after | left behind | on the next run |
|---|---|---|
| the plan's commit | a pending batch | is done |
| a side table's commit (late rows, seen keys) | rows of a batch that is not done | they are there once |
| the target's commit | a done batch without its outcome | the figures are read from the commit |
"""

import logging
import time
from collections.abc import Sequence
from typing import Protocol

from pyspark.sql import SparkSession

from include.cache.figures import write_figures
from include.config.errors import Defect
from include.config.pipeline import Pipeline
from include.config.settings import Settings
from include.ledger.target import app_id, committed_batch
from include.transform.outcomes import write_missing
from include.transform.plan_table import PlanTable
from include.transform.ranges import PlannedRange
from spark_jobs.engine.cache.joins import CachedJoins
from spark_jobs.engine.transform.append import AppendSink
from spark_jobs.engine.transform.commit import Target
from spark_jobs.engine.transform.source import Source
from spark_jobs.engine.transform.steps import RowSteps

log = logging.getLogger(__name__)


class Sink(Protocol):
    """How the rows of a micro-batch enter the target."""

    def write(self, planned: PlannedRange) -> None:
        """Commit the batch, as one commit of the target with the batch's number."""


def run_batches(spark: SparkSession, pipeline: Pipeline, settings: Settings, run_id: str) -> int:
    """Do every pending batch; returns how many.

    Raises:
        SluiceError: what stopped a batch; the batches before it are in.
    """
    plan = PlanTable(settings, pipeline.name)
    first = _committed(pipeline, settings) + 1
    pending = plan.ranges(first, plan.last_batch)
    cached = CachedJoins(spark, settings)
    try:
        _run_all(pending, sink_of(spark, pipeline, settings, run_id, cached), pipeline, settings, run_id, cached)
    finally:
        cached.close()
    return len(pending)


def _run_all(
    pending: Sequence[PlannedRange],
    sink: Sink,
    pipeline: Pipeline,
    settings: Settings,
    run_id: str,
    cached: CachedJoins,
) -> None:
    for planned in pending:
        started = time.monotonic()
        sink.write(planned)
        if _committed(pipeline, settings) != planned.batch:
            raise Defect(f"Batch {planned.batch} was written, and the table does not hold it.", remedy="Run again.")
        write_missing(settings, pipeline)
        write_figures(settings, pipeline.name, run_id, cached.figures())
        log.info(
            "batch %d: versions %d to %d of %s (%s), %.1f s",
            planned.batch,
            planned.versions.first,
            planned.versions.last,
            pipeline.transformation().source,
            planned.versions.kind,
            time.monotonic() - started,
        )


def sink_of(spark: SparkSession, pipeline: Pipeline, settings: Settings, run_id: str, cached: CachedJoins) -> Sink:
    """The sink that the pipeline's last step asks for."""
    transform = pipeline.transformation()
    steps = RowSteps(spark, settings, transform.row_steps, cached)
    target = Target(spark, pipeline, settings, run_id)
    source = Source(spark, pipeline, settings)
    return AppendSink(source, steps, target)


def _committed(pipeline: Pipeline, settings: Settings) -> int:
    return committed_batch(settings, pipeline.transformation().table, app_id(pipeline.name))
