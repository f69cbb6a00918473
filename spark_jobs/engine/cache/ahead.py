"""What a cached join needs of a new driver, begun before the first batch asks for it.

A driver that has never run Python code takes a second and a half to its first cached batch: its own imports, the daemon
that workers are forked from, the workers, the classes of Arrow. The imports fit beside the start of the JVM, the rest
beside the planning of the batch. Nothing depends on it: what is not ready in time is waited for where it is needed.
"""

import logging
import threading
from collections.abc import Iterator

import pyarrow as pa
from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

log = logging.getLogger(__name__)


def import_for_joins() -> None:
    """What the driver imports for `mapInArrow` and for opening a snapshot: a third of a second."""
    import pandas  # noqa: F401, PLC0415  PySpark looks at its version
    import pyspark.sql.pandas.functions  # noqa: F401, PLC0415

    import spark_jobs.engine.cache.joins  # noqa: F401, PLC0415


def start_workers(spark: SparkSession) -> threading.Thread:
    """Start the session's Python workers, one for each task that runs at a time, in a thread; returns it."""
    started = threading.Thread(target=_start, args=(spark,), name="sluice-start-workers", daemon=True)
    started.start()
    return started


def _start(spark: SparkSession) -> None:
    try:
        tasks = spark.sparkContext.defaultParallelism
        spark.range(0, tasks, 1, tasks).mapInArrow(_as_they_are, "id long").write.format("noop").mode(
            "overwrite"
        ).save()
    except (PySparkException, Py4JError) as error:  # whoever needs a worker meets it again, and says so
        log.info("Python workers were not started ahead: %s", error)


def _as_they_are(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield from batches
