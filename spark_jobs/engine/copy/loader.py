"""Brings the pending batches of a target table to their end: each a statement, each one commit.

What a kill leaves behind, and what the next statement on the table does (include/copy_into/plan.py has the steps
before):

| killed after | left | next |
|---|---|---|
| the attempt's document | a note that an attempt began | after three without an end, its files are read one by one |
| the quarantine's commit, the decision | a pending batch | this attempt's replace them |
| the target's commit | a done batch without outcomes | they are written from the decision, or the commit's note |
| the outcomes | at most a decision that nobody reads | nothing: the batch is over |
| a rejection's document | a pending batch | it is tried again, and rejected again unless the cause is gone |
"""

import json
import logging
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession

from include.config.errors import DataRefused, Defect, TableLocked
from include.config.settings import Settings, spark_uri
from include.copy_into.errors import CopyIntoError
from include.copy_into.notes import packed
from include.copy_into.recovery import NOTE, account, commit_of, put_in_order
from include.copy_into.state import APP_ID, STATE, Intent, TableState
from include.copy_into.target import open_target
from include.ledger.accounting import RecordsUnaccounted
from include.ledger.attempts import AttemptStore
from include.ledger.outcomes import INGESTED_AT, SOURCE_FILE, SOURCE_VERSION, FileOutcome
from include.ledger.quarantine import write_refusals
from include.ledger.versions import PlannedBatch
from include.probe.spool import clear_spool
from include.probe.workers import ProbePool
from include.submit.failures import Failure, failure_of
from spark_jobs.engine.batch_files import spark_names
from spark_jobs.engine.copy.constraints import Constraints
from spark_jobs.engine.copy.prepare import Preparation, target_schema
from spark_jobs.engine.copy.shape import Shaped
from spark_jobs.engine.copy.source import with_origin
from spark_jobs.engine.copy.spark_errors import first_line, told
from spark_jobs.engine.frames import FILE, quoted
from spark_jobs.engine.watchdog import Watchdog
from spark_jobs.engine.work import Work, decisions, first_refusals, refusals

log = logging.getLogger(__name__)

LOST_RACE = ("ConcurrentTransactionException", "DELTA_CONCURRENT_TRANSACTION")
FAILURES = 3  # errors that nothing explains, of one batch, before it no longer holds up those after it
ORIGIN = (SOURCE_FILE, SOURCE_VERSION, INGESTED_AT)
STATUS = {"load": "loaded", "quarantine": "quarantined", "superseded": "superseded"}


@dataclass
class TableLoader:
    """Loads what is pending for one target table; whoever calls holds the table's lock."""

    spark: SparkSession
    settings: Settings
    pool: ProbePool
    table: str
    run_id: str

    def __post_init__(self) -> None:
        self.state = TableState(self.settings, self.table)
        self.attempts = AttemptStore(self.state.settings, STATE)

    def run(self) -> None:
        """Bring every pending batch to its end, in order, those too that are planned meanwhile.

        A statement that is refused is written down as rejected, and the next one has its turn.

        Raises:
            SluiceError, Exception: something that may pass, or a defect; the batch stays pending.
        """
        put_in_order(self.state, self.run_id)
        while (first := self.state.done() + 1) <= (last := self.state.ledger().last_batch):
            for planned in self.state.batches(first, last):
                self._bring(planned)

    def _bring(self, planned: PlannedBatch) -> None:
        started = time.monotonic()
        intent = self.state.intent_of(planned.batch)
        if intent is None:
            lost = f"The statement that planned batch {planned.batch} is not written down any more."
            self._reject(planned, failure_of(DataRefused(lost, remedy="Run the statement again.")))
            return
        try:
            attempt = self.attempts.begin(planned.batch)
            with Watchdog(self.spark, lambda seconds: self.attempts.note_hang(planned.batch, seconds)):
                outcomes = _Batch(self, planned, intent).load(attempt.isolate)
        except (CopyIntoError, DataRefused) as error:
            self._reject(planned, failure_of(error))
        except (Py4JJavaError, PySparkException, Defect) as error:
            explained = told(error)
            if isinstance(explained, CopyIntoError):
                self._reject(planned, failure_of(explained))
            else:
                self._give_up(planned, error)
        else:
            self.attempts.end(planned.batch)
            _report(planned, outcomes, time.monotonic() - started)

    def _reject(self, planned: PlannedBatch, failure: Failure) -> None:
        """Nothing of the batch is loaded: its files are free for the next statement."""
        log.error("batch %d: rejected: %s", planned.batch, failure)
        self.state.reject(planned.batch, asdict(failure))
        rejected = [
            {**vars_of(file.path, file.version), "status": "rejected", "error": f"[{failure.error_class}]"}
            for file in planned.files
        ]
        self.state.decide(planned.batch, {"outcomes": rejected})
        account(self.state, planned, self.run_id)
        self.attempts.end(planned.batch)

    def _give_up(self, planned: PlannedBatch, error: Exception) -> None:
        """Raise the error, unless it has come often enough: one batch must not hold up the table for ever."""
        if isinstance(error, RecordsUnaccounted) or any(mark in str(error) for mark in LOST_RACE):
            if isinstance(error, RecordsUnaccounted):
                raise error
            raise TableLocked(f"Another process committed to {self.table}.", remedy="Run again.") from error
        failures = int(self.state.decided(planned.batch).get("failures", 0)) + 1
        if failures >= FAILURES:
            self._reject(planned, failure_of(error))
            return
        self.state.decide(planned.batch, {"failures": failures})
        raise error


@dataclass
class _Batch:
    """One attempt at one batch."""

    loader: TableLoader
    planned: PlannedBatch
    intent: Intent

    def load(self, isolate: bool) -> list[FileOutcome]:
        """Look, decide, commit, account."""
        loader, statement = self.loader, self.intent.statement
        table = open_target(loader.state.location)
        target = target_schema(table)
        rules = Constraints.of(table, target)
        preparation = Preparation(loader.spark, loader.settings, loader.pool, statement, target, rules)
        try:
            return self._load(preparation, isolate)
        except (Py4JJavaError, PySparkException) as error:
            if isolate or told(error) is not error or any(mark in str(error) for mark in LOST_RACE):
                raise
            log.warning(
                "batch %d: reading each file by itself, because: %s", self.planned.batch, first_line(str(error))
            )
            return self._load(preparation, isolate=True)
        finally:
            clear_spool(preparation.spool)

    def _load(self, preparation: Preparation, isolate: bool) -> list[FileOutcome]:
        loader = self.loader
        work = preparation.look(self.planned, thorough=isolate)
        attempt = loader.attempts.read(self.planned.batch)
        if isolate and attempt is not None:
            work = preparation.isolated(work, attempt, loader.attempts, None)
        work = preparation.ruled(work)
        work = preparation.with_schema(work)
        if isolate and attempt is not None and work.full:
            work = preparation.ruled(preparation.isolated(work, attempt, loader.attempts, work.schema.schema))
        work, written = self._commit(preparation, work)
        outcomes = account(loader.state, self.planned, loader.run_id)
        self._refuse_unaccounted(outcomes, written)
        return outcomes

    def _commit(self, preparation: Preparation, work: Work) -> tuple[Work, bool]:
        """Quarantine first, target last; what Spark finds on the way is left out and the two are written again."""
        for _ in range(len(self.planned.files) + 2):
            if not work.full:
                self._decide(work, {})
                return work, False
            shaped = preparation.shaped(work)
            try:
                rows = preparation.rows(work, shaped)
                note = self._decide(work, self._counts(work, rows))
                self._write(self._with_origin(rows, work, preparation), shaped, note)
            except (Py4JJavaError, PySparkException) as error:
                work = preparation.after_failure(work, shaped, error)
            else:
                return work, True
        raise Defect(f"Batch {self.planned.batch} failed once for each of its files and once more.")

    def _counts(self, work: Work, rows: DataFrame) -> Mapping[str, int]:
        """The rows that each file will bring: what the probe counted less what is refused, else counted by Spark."""
        refused = Counter(refusal.path for refusal in work.misfits)
        for file in work.readable:
            refused[file.path] += len(file.report.bad)
        counts = {
            file.path: file.report.records - refused[file.path]
            for file in work.readable
            if file.report.records is not None
        }
        uncounted = {file.path for file in work.full if file.report.records is None}
        if uncounted:
            names = dict(zip(spark_names(self.loader.spark, work.full), work.full, strict=True))
            counts.update(dict.fromkeys(uncounted, 0))
            for row in rows.groupBy(FILE).count().toArrow().to_pylist():
                if (path := names[row[FILE]].path) in uncounted:
                    counts[path] = row["count"]
        return counts

    def _decide(self, work: Work, counts: Mapping[str, int]) -> dict[str, Any]:
        """Write down what becomes of each file, the refused records first; returns the note of the commit."""
        state, planned = self.loader.state, self.planned
        write_refusals(state.settings, STATE, planned.batch, refusals(work), self.loader.run_id, planned.planned_at)
        outcomes = self._outcomes(work, counts)
        state.decide(planned.batch, {**state.decided(planned.batch), "outcomes": outcomes})
        rows = sum(one["rows_loaded"] for one in outcomes)
        return {
            "batch": planned.batch,
            "id": self.intent.id,
            "run_id": self.loader.run_id,
            "statement": self.intent.statement.sql,
            "num_affected_rows": rows,
            "num_inserted_rows": rows,
            "num_skipped_corrupt_files": sum(one["status"] == "quarantined" for one in outcomes),
            **packed(self._named(outcomes)),
        }

    def _named(self, outcomes: list[dict[str, Any]]) -> list[dict[str, Any]]:
        planned = {file.path: file for file in self.planned.files}
        return [
            {**one, **{name: getattr(planned[one["path"]], name) for name in ("size", "modified_at", "etag")}}
            for one in outcomes
        ]

    def _outcomes(self, work: Work, counts: Mapping[str, int]) -> list[dict[str, Any]]:
        fates = decisions(work)
        reasons = {**{path: report.reason for path, report in work.left_out.items()}, **first_refusals(work)}
        refused = Counter(refusal.path for refusal in refusals(work))
        outcomes = []
        for file in self.planned.files:
            loaded = counts.get(file.path, 0)
            whole = file.path in work.left_out
            quarantined = (fates[file.path].records or 0) if whole else refused[file.path]
            records = fates[file.path].records
            outcomes.append(
                {
                    **vars_of(file.path, file.version),
                    "status": STATUS[fates[file.path].fate],
                    "records": loaded + quarantined if records is None else records,
                    "rows_loaded": loaded,
                    "rows_quarantined": quarantined,
                    "error": reasons.get(file.path),
                }
            )
        return outcomes

    def _with_origin(self, rows: DataFrame, work: Work, preparation: Preparation) -> DataFrame:
        """The rows with the columns of ingest pipelines, where the table has them."""
        if preparation.target is None or SOURCE_FILE not in preparation.target.names:
            return rows
        return with_origin(self.loader.spark, rows, work.full, self.planned.planned_at)

    def _write(self, rows: DataFrame, shaped: Shaped, note: Mapping[str, Any]) -> None:
        own = [name for name in ORIGIN if name in rows.columns and name not in shaped.names]
        writer = (
            rows.select(*map(quoted, (*shaped.names, *own)))
            .write.format("delta")
            .mode("append")
            .option("txnAppId", APP_ID)
            .option("txnVersion", self.planned.batch)
            .option("userMetadata", json.dumps({"pipeline": STATE, NOTE: note}))
        )
        if self.intent.statement.options.merge_schema:
            writer = writer.option("mergeSchema", "true")
        log.info("batch %d: committing to %s", self.planned.batch, self.loader.table)
        writer.save(spark_uri(self.loader.state.location))

    def _refuse_unaccounted(self, outcomes: list[FileOutcome], written: bool) -> None:
        """Compare what was counted for the files with what the commit says that it wrote.

        Raises:
            RecordsUnaccounted: they differ; the outcomes are written all the same.
        """
        if not written:
            return
        counted = sum(outcome.rows_loaded for outcome in outcomes)
        commit = commit_of(self.loader.state, self.planned.batch)
        if commit is None or commit.rows is None or commit.rows == counted:
            return
        raise RecordsUnaccounted(
            f"Batch {self.planned.batch} wrote {commit.rows} rows to {self.loader.table}, its files hold {counted} "
            "records that fit. Did a file change while it was read?",
            remedy="The table's history has the number of rows that were written. Please report this with the files.",
        )


def vars_of(path: str, version: int) -> dict[str, Any]:
    """An outcome without figures."""
    return {"path": path, "version": version, "records": None, "rows_loaded": 0, "rows_quarantined": 0, "error": None}


def _report(planned: PlannedBatch, outcomes: list[FileOutcome], seconds: float) -> None:
    log.info(
        "batch %d: %d files, %.1f MB, %d rows loaded, %d records refused, %d files skipped, %.1f s",
        planned.batch,
        len(planned.files),
        planned.size / 1e6,
        sum(outcome.rows_loaded for outcome in outcomes),
        sum(outcome.rows_quarantined for outcome in outcomes),
        sum(outcome.status != "loaded" for outcome in outcomes),
        seconds,
    )
