"""Rows that no window takes: those without a time, and late ones where the pipeline diverts them.

They go to the late table before the target's commit, under the batch's number, so that they stand there once. The
watermark of a batch is decided by the batches before it: the newest time seen, less `after`. It is stored before the
first write, so that a replay diverts the same rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812

from include.algebra.measures import TIME
from include.config.errors import Defect, StateLost
from include.config.settings import spark_uri
from include.config.windows import Late
from include.ledger.state_files import create_document, delete_document, read_document
from include.transform.outcomes import BatchFigures
from include.transform.ranges import PlannedRange
from spark_jobs.engine.transform.commit import Target

REASON, WATERMARK, LATE_BATCH = "_late_reason", "_watermark", "_late_batch"
UNTIMED, LATE = "no event time", "older than the watermark"


class Lateness(Protocol):
    """Which rows are late: a window step is one."""

    @property
    def type(self) -> str:
        """As the pipeline file names it."""

    @property
    def time(self) -> str:
        """A SQL expression of a timestamp."""

    @property
    def keys(self) -> tuple[str, ...]:
        """Columns that the rows must have."""

    @property
    def late(self) -> Late | None:
        """After how long, and what then."""


@dataclass(frozen=True)
class Seen:
    """Counted on the way to the windows: all rows, those without time, late ones, and the newest time (micros)."""

    rows: int
    untimed: int
    late: int
    newest: int | None


class LateRows:
    """The rows of one micro-batch that no window takes."""

    def __init__(self, target: Target, window: Lateness, planned: PlannedRange) -> None:
        self._target = target
        self._window = window
        self._planned = planned
        self._diverts = window.late is not None and window.late.action == "divert"
        self._newest_before = self._newest_of(planned.batch - 1) if self._diverts else None

    @property
    def watermark(self) -> int | None:
        """In microseconds since the epoch; None where no row is late."""
        if self._newest_before is None or self._window.late is None:
            return None
        return self._newest_before - round(self._window.late.after * 1_000_000)

    def in_time(self, rows: DataFrame) -> DataFrame:
        """The rows that windows take."""
        return rows.where(F.col(TIME).isNotNull() & ~self._is_late())

    def counts(self) -> list[Column]:
        """What is observed of all rows, before they are split."""
        return [
            F.count(F.lit(1)).alias("rows"),
            F.count_if(F.col(TIME).isNull()).alias("untimed"),
            F.count_if(self._is_late()).alias("late"),
            F.unix_micros(F.max(TIME)).alias("newest"),
        ]

    def write(self, rows: DataFrame, observed: Mapping[str, Any], aggregated: int) -> BatchFigures:
        """Write them, remember the newest time, and count; `aggregated` is how many rows the windows have.

        Raises:
            Defect: rows = aggregated + late does not hold.
        """
        seen = Seen(**observed)
        missing = seen.rows - seen.untimed - seen.late - aggregated
        if missing and self._window.type != "sliding":
            raise Defect(f"Batch {self._planned.batch}: {missing} of {seen.rows} rows are in no window and not late.")
        left_out = seen.untimed + seen.late
        if left_out:
            self._append(rows)
        if self._diverts:
            self._remember(seen.newest)
        loaded = seen.rows - left_out
        return BatchFigures(rows_read=self._planned.versions.rows or seen.rows, rows_loaded=loaded, rows_late=left_out)

    def _is_late(self) -> Column:
        if self.watermark is None:
            return F.lit(False)
        return F.coalesce(F.col(TIME) < F.timestamp_micros(F.lit(self.watermark)), F.lit(False))

    def _append(self, rows: DataFrame) -> None:
        name, batch = self._target.pipeline.name, self._planned.batch
        watermark = F.lit(None) if self.watermark is None else F.lit(self.watermark)
        (
            rows.where(F.col(TIME).isNull() | self._is_late())
            .withColumn(REASON, F.when(F.col(TIME).isNull(), F.lit(UNTIMED)).otherwise(F.lit(LATE)))
            .withColumns({WATERMARK: F.timestamp_micros(watermark.cast("bigint")), LATE_BATCH: F.lit(batch)})
            .drop(TIME)
            .write.format("delta")
            .mode("append")
            .option("mergeSchema", "true")
            .option("txnAppId", f"sluice:{name}:late")
            .option("txnVersion", batch)
            .save(spark_uri(self._target.settings.state_root(name, "late")))
        )

    def _document(self, batch: int) -> str:
        return self._target.settings.state_root(self._target.pipeline.name, "watermarks", f"{batch}.json")

    def _newest_of(self, batch: int) -> int | None:
        if batch == 0:
            return None
        found = read_document(self._document(batch))
        if found is None:
            raise StateLost(
                f"{self._document(batch)} is gone: it says which rows of batch {batch + 1} are late.",
                remedy="Restore the state folder from a backup, or write `late: {action: merge}`.",
            )
        newest: int | None = found["newest"]
        return newest

    def _remember(self, newest: int | None) -> None:
        known = [at for at in (newest, self._newest_before) if at is not None]
        create_document(
            self._document(self._planned.batch), {"newest": max(known, default=None), "watermark": self.watermark}
        )
        delete_document(self._document(self._planned.batch - 2))
