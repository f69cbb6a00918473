"""The process that Spark's Python workers are forked from: Spark's own, with the installed pyspark.

Named by `spark.python.daemon.module`; a job with cached joins has spark_jobs/engine/cache/daemon.py instead.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path


def leave_zips() -> None:
    """Import from now on, here and in what is started from here, what is compiled."""
    sys.path[:] = without_zips(sys.path)
    os.environ["PYTHONPATH"] = os.pathsep.join(without_zips(os.environ.get("PYTHONPATH", "").split(os.pathsep)))


def without_zips(path: Sequence[str]) -> list[str]:
    """A path for modules without Spark's zips, where the package that they are of is installed beside it.

    Spark puts them first. Python compiles what is in a zip anew in each process: pyspark takes more than a second.
    """
    zips = {Path(part, "pyspark", "python", "lib") for part in sys.path}
    return [part for part in path if not (part.endswith(".zip") and Path(part).parent in zips)]


def main() -> None:
    """Fork whenever the JVM asks for a worker."""
    leave_zips()
    from pyspark.daemon import manager  # noqa: PLC0415  after the path was set

    manager()


if __name__ == "__main__":
    main()
