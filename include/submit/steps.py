"""The three steps of a run: discover, submit, publish. `sluice run` and the DAG's tasks call the same functions."""

from datetime import UTC, datetime

from include.config.exit_codes import ExitCode, from_process
from include.config.paths import check_paths
from include.config.pipeline import Pipeline
from include.config.result import RunResult, RunStatus
from include.config.settings import Settings
from include.submit.failures import Failure, clear_failure
from include.submit.job import SparkJob
from include.submit.process import run_process
from include.submit.restart import until_done
from include.submit.sections import Plan, steps_of


def new_run_id() -> str:
    """The id of a run that no scheduler named: cli__<now, UTC, ISO 8601 with microseconds>."""
    return f"cli__{datetime.now(UTC).isoformat()}"


def discover_step(pipeline: Pipeline, settings: Settings, run_id: str) -> Plan:
    """Plan what is new; what became of earlier plans is put in order.

    Raises:
        ConfigError: source, table and state lie in each other.
        SluiceError: a source is not there or is refused, or storage failed.
    """
    check_paths(pipeline, settings)
    return steps_of(pipeline).plan(pipeline, settings, run_id)


def submit_step(job: SparkJob, settings: Settings) -> ExitCode:
    """Run the job to its end and say how it ended. What it prints goes to stderr.

    A caller that is interrupted (Ctrl-C, SIGTERM turned into an exception) takes the job with it.

    Raises:
        ConfigError, StorageError: the job cannot be started on this machine.
        RestartLoop: the job asked to be started again too often.
    """
    clear_failure(settings, job.pipeline, job.run_id)
    return from_process(until_done(lambda: run_process(job)))


def publish_step(
    pipeline: Pipeline, settings: Settings, plan: Plan, failure: Failure | None, seconds: float
) -> RunResult:
    """What the run did, counted from what it committed; `failure` is why it ended early, `seconds` its wall time.

    Raises:
        SluiceError: the outcomes cannot be read.
    """
    figures = steps_of(pipeline).figures(pipeline, settings, plan)
    exit_code = ExitCode.OK if failure is None else ExitCode(failure.exit_code)
    return RunResult(
        pipeline=pipeline.name,
        run_id=plan.run_id,
        status=status_of(exit_code, worked=figures.batches > 0),
        files=figures.files,
        rows=figures.rows,
        batches=figures.batches,
        table_version=figures.table_version,
        schema_version=figures.schema_version,
        seconds=round(seconds, 3),
        error=None if failure is None else str(failure),
        exit_code=int(exit_code),
        cache=figures.cache,
    )


def result_of_failure(pipeline: Pipeline, run_id: str, failure: Failure, seconds: float) -> RunResult:
    """The result of a run that could not be counted: it failed before the job, or while its outcomes were read."""
    exit_code = ExitCode(failure.exit_code)
    return RunResult(
        pipeline=pipeline.name,
        run_id=run_id,
        status=status_of(exit_code, worked=False),
        seconds=round(seconds, 3),
        error=str(failure),
        exit_code=int(exit_code),
    )


def status_of(exit_code: ExitCode, *, worked: bool) -> RunStatus:
    """The one word for a run: `worked` says that it finished at least one planned micro-batch."""
    if exit_code is ExitCode.OK:
        return "loaded" if worked else "nothing_new"
    return "rejected" if exit_code is ExitCode.DATA_REFUSED else "failed"


def exit_code_of(result: RunResult) -> ExitCode:
    """The exit code of the command that made this result."""
    return ExitCode(result.exit_code)
