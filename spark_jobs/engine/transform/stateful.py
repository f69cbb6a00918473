"""The sink of steps that need Spark's own state: windows of measures that cannot be merged, and the user's processors.

A micro-batch is split into late rows and rows in time BEFORE the state sees it: late ones go to the late table with the
watermark that made them late, the others as ONE file into `state/<pipeline>/input`, in one commit with the batch's
number. A stream reads that table a file a micro-batch, so that Spark's n-th micro-batch is the n-th file, whatever was
killed. Each is one commit of the target with the number of the planned batch.

| killed after | left behind | on the next run |
|---|---|---|
| the input's commit | a file that the stream has not read | the batch finds it there |
| the target's commit | a micro-batch that the checkpoint does not call done | Spark does it again; the target has it |
| the checkpoint is lost, or older | all files, or some | the state is made again; the target has those batches |
| the target was put back | a checkpoint that is ahead of it | the checkpoint is moved aside, the state made again |

Spark's watermark is the same as that of the late table, so Spark leaves out nothing; that it did not is checked.

Of windows, files whose rows are all of windows that were final in a committed batch are taken out of the input: no
state has them any more, and a state that is made again does without them. What a function of the user's keeps is not
known, so its input stays.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from delta.tables import DeltaTable
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from include.algebra.measures import TIME, quoted
from include.config.errors import Defect
from include.config.settings import spark_uri
from include.ledger.target import app_id, committed_batch
from include.transform.inputs import BATCH, Inputs
from include.transform.outcomes import BatchFigures
from include.transform.ranges import PlannedRange
from spark_jobs.engine.transform.checkpoint import Checkpoint
from spark_jobs.engine.transform.commit import Target
from spark_jobs.engine.transform.keyed import GONE, KeyedTable
from spark_jobs.engine.transform.late import Lateness, LateRows
from spark_jobs.engine.transform.problems import changed, file_is_gone
from spark_jobs.engine.transform.sources import Source
from spark_jobs.engine.transform.states import persisted, with_time
from spark_jobs.engine.transform.steps import RowSteps

log = logging.getLogger(__name__)

CONF = {
    "spark.sql.streaming.stateStore.providerClass": (
        "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider"
    ),
    "spark.sql.streaming.stateStore.rocksdb.changelogCheckpointing.enabled": "true",
    # Each version of the state has a name of its own, so that a process that should be dead cannot write over one.
    "spark.sql.streaming.stateStore.checkpointFormatVersion": "2",
    # A micro-batch is a file: none without one.
    "spark.sql.streaming.noDataMicroBatches.enabled": "false",
}
# What Spark says where a file of the state is gone. Other files of a checkpoint fail before the first micro-batch.
_NO_STATE = "CANNOT_LOAD_STATE_STORE"


@dataclass(frozen=True)
class Stateful:
    """What the state computes: `build` makes the result of the rows in time, whose watermark is on the column `time`.

    `identity` tells the rows of the result apart in update mode; in append mode it is empty. `reach` is how many
    seconds after its row a window may end; None where that is not known.
    """

    lateness: Lateness
    time: str
    build: Callable[[DataFrame], DataFrame]
    identity: Sequence[str]
    reach: float | None = None

    @property
    def mode(self) -> str:
        """Spark's output mode."""
        return "update" if self.identity else "append"


@dataclass(frozen=True)
class StatefulSink:
    """Feeds what the steps make of the source's new rows to a stream that has a state."""

    source: Source
    steps: RowSteps
    target: Target
    stateful: Stateful

    def write(self, planned: PlannedRange) -> None:
        """One commit of the target; the late rows and the stream's input are committed before it.

        Raises:
            SourceChanged: the source took rows back.
            Defect: Spark left out rows, or made micro-batches of its own.
        """
        if planned.versions.kind == "changes":
            raise changed(planned, "Spark's state cannot give back what it has aggregated")
        rows = with_time(self.stateful.lateness, self.steps.apply(self.source.added(planned), planned))
        figures = self._split(rows, planned)
        checkpoint = Checkpoint(self.target.settings.state_root(self.target.pipeline.name, "checkpoint"))
        inputs = Inputs.of(self.target.settings, self.target.pipeline.name)
        done = checkpoint.done(len(inputs.staged))
        if done is not None and inputs.staged[done].batch > self._committed:
            checkpoint.move_aside("the target does not hold all of its batches")
        if inputs.last == planned.batch:
            self._stream_or_again(planned, figures, inputs, checkpoint)
        if self._committed < planned.batch:
            self._nothing(planned, figures)
        self._prune(inputs, planned)

    def _prune(self, inputs: Inputs, planned: PlannedRange) -> None:
        """Take the rows of final windows out of the input."""
        late = LateRows(self.target, self.stateful.lateness, planned)
        if self.stateful.reach is None or late.watermark is None:
            return
        apart = self.stateful.lateness.type == "session"
        # Spark's watermark is cut to milliseconds.
        reach, watermark = round(self.stateful.reach * 1_000_000), late.watermark - 1000
        pruned = inputs.prune(watermark, reach, apart=apart, committed=planned.batch)
        if pruned:
            log.info("batch %d: %d files of the state's input are not needed any more", planned.batch, pruned)

    # ---- the input

    @property
    def _input(self) -> str:
        return self.target.settings.state_root(self.target.pipeline.name, "input")

    def _split(self, rows: DataFrame, planned: PlannedRange) -> BatchFigures:
        """Write the late rows and the rows in time, and count them."""
        late = LateRows(self.target, self.stateful.lateness, planned)
        with persisted(rows) as all_rows:
            in_time = late.in_time(all_rows)
            counts = all_rows.agg(*late.counts()).collect()[0].asDict()
            aggregated = in_time.count()
            figures = late.write(all_rows, counts, aggregated)
            self._make_input(in_time)
            if aggregated:
                self._stage(in_time, planned)
        return replace(figures, rows_quarantined=self.steps.rows_refused)

    def _make_input(self, rows: DataFrame) -> None:
        """An empty table as version 0. Its log is kept: a lost checkpoint is made again from all of it."""
        builder = DeltaTable.createIfNotExists(self.target.spark).location(spark_uri(self._input))
        shape = rows.withColumn(BATCH, F.lit(0).cast("bigint")).schema
        builder = builder.addColumns(shape).property("delta.logRetentionDuration", "interval 10000 days")
        builder.property("delta.enableChangeDataFeed", "false").execute()

    def _stage(self, rows: DataFrame, planned: PlannedRange) -> None:
        writer = rows.withColumn(BATCH, F.lit(planned.batch).cast("bigint")).coalesce(1).write.format("delta")
        writer = writer.mode("append").option("mergeSchema", "true").option("txnVersion", planned.batch)
        writer.option("txnAppId", f"{app_id(self.target.pipeline.name)}:input").save(spark_uri(self._input))

    # ---- the stream

    @property
    def _committed(self) -> int:
        return committed_batch(self.target.settings, self.target.name, app_id(self.target.pipeline.name))

    def _stream_or_again(
        self, planned: PlannedRange, figures: BatchFigures, inputs: Inputs, checkpoint: Checkpoint
    ) -> None:
        """Go on from the checkpoint; where Spark cannot read it (a file is gone, or empty), make the state again."""
        known, entered = checkpoint.exists, list[int]()
        try:
            self._stream(planned, figures, inputs, checkpoint, entered)
        except (PySparkException, Py4JJavaError) as error:
            lost = _NO_STATE in str(error) or file_is_gone(error)
            if not known or (entered and not lost) or self._committed >= planned.batch:
                raise
            checkpoint.move_aside(str(error).strip().splitlines()[0][:300])
            self._stream(planned, figures, inputs, checkpoint, [])

    def _stream(
        self,
        planned: PlannedRange,
        figures: BatchFigures,
        inputs: Inputs,
        checkpoint: Checkpoint,
        entered: list[int],
    ) -> None:
        """Do all micro-batches that the checkpoint does not call done; only the planned one is new to the target."""
        spark, skipped = self.target.spark, checkpoint.begun_after(inputs.pruned)
        for key, value in CONF.items():
            spark.conf.set(key, value)

        def enter(frame: DataFrame, epoch: int) -> None:
            entered.append(epoch)
            batch = inputs.staged[skipped + epoch].batch
            if batch <= self._committed:
                frame.write.format("noop").mode("overwrite").save()  # the state needs it, the target has it
            elif batch == planned.batch:
                self._enter(frame, planned, figures)
            else:
                raise Defect(f"Micro-batch {epoch} is batch {batch}, not {planned.batch}.")

        rows = spark.readStream.format("delta").option("maxFilesPerTrigger", "1").option("ignoreDeletes", "true")
        rows = rows.option("startingVersion", str(inputs.first_version(skipped)))
        result = self.stateful.build(self._watermarked(rows.load(spark_uri(self._input))))
        started = result.writeStream.outputMode(self.stateful.mode).foreachBatch(enter)
        started = started.option("checkpointLocation", spark_uri(checkpoint.location)).trigger(availableNow=True)
        query = started.start()
        query.awaitTermination()
        dropped = sum(_dropped(progress) for progress in query.recentProgress)
        if dropped:
            raise Defect(f"Spark left out {dropped} rows of batch {planned.batch} that are not late.")

    def _watermarked(self, rows: DataFrame) -> DataFrame:
        after = self.stateful.lateness.late
        if after is None:
            raise Defect("A state without a watermark.", remedy="Please report this.")
        rows = rows.drop(BATCH) if self.stateful.time == TIME else rows.drop(BATCH, TIME)
        return rows.withWatermark(self.stateful.time, f"{round(after.after * 1_000_000)} microseconds")

    def _enter(self, frame: DataFrame, planned: PlannedRange, figures: BatchFigures) -> None:
        session: SparkSession = frame.sparkSession  # the stream's own: it has the commit's transaction
        target = replace(self.target, spark=session)
        with persisted(frame) as result:
            if self.stateful.mode == "append":
                target.append(result, planned, figures)
            else:
                KeyedTable(target, planned).put(result.withColumn(GONE, F.lit(False)), self.stateful.identity, figures)

    def _nothing(self, planned: PlannedRange, figures: BatchFigures) -> None:
        """A batch without rows in time."""
        spark = self.target.spark
        if self.target.exists:
            empty = spark.read.format("delta").load(self.target.location).limit(0)
        else:
            rows = spark.readStream.format("delta").load(spark_uri(self._input))
            empty = spark.createDataFrame([], self.stateful.build(self._watermarked(rows)).schema)
        self.target.append(empty, planned, figures)


def _dropped(progress: Any) -> int:
    """The rows that Spark left out because of its watermark, in one micro-batch."""
    return sum(int(operator["numRowsDroppedByWatermark"]) for operator in progress["stateOperators"])


def keys_sql(keys: Sequence[str]) -> list[str]:
    """Column names as SQL."""
    return [quoted(key) for key in keys]
