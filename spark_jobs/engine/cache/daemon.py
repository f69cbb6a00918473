"""The process that Spark's Python workers are forked from, with what they need imported already.

Spark's own daemon imports nothing before it forks, since most libraries begin threads, and a fork in the middle of one
leaves locks that nobody opens. Here each library is kept from that, and it is looked whether they were: if there is a
thread all the same, Spark's daemon takes this process over. Named by `spark.python.daemon.module`.
"""

import gc
import os
import sys
from pathlib import Path

from spark_jobs.engine.worker_daemon import leave_zips

# Arrow's jemalloc, which is not the allocator in use, begins a thread for its housekeeping; OpenBLAS one for each core.
QUIET = {"JE_ARROW_MALLOC_CONF": "background_thread:false", "OPENBLAS_NUM_THREADS": "1"}
SPARKS_OWN = "pyspark.daemon"


def main() -> None:
    """Import, then fork whenever the JVM asks for a worker."""
    os.environ.update(QUIET)
    leave_zips()
    import pyspark.worker  # noqa: F401, PLC0415  after the environment was set

    import spark_jobs.engine.cache.worker  # noqa: F401, PLC0415

    if len(list(Path("/proc/self/task").iterdir())) > 1:
        os.execv(sys.executable, [sys.executable, "-m", SPARKS_OWN, *sys.argv[1:]])
    gc.freeze()  # else each worker's first collection copies all pages that it shares with this process
    from pyspark.daemon import manager  # noqa: PLC0415

    manager()


if __name__ == "__main__":
    main()
