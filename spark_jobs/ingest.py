"""Entry of the ingest job: load every pending batch of a pipeline. Started by a guarded spark-submit (include/submit).

Half of a small run is start-up, so what need not wait for the JVM does not: the engine's modules (Arrow, delta-rs), the
pipeline file and the probe's worker processes are got ready while the JVM makes the Spark session.
"""

import argparse
import logging
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from include.config.errors import SluiceError
from include.config.exit_codes import ExitCode
from include.config.pipeline import Pipeline
from include.config.reader import load_pipeline
from include.config.settings import Settings, load_settings
from include.probe.workers import ProbePool
from include.submit.failures import failure_of, write_failure
from spark_jobs.engine.session import build_session

if TYPE_CHECKING:
    from include.probe.ahead import Ahead


def main(arguments: list[str] | None = None) -> int:
    """Run the job and return its exit code (include.config.exit_codes)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pipeline", required=True, help="name or path of a pipeline file")
    parser.add_argument("--run-id", required=True)
    args = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("py4j").setLevel(
        logging.CRITICAL
    )  # it logs each exception of foreachBatch, which is raised below
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
    ingest = pipeline.ingestion()
    pool = ProbePool()
    try:
        with ThreadPoolExecutor(1) as background:
            prepared = background.submit(_prepare, pool, settings, pipeline)
            spark = build_session(f"sluice {pipeline.name}")
            # A load has no shuffle that could be adapted; planning as if it had costs 0.1 s a batch.
            spark.conf.set("spark.sql.adaptive.enabled", "false")
            ahead = prepared.result()
        from spark_jobs.engine.batch import BatchLoader  # noqa: PLC0415  imported beside the JVM's start, above
        from spark_jobs.engine.stream import LedgerStream  # noqa: PLC0415

        loader = BatchLoader(spark, pipeline, ingest, settings, run_id, pool, ahead)
        LedgerStream(spark, pipeline, ingest, settings).run(loader)
        spark.stop()
    finally:
        pool.close()


def _prepare(pool: ProbePool, settings: Settings, pipeline: Pipeline) -> "Ahead":
    """Import the engine and begin to look at the first batch's files."""
    import spark_jobs.engine.stream  # noqa: F401, PLC0415
    from include.probe.ahead import Ahead  # noqa: PLC0415

    return Ahead(pool, settings, pipeline).begin()


def _failed(settings: Settings, pipeline: Pipeline, run_id: str, error: BaseException) -> int:
    failure = failure_of(error)
    write_failure(settings, pipeline.name, run_id, failure)
    if not isinstance(error, SluiceError):
        traceback.print_exception(error)
    sys.stderr.write(f"{failure}\n")
    return failure.exit_code


if __name__ == "__main__":
    sys.exit(main())
