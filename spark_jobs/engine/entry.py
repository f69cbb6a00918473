"""What every job's entry shares: its logging, and that no failure ends it unreported. Imports no Spark."""

import argparse
import logging
import sys
import traceback
from collections.abc import Callable, Sequence

from include.config.errors import SluiceError
from include.config.exit_codes import ExitCode
from include.config.pipeline import Pipeline
from include.config.reader import load_pipeline
from include.config.settings import Settings, load_settings
from include.submit.failures import failure_of, write_failure


def pipeline_job(
    description: str | None, arguments: Sequence[str] | None, work: Callable[[Pipeline, Settings, str], None]
) -> int:
    """Do `work(pipeline, settings, run_id)` as the command line names it, and return the job's exit code."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--pipeline", required=True, help="name or path of a pipeline file")
    parser.add_argument("--run-id", required=True)
    args = parser.parse_args(arguments)
    start_logging()
    settings = load_settings()
    pipeline = load_pipeline(args.pipeline)
    return reported(settings, pipeline.name, args.run_id, lambda: work(pipeline, settings, args.run_id))


def start_logging() -> None:
    """Log to stderr, without py4j's own record of each exception in a callback: that is raised here, too."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("py4j").setLevel(logging.CRITICAL)


def reported(settings: Settings, name: str, run_id: str, work: Callable[[], None]) -> int:
    """Do `work` and return the exit code (include.config.exit_codes); a failure is kept for who started the job."""
    try:
        work()
    except BaseException as error:  # noqa: BLE001  whatever it is, it is reported before the process ends
        failure = failure_of(error)
        write_failure(settings, name, run_id, failure)
        if not isinstance(error, SluiceError):
            traceback.print_exception(error)
        sys.stderr.write(f"{failure}\n")
        return failure.exit_code
    return ExitCode.OK
