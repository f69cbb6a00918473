"""Entry of the ingest job: load every pending batch of a pipeline. Started by a guarded spark-submit (include/submit).

Half of a small run is start-up, so what need not wait for the JVM does not: the engine's modules (Arrow, delta-rs), the
pipeline file and the probe's worker processes are got ready while the JVM makes the Spark session.
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from include.config.pipeline import Pipeline
from include.config.settings import Settings
from include.probe.workers import ProbePool
from spark_jobs.engine.entry import pipeline_job
from spark_jobs.engine.session import build_session

if TYPE_CHECKING:
    from include.probe.ahead import Ahead


def main(arguments: list[str] | None = None) -> int:
    """Run the job and return its exit code (include.config.exit_codes)."""
    return pipeline_job(__doc__, arguments, load)


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


if __name__ == "__main__":
    sys.exit(main())
