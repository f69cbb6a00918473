"""The availableNow stream over the ledger that drives a load: each planned micro-batch once, in order.

The stream only says which batches there are. What is done is what the target's transaction version says, so a
checkpoint that is lost, damaged or copied back from yesterday costs a second, not a row:

- lost: a new stream starts at the ledger's commit that planned the first pending batch;
- behind (copied back, or killed before Spark's own commit): done batches come again and are passed over by their
  number;
- ahead, or damaged: it is moved aside, and a new stream starts.
"""

import logging
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from pyspark.errors import StreamingQueryException
from pyspark.sql import DataFrame, SparkSession

from include.config.errors import Defect
from include.config.pipeline import Ingest, Pipeline
from include.config.settings import Settings, is_remote, spark_uri
from include.ledger.ledger import Ledger, ledger_version_of, read_batches
from include.ledger.target import app_id, committed_batch
from spark_jobs.engine.batch import BatchLoader
from spark_jobs.engine.warmup import LogWarmer

log = logging.getLogger(__name__)

# Planned batches (data files of the ledger) that the stream hands over at once. Each is a commit of its own, and what
# is done the target says; each hand-over costs 0.3 s of Spark's bookkeeping.
BATCHES_A_TRIGGER = 100


class LedgerStream:
    """Loads every pending batch of a pipeline through a stream over its ledger."""

    def __init__(self, spark: SparkSession, pipeline: Pipeline, ingest: Ingest, settings: Settings) -> None:
        self._spark = spark
        self._pipeline = pipeline
        self._ingest = ingest
        self._settings = settings
        self._checkpoint = settings.state_root(pipeline.name, "checkpoint")
        self._error: BaseException | None = None
        self._last = 0

    def run(self, loader: BatchLoader) -> None:
        """Load until the target holds the ledger's last batch.

        Raises:
            SluiceError: what stopped a batch.
            Defect: two streams in a row ended without bringing the target up to the ledger.
        """
        self._last = Ledger(self._settings, self._pipeline.name).last_batch
        for attempt in (1, 2):
            if self._committed() >= self._last:
                return
            if attempt > 1:
                self._discard("it says that batches are done which the target does not hold")
            self._stream(loader)
        if self._committed() < self._last:
            raise Defect(f"The stream ended at batch {self._committed()} of {self._last}.", remedy="Run again.")

    def _committed(self) -> int:
        return committed_batch(self._settings, self._ingest.table, app_id(self._pipeline.name))

    def _stream(self, loader: BatchLoader) -> None:
        """One availableNow stream to its end."""

        def load(frame: DataFrame, _epoch: int) -> None:
            self._load_up_to(frame, loader)

        self._warm(loader.warmer)
        try:
            query = (
                self._source()
                .writeStream.foreachBatch(self._keeping_errors(load))
                .trigger(availableNow=True)
                .option("checkpointLocation", spark_uri(self._checkpoint))
                .start()
            )
            query.awaitTermination()
        except StreamingQueryException as error:
            if self._error is not None:
                raise self._error from None
            # Not our code but Spark's: it could not go on from this checkpoint (a zero-length file after a power cut).
            log.warning("the stream could not go on: %s", str(error).splitlines()[0])
        finally:
            loader.warmer.wait()

    def _warm(self, warmer: LogWarmer) -> None:
        """Replay a log while the stream starts: the target's; where there is none yet, the ledger's, so that the JVM
        has compiled what the second batch will need.
        """
        if self._committed():
            warmer.begin(spark_uri(self._settings.table_root(self._ingest.table)))
        elif self._last > 1:
            warmer.begin(spark_uri(self._settings.state_root(self._pipeline.name, "ledger")))

    def _source(self) -> DataFrame:
        reader = self._spark.readStream.format("delta").option("maxFilesPerTrigger", BATCHES_A_TRIGGER)
        first = self._committed() + 1
        if not self._has_checkpoint():
            version = ledger_version_of(self._settings, self._pipeline.name, first)
            if version is not None:
                reader = reader.option("startingVersion", version)
        return reader.load(spark_uri(self._settings.state_root(self._pipeline.name, "ledger")))

    def _load_up_to(self, frame: DataFrame, loader: BatchLoader) -> None:
        """Load every pending batch up to the newest one in `frame`, in order, whatever slice of the ledger Spark
        hands over.
        """
        newest = max(frame.select("batch").toArrow()["batch"].to_pylist(), default=0)
        first = self._committed() + 1
        if newest < first:
            return
        for planned in read_batches(self._settings, self._pipeline.name, first, newest):
            loader.load(planned, planned.batch + 1 if planned.batch < self._last else None)

    def _keeping_errors(self, load: Callable[[DataFrame, int], None]) -> Callable[[DataFrame, int], None]:
        """Py4J turns an exception of foreachBatch into text; the object itself is kept for the exit code."""

        def guarded(frame: DataFrame, epoch: int) -> None:
            try:
                load(frame, epoch)
            except BaseException as error:
                self._error = error
                raise

        return guarded

    def _has_checkpoint(self) -> bool:
        return is_remote(self._checkpoint) or (Path(self._checkpoint) / "offsets").is_dir()

    def _discard(self, why: str) -> None:
        """Move a local checkpoint aside, so that a person can look at it; leave a remote one and use a new name."""
        aside = f"{self._checkpoint}.{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
        log.warning("starting without the checkpoint, because %s", why)
        if is_remote(self._checkpoint):
            self._checkpoint = aside
        elif Path(self._checkpoint).exists():
            shutil.move(self._checkpoint, aside)
