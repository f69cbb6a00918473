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
from typing import Protocol

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from include.cache.figures import write_figures
from include.config.errors import Defect, SluiceError
from include.config.exit_codes import ExitCode
from include.config.pipeline import Pipeline
from include.config.settings import Settings
from include.ledger.target import app_id, committed_batch
from include.transform.outcomes import write_missing
from include.transform.plan_table import PlanTable
from include.transform.ranges import PlannedRange
from include.transform.repin import note_refused
from spark_jobs.engine.cache.joins import CachedJoins
from spark_jobs.engine.transform.append import AppendSink
from spark_jobs.engine.transform.changes import ChangesSink
from spark_jobs.engine.transform.commit import Target
from spark_jobs.engine.transform.first import FirstSink
from spark_jobs.engine.transform.problems import file_is_gone, vacuumed
from spark_jobs.engine.transform.processors import state_of
from spark_jobs.engine.transform.sources import source_of
from spark_jobs.engine.transform.stateful import StatefulSink
from spark_jobs.engine.transform.steps import RowSteps
from spark_jobs.engine.transform.stream_join import StreamJoinSink
from spark_jobs.engine.transform.window import WindowSink

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
    steps = RowSteps(spark, settings, pipeline.name, pipeline.transformation().row_steps, cached)
    try:
        sink = sink_of(spark, pipeline, settings, run_id, steps)
        for planned in pending:
            _run(sink, planned, pipeline, settings, steps)
            write_figures(settings, pipeline.name, run_id, cached.figures())
    finally:
        cached.close()
    return len(pending)


def _run(sink: Sink, planned: PlannedRange, pipeline: Pipeline, settings: Settings, steps: RowSteps) -> None:
    started = time.monotonic()
    try:
        sink.write(_as_wanted(pipeline, planned))
    except (PySparkException, Py4JJavaError) as error:
        if not file_is_gone(error):
            raise
        raise vacuumed(planned, pipeline.transformation().source_name, error) from error
    except SluiceError as error:
        if error.exit_code in (ExitCode.DATA_REFUSED, ExitCode.CONFIG):
            note_refused(pipeline, settings, planned)
        raise
    finally:
        steps.release()
    if _committed(pipeline, settings) != planned.batch:
        raise Defect(f"Batch {planned.batch} was written, and the table does not hold it.", remedy="Run again.")
    write_missing(settings, pipeline)
    log.info(
        "batch %d: %s (%s), %.1f s",
        planned.batch,
        planned.words(pipeline.transformation().source_name),
        planned.versions.kind,
        time.monotonic() - started,
    )


def sink_of(spark: SparkSession, pipeline: Pipeline, settings: Settings, run_id: str, steps: RowSteps) -> Sink:
    """The sink that the pipeline's last step asks for."""
    transform = pipeline.transformation()
    target = Target(spark, pipeline, settings, run_id)
    source = source_of(spark, transform, settings)
    last = transform.last
    if last is None:
        return AppendSink(source, steps, target)
    if last.deduplicate is not None:
        return FirstSink(source, steps, target, last.deduplicate)
    if last.apply_changes is not None:
        return ChangesSink(source, steps, target, last.apply_changes)
    if last.stream_join is not None:
        return StreamJoinSink(source, steps, target, last.stream_join, settings)
    if last.window is not None and not last.window.stateful:
        return WindowSink(source, steps, target, last.window)
    return StatefulSink(source, steps, target, state_of(last))


def _as_wanted(pipeline: Pipeline, planned: PlannedRange) -> PlannedRange:
    """The range, with changes passed over where the pipeline says so since it was planned."""
    options = pipeline.transformation().options
    left_out = options.skip_change_commits or (options.ignore_deletes and planned.versions.size == 0)
    if planned.versions.kind == "changes" and left_out:
        return planned.passed_over()
    return planned


def _committed(pipeline: Pipeline, settings: Settings) -> int:
    return committed_batch(settings, pipeline.transformation().table, app_id(pipeline.name))
