"""Brings the pending batches of a target table to their end: each a statement, each one commit.

What a kill leaves behind, and what the next statement on the table does (include/copy_into/plan.py has the steps
before):

| killed after | left | next |
|---|---|---|
| the attempt's document | a note that an attempt began | after three without an end, its files are read one by one |
| the quarantine's commit, the decision | a pending batch | this attempt's replace them |
| the target's commit | a done batch without outcomes | they are written from the decision, or the commit's note |
| the outcomes | at most a decision that nobody reads | nothing: the batch is over |
| a rejection's document | a pending batch | it is rejected for that reason: its files are free then |
"""

import logging
import time
from dataclasses import asdict, dataclass

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from include.config.errors import DataRefused, Defect, SluiceError, TableLocked
from include.config.exit_codes import ExitCode
from include.config.settings import Settings
from include.copy_into.recovery import account, no_outcomes, put_in_order
from include.copy_into.state import STATE, TableState
from include.ledger.accounting import RecordsUnaccounted
from include.ledger.attempts import AttemptStore
from include.ledger.outcomes import FileOutcome
from include.ledger.versions import PlannedBatch
from include.probe.workers import ProbePool
from include.submit.failures import Failure, failure_of
from spark_jobs.engine.copy.spark_errors import first_line, told
from spark_jobs.engine.copy.statement_load import StatementLoad, lost_race
from spark_jobs.engine.watchdog import Watchdog

log = logging.getLogger(__name__)

FAILURES = 3  # errors that nothing explains, of one batch, before it no longer holds up those after it


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
        if (rejection := self.state.rejection(planned.batch)) is not None:  # killed before its outcomes
            self._reject(planned, Failure(**rejection))
            return
        intent = self.state.intent_of(planned.batch)
        if intent is None:
            lost = f"The statement that planned batch {planned.batch} is not written down any more."
            self._reject(planned, failure_of(DataRefused(lost, remedy="Run the statement again.")))
            return
        try:
            statement = intent.statement()
            attempt = self.attempts.begin(planned.batch)
            with Watchdog(self.spark, lambda seconds: self.attempts.note_hang(planned.batch, seconds)):
                outcomes = StatementLoad(
                    self.spark, self.settings, self.pool, self.state, self.attempts, self.run_id, planned, intent
                ).load(statement, isolate=attempt.isolate)
        except (SluiceError, Py4JJavaError, PySparkException) as error:
            outcomes = self._failed(planned, error)
        self.attempts.end(planned.batch)
        _report(planned, outcomes, time.monotonic() - started)

    def _failed(self, planned: PlannedBatch, error: Exception) -> list[FileOutcome]:
        """The outcomes of a batch whose attempt ended with an error: it may have come after the commit, else the batch
        is rejected where that says why.

        Raises:
            Exception: the error, where it may pass.
        """
        if isinstance(error, RecordsUnaccounted) or _may_pass(error):
            raise error
        if self.state.committed() >= planned.batch:
            log.warning("batch %d: it is in the table; after that: %s", planned.batch, first_line(str(error)))
            return account(self.state, planned, self.run_id)
        if lost_race(error):
            raise TableLocked(f"Another process committed to {self.table}.", remedy="Run again.") from error
        explained = told(error)
        if isinstance(explained, SluiceError) and not isinstance(explained, Defect):
            return self._reject(planned, failure_of(explained))
        failures = int(self.state.decided(planned.batch).get("failures", 0)) + 1
        if failures >= FAILURES:  # one batch must not hold up the table for ever
            return self._reject(planned, failure_of(error))
        self.state.decide(planned.batch, {"failures": failures})
        raise error

    def _reject(self, planned: PlannedBatch, failure: Failure) -> list[FileOutcome]:
        """Nothing of the batch is loaded: its files are free for the next statement."""
        log.error("batch %d: rejected: %s", planned.batch, failure)
        self.state.reject(planned.batch, asdict(failure))
        rejected = no_outcomes(planned, "rejected", f"[{failure.error_class}]")
        self.state.decide(planned.batch, {"outcomes": rejected})
        outcomes = account(self.state, planned, self.run_id)
        self.attempts.end(planned.batch)
        return outcomes


def _may_pass(error: Exception) -> bool:
    return isinstance(error, SluiceError) and error.exit_code in (ExitCode.IO, ExitCode.LOCKED)


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
