"""Entry of the cache job: make the snapshot of a dimension's newest version. Started by a guarded spark-submit.

Under spark-submit for its lock, its end with the task that started it and the pipeline's one way of running things;
delta-rs reads the table, so no Spark session is made.
"""

import sys

from include.cache.cache import MemoryPressure
from include.cache.refresh import refresh
from include.config.errors import StorageError
from include.config.pipeline import Pipeline
from include.config.settings import Settings
from spark_jobs.engine.entry import pipeline_job


def main(arguments: list[str] | None = None) -> int:
    """Run the job and return its exit code (include.config.exit_codes)."""
    return pipeline_job(__doc__, arguments, _refresh)


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
