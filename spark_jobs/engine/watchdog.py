"""Ends a job whose Spark tasks make no progress: a task thread that hangs in a reader cannot be interrupted, only its
JVM can.
"""

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType

from pyspark.sql import SparkSession

from include.submit.restart import RESTART

log = logging.getLogger(__name__)

HANG_CONF = "spark.sluice.hangTimeout"
DEFAULT_SECONDS = 300.0  # a task reads at most 128 MB; the slowest reader seen here does 2 MB/s
POLL_SECONDS = 1.0


def restart_if_dead(spark: SparkSession, note: Callable[[], None]) -> None:
    """End the job, to be started again, where its Spark session is: a file has taken it along (out of memory).

    Nothing that fails in a dead session says anything about the file that is read then.
    """
    context = spark._jsc.sc()
    if not context.isStopped():
        return
    log.error("Spark has stopped: starting again, to find the file that stops it")
    note()
    spark._jvm.java.lang.Runtime.getRuntime().halt(RESTART)  # type: ignore[union-attr]


class Watchdog:
    """While it is entered: if no Spark task ends for the hang timeout although a stage is active, the JVM is halted.

    `note` is called with the seconds before that and writes down what the next attempt must know; the exit code is
    RESTART.
    """

    def __init__(self, spark: SparkSession, note: Callable[[float], None]) -> None:
        self._note = note
        self._jvm = spark._jvm
        self._tracker = spark.sparkContext.statusTracker()
        self._seconds = float(spark.conf.get(HANG_CONF, str(DEFAULT_SECONDS)) or DEFAULT_SECONDS)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="sluice-watchdog", daemon=True)

    def __enter__(self) -> "Watchdog":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        last, since = self._progress(), time.monotonic()
        while not self._done.wait(POLL_SECONDS):
            now = self._progress()
            if now != last or not now:
                last, since = now, time.monotonic()
            elif time.monotonic() - since > self._seconds:
                log.error(
                    "no Spark task has ended for %.0f s: starting again, to find the file that hangs", self._seconds
                )
                self._note(self._seconds)
                self._jvm.java.lang.Runtime.getRuntime().halt(RESTART)  # type: ignore[union-attr]

    def _progress(self) -> tuple[tuple[int, int], ...]:
        """(stage, tasks ended) of each active stage; empty while Spark has nothing to do."""
        infos = (self._tracker.getStageInfo(stage) for stage in sorted(self._tracker.getActiveStageIds()))
        return tuple((info.stageId, info.numCompletedTasks) for info in infos if info is not None)
