"""Replaying a Delta log ahead of the commit that needs it, in a thread beside the driver's other work.

A commit with a transaction id first replays the table's whole log in a Spark job (Delta 4.4 keeps the ids in no other
place): half a second a batch, in which the driver only waits. The replay of a version is kept by Delta itself, so one
that was begun in time costs the commit nothing. What is warmed decides nothing: where it fails, the commit replays.
"""

import logging
import threading

from py4j.protocol import Py4JError
from pyspark.sql import SparkSession

log = logging.getLogger(__name__)


class LogWarmer:
    """Replays the logs of Delta tables in the background, one after the other."""

    def __init__(self, spark: SparkSession) -> None:
        self._spark = spark
        self._thread: threading.Thread | None = None

    def begin(self, uri: str) -> None:
        """Begin to replay the newest known version of the table at `uri`; nothing happens while another replay runs."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._replay, args=(uri,), name="sluice-warm-log", daemon=True)
            self._thread.start()

    def wait(self) -> None:
        """Until the replay that was begun is over: a session must not be stopped under it."""
        if self._thread is not None:
            self._thread.join()

    def _replay(self, uri: str) -> None:
        try:
            delta_log = self._spark._jvm.org.apache.spark.sql.delta.DeltaLog  # type: ignore[union-attr]
            delta_log.forTable(self._spark._jsparkSession, uri).unsafeVolatileSnapshot().transactions()
        except Py4JError as error:
            log.debug("the log of %s was not replayed ahead: %s", uri, error)
