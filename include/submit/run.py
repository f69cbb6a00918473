"""A whole run without Airflow: `sluice run`. It calls what the tasks of the DAG call, in their order."""

import time

from include.config.errors import SluiceError
from include.config.exit_codes import ExitCode
from include.config.pipeline import Pipeline
from include.config.result import RunResult
from include.config.settings import Settings
from include.submit.failures import failure_of, failure_report
from include.submit.job import plan_job
from include.submit.steps import (
    discover_step,
    exit_code_of,
    new_run_id,
    publish_step,
    result_of_failure,
    submit_step,
)

__all__ = ["exit_code_of", "run"]


def run(pipeline: Pipeline, settings: Settings, run_id: str | None = None) -> RunResult:
    """Load what is new and say what was done. Without anything new there is no JVM.

    A known error becomes a result whose status is `rejected` or `failed`, with its message, remedy and exit code; an
    exception that is not a SluiceError is a defect and is raised. `seconds` is the wall time of the call.
    """
    started = time.monotonic()
    run_id = run_id or new_run_id()
    try:
        discovery = discover_step(pipeline, settings, run_id)
        failure = None
        if discovery.has_work:
            code = submit_step(plan_job(pipeline, settings, run_id, discovery.pending_bytes), settings)
            if code is not ExitCode.OK:
                failure = failure_report(pipeline, settings, run_id, code)
        return publish_step(pipeline, settings, discovery, failure, time.monotonic() - started)
    except SluiceError as error:
        return result_of_failure(pipeline, run_id, failure_of(error), time.monotonic() - started)
