"""Entry of the transform job: do every pending micro-batch of a pipeline. Started by a guarded spark-submit."""

import argparse
import logging
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor

from include.config.errors import SluiceError
from include.config.exit_codes import ExitCode
from include.config.pipeline import Pipeline
from include.config.reader import load_pipeline
from include.config.settings import Settings, load_settings
from include.submit.failures import failure_of, write_failure
from spark_jobs.engine.session import build_session


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
        transform(pipeline, settings, args.run_id)
    except BaseException as error:  # noqa: BLE001  whatever it is, it is reported before the process ends
        return _failed(settings, pipeline, args.run_id, error)
    return ExitCode.OK


def transform(pipeline: Pipeline, settings: Settings, run_id: str) -> None:
    """Do every pending batch.

    Raises:
        SluiceError: what stopped it.
    """
    with ThreadPoolExecutor(1) as background:
        imported = background.submit(_import_engine)  # half a second that need not wait for the JVM
        spark = build_session(f"sluice {pipeline.name}")
        imported.result()
    from spark_jobs.engine.transform.runner import run_batches  # noqa: PLC0415  imported beside the JVM's start, above

    run_batches(spark, pipeline, settings, run_id)
    spark.stop()


def _import_engine() -> None:
    import spark_jobs.engine.transform.runner  # noqa: F401, PLC0415


def _failed(settings: Settings, pipeline: Pipeline, run_id: str, error: BaseException) -> int:
    failure = failure_of(error)
    write_failure(settings, pipeline.name, run_id, failure)
    if not isinstance(error, SluiceError):
        traceback.print_exception(error)
    sys.stderr.write(f"{failure}\n")
    return failure.exit_code


if __name__ == "__main__":
    sys.exit(main())
