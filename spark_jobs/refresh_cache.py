"""Entry of the cache job: make the snapshot of a dimension's newest version. Started by a guarded spark-submit.

Under spark-submit for its lock, its end with the task that started it and the pipeline's one way of running things;
delta-rs reads the table, so no Spark session is made.
"""

import argparse
import logging
import sys
import traceback

from include.cache.cache import MemoryPressure
from include.cache.refresh import refresh
from include.config.errors import SluiceError, StorageError
from include.config.exit_codes import ExitCode
from include.config.pipeline import Pipeline
from include.config.reader import load_pipeline
from include.config.settings import Settings, load_settings
from include.submit.failures import failure_of, write_failure


def main(arguments: list[str] | None = None) -> int:
    """Run the job and return its exit code (include.config.exit_codes)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pipeline", required=True, help="name or path of a pipeline file")
    parser.add_argument("--run-id", required=True)
    args = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    settings = load_settings()
    pipeline = load_pipeline(args.pipeline)
    try:
        _refresh(pipeline, settings, args.run_id)
    except BaseException as error:  # noqa: BLE001  whatever it is, it is reported before the process ends
        failure = failure_of(error)
        write_failure(settings, pipeline.name, args.run_id, failure)
        if not isinstance(error, SluiceError):
            traceback.print_exception(error)
        sys.stderr.write(f"{failure}\n")
        return failure.exit_code
    return ExitCode.OK


def _refresh(pipeline: Pipeline, settings: Settings, run_id: str) -> None:
    try:
        refresh(pipeline, settings, run_id)
    except MemoryPressure as pressure:
        raise StorageError(
            f"The snapshot was not made: {pressure}.",
            remedy="Joins go on, uncached. Free memory on this host; the next run tries again.",
        ) from pressure


if __name__ == "__main__":
    sys.exit(main())
