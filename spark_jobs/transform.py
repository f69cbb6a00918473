"""Entry of the transform job: do every pending micro-batch of a pipeline. Started by a guarded spark-submit."""

import sys
from concurrent.futures import ThreadPoolExecutor

from include.config.pipeline import Pipeline
from include.config.settings import Settings
from spark_jobs.engine.entry import pipeline_job
from spark_jobs.engine.session import build_session


def main(arguments: list[str] | None = None) -> int:
    """Run the job and return its exit code (include.config.exit_codes)."""
    return pipeline_job(__doc__, arguments, transform)


def transform(pipeline: Pipeline, settings: Settings, run_id: str) -> None:
    """Do every pending batch.

    Raises:
        SluiceError: what stopped it.
    """
    with ThreadPoolExecutor(1) as background:
        imported = background.submit(_import_engine, pipeline)  # half a second that need not wait for the JVM
        spark = build_session(f"sluice {pipeline.name}")
        imported.result()
    from spark_jobs.engine.transform.runner import run_batches  # noqa: PLC0415  imported beside the JVM's start, above

    run_batches(spark, pipeline, settings, run_id)
    spark.stop()


def _import_engine(pipeline: Pipeline) -> None:
    import spark_jobs.engine.transform.runner  # noqa: F401, PLC0415

    if pipeline.transformation().joins_cached:
        import pandas  # noqa: F401, PLC0415  PySpark looks at its version before it maps Arrow batches


if __name__ == "__main__":
    sys.exit(main())
