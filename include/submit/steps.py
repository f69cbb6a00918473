"""The three steps of a run: discover, submit, publish. `sluice run` and the DAG's tasks call the same functions."""

import os
import subprocess
import sys
from datetime import UTC, datetime

from include.config.errors import SluiceError
from include.config.exit_codes import ExitCode, from_process
from include.config.pipeline import Pipeline
from include.config.result import FileCounts, RowCounts, RunResult, RunStatus
from include.config.settings import Settings
from include.ledger.discover import Discovery, discover
from include.ledger.outcomes import run_figures
from include.ledger.target import table_version
from include.submit.command import guarded_command
from include.submit.failures import Failure, clear_failure, failure_of, read_failure
from include.submit.job import SparkJob
from include.submit.restart import until_done
from include.submit.secrets import secrets_file

TERM_SECONDS = 10.0


def new_run_id() -> str:
    """The id of a run that no scheduler named: cli__<now, UTC, ISO 8601 with microseconds>."""
    return f"cli__{datetime.now(UTC).isoformat()}"


def discover_step(pipeline: Pipeline, settings: Settings, run_id: str) -> Discovery:
    """Plan the new file versions; what became of files since the last run is put in order.

    Raises:
        SluiceError: the source is not there, its files are refused, or storage failed.
    """
    return discover(pipeline, settings, run_id)


def submit_step(job: SparkJob, settings: Settings) -> ExitCode:
    """Run the job to its end and say how it ended. What it prints goes to stderr.

    A caller that is interrupted (Ctrl-C, SIGTERM turned into an exception) takes the job with it.

    Raises:
        ConfigError, StorageError: the job cannot be started on this machine.
        RestartLoop: the job asked to be started again too often.
    """
    clear_failure(settings, job.pipeline, job.run_id)
    return from_process(until_done(lambda: _run_once(job)))


def _run_once(job: SparkJob) -> int:
    with secrets_file(job.secrets) as descriptor:
        process = subprocess.Popen(
            guarded_command(job, descriptor),
            env={**os.environ, **job.environment},
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr.fileno(),
            pass_fds=() if descriptor is None else (descriptor,),
        )
        try:
            return process.wait()
        finally:
            end_process(process)


def end_process(process: subprocess.Popen[bytes] | subprocess.Popen[str], patience: float = TERM_SECONDS) -> None:
    """End a job that still runs: asked first, killed after `patience` seconds; nothing if it has ended."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def publish_step(
    pipeline: Pipeline, settings: Settings, discovery: Discovery, exit_code: ExitCode, seconds: float
) -> RunResult:
    """What the run did, counted from what it committed; `seconds` is the wall time so far.

    Raises:
        SluiceError: the outcomes cannot be read.
    """
    figures = run_figures(settings, pipeline.name, discovery.run_id)
    failure = None if exit_code is ExitCode.OK else failure_report(pipeline, settings, discovery.run_id, exit_code)
    return RunResult(
        pipeline=pipeline.name,
        run_id=discovery.run_id,
        status=status_of(exit_code, worked=figures.batches > 0),
        files=FileCounts(
            discovered=discovery.discovered,
            loaded=figures.loaded_files,
            quarantined=figures.quarantined_files,
            skipped=discovery.skipped,
            waiting=discovery.waiting,
        ),
        rows=RowCounts(
            loaded=figures.rows_loaded,
            rescued=figures.rows_rescued,
            quarantined=figures.rows_quarantined,
            late=figures.rows_late,
        ),
        batches=figures.batches,
        table_version=table_version(settings, pipeline.ingestion().table),
        schema_version=figures.schema_version,
        seconds=round(seconds, 3),
        error=None if failure is None else str(failure),
        exit_code=int(exit_code),
    )


def failure_report(pipeline: Pipeline, settings: Settings, run_id: str, exit_code: ExitCode) -> Failure:
    """Why the job of a run failed: what the job itself left, else what its exit code says."""
    if exit_code is ExitCode.LOCKED:
        table = pipeline.ingestion().table
        return Failure(
            "TableLocked",
            f"Another run is writing {table}.",
            f"Wait for it to end and run again. `fuser {settings.lock_file(table)}` names its process.",
            int(exit_code),
        )
    if (reported := read_failure(settings, pipeline.name, run_id)) is not None:
        return reported
    return Failure(
        "JobEnded",
        f"The Spark job of {pipeline.name} ended with {exit_code.name} ({int(exit_code)}) and left no report.",
        "See its log. A job that was killed (out of memory, a restarted machine) is run again without loss or doubles.",
        int(exit_code),
    )


def failed_result(pipeline: Pipeline, run_id: str, error: SluiceError, seconds: float) -> RunResult:
    """The result of a run that could not be counted: an error before the job, or while reading its outcomes."""
    return RunResult(
        pipeline=pipeline.name,
        run_id=run_id,
        status=status_of(error.exit_code, worked=False),
        seconds=round(seconds, 3),
        error=str(failure_of(error)),
        exit_code=int(error.exit_code),
    )


def status_of(exit_code: ExitCode, *, worked: bool) -> RunStatus:
    """The one word for a run: `worked` says that it finished at least one planned micro-batch."""
    if exit_code is ExitCode.OK:
        return "loaded" if worked else "nothing_new"
    return "rejected" if exit_code is ExitCode.DATA_REFUSED else "failed"


def exit_code_of(result: RunResult) -> ExitCode:
    """The exit code of the command that made this result."""
    return ExitCode(result.exit_code)
