"""Entry of the ingest job: load every pending batch of a pipeline. Started by a guarded spark-submit
(include/submit).
"""

import argparse
import logging
import sys
import traceback

from include.config.errors import ConfigError, SluiceError
from include.config.exit_codes import ExitCode
from include.config.pipeline import Pipeline
from include.config.reader import load_pipeline
from include.config.settings import Settings, load_settings
from include.submit.failures import failure_of, write_failure
from spark_jobs.engine.batch import BatchLoader
from spark_jobs.engine.session import build_session
from spark_jobs.engine.stream import LedgerStream
from spark_jobs.engine.workers import ProbePool

log = logging.getLogger("sluice.ingest")


def main(arguments: list[str] | None = None) -> int:
    """Run the job and return its exit code (include.config.exit_codes)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pipeline", required=True, help="name or path of a pipeline file")
    parser.add_argument("--run-id", required=True)
    args = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("py4j").setLevel(logging.WARNING)
    settings = load_settings()
    pipeline = load_pipeline(args.pipeline)
    try:
        load(pipeline, settings, args.run_id)
    except BaseException as error:  # noqa: BLE001  whatever it is, it is reported before the process ends
        return _failed(settings, pipeline, args.run_id, error)
    return ExitCode.OK


def load(pipeline: Pipeline, settings: Settings, run_id: str) -> None:
    """Load every pending batch.

    Raises:
        SluiceError: what stopped it.
    """
    if pipeline.ingest is None:
        raise ConfigError(f"Pipeline {pipeline.name} has no `ingest` section.", remedy="Add one.")
    pool = ProbePool()  # its processes start while the session does
    try:
        spark = build_session(f"sluice {pipeline.name}")
        loader = BatchLoader(spark, pipeline, pipeline.ingest, settings, run_id, pool)
        LedgerStream(spark, pipeline, pipeline.ingest, settings).run(loader)
        spark.stop()
    finally:
        pool.close()


def _failed(settings: Settings, pipeline: Pipeline, run_id: str, error: BaseException) -> int:
    failure = failure_of(error)
    write_failure(settings, pipeline.name, run_id, failure)
    if not isinstance(error, SluiceError):
        traceback.print_exception(error)
    sys.stderr.write(f"{failure}\n")
    return failure.exit_code


if __name__ == "__main__":
    sys.exit(main())
