"""One attempt to load one statement's batch: look, decide, quarantine first, target last, account."""

import json
import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession

from include.config.errors import Defect
from include.config.settings import Settings, spark_uri
from include.copy_into.notes import packed
from include.copy_into.recovery import NOTE, account, commit_of
from include.copy_into.state import APP_ID, STATE, Intent, TableState
from include.copy_into.statement import CopyInto
from include.copy_into.target import open_target
from include.ledger.accounting import RecordsUnaccounted
from include.ledger.attempts import AttemptStore
from include.ledger.outcomes import INGESTED_AT, SOURCE_FILE, SOURCE_VERSION, FileOutcome
from include.ledger.quarantine import write_refusals
from include.ledger.versions import PlannedBatch
from include.probe.spool import clear_spool
from include.probe.workers import ProbePool
from spark_jobs.engine.batch_files import spark_names
from spark_jobs.engine.copy.constraints import Constraints
from spark_jobs.engine.copy.prepare import Preparation, target_schema
from spark_jobs.engine.copy.shape import Shaped
from spark_jobs.engine.copy.source import with_origin
from spark_jobs.engine.copy.spark_errors import first_line, told
from spark_jobs.engine.frames import FILE, quoted
from spark_jobs.engine.work import Work, decisions, first_refusals, refusals

log = logging.getLogger(__name__)

LOST_RACE = ("ConcurrentTransactionException", "DELTA_CONCURRENT_TRANSACTION")
ORIGIN = (SOURCE_FILE, SOURCE_VERSION, INGESTED_AT)
STATUS = {"load": "loaded", "quarantine": "quarantined", "superseded": "superseded"}


def lost_race(error: Exception) -> bool:
    """Whether another writer of the same batch was first."""
    return any(mark in str(error) for mark in LOST_RACE)


@dataclass
class StatementLoad:
    """One attempt at one batch; whoever calls holds the table's lock."""

    spark: SparkSession
    settings: Settings
    pool: ProbePool
    state: TableState
    attempts: AttemptStore
    run_id: str
    planned: PlannedBatch
    intent: Intent

    def load(self, statement: CopyInto, *, isolate: bool) -> list[FileOutcome]:
        """Look, decide, commit, account: the intent's `statement`, each file by itself where `isolate` says so."""
        table = open_target(self.state.location)
        target = target_schema(table)
        rules = Constraints.of(table, target)
        preparation = Preparation(self.spark, self.settings, self.pool, statement, target, rules)
        try:
            return self._load(preparation, isolate)
        except (Py4JJavaError, PySparkException) as error:
            if isolate or lost_race(error) or told(error) is not error or self.state.committed() >= self.planned.batch:
                raise
            log.warning(
                "batch %d: reading each file by itself, because: %s", self.planned.batch, first_line(str(error))
            )
            return self._load(preparation, isolate=True)
        finally:
            clear_spool(preparation.spool)

    def _load(self, preparation: Preparation, isolate: bool) -> list[FileOutcome]:
        work = preparation.look(self.planned, thorough=isolate)
        attempt = self.attempts.read(self.planned.batch)
        if isolate and attempt is not None:
            work = preparation.isolated(work, attempt, self.attempts, None)
        work = preparation.ruled(work)
        work = preparation.with_schema(work)
        if isolate and attempt is not None and work.full:
            work = preparation.ruled(preparation.isolated(work, attempt, self.attempts, work.schema.schema))
        work, written = self._commit(preparation, work)
        outcomes = account(self.state, self.planned, self.run_id)
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
                if shaped.aggregated and not work.tried:  # what cannot be read must not be in it
                    work = preparation.ruled(preparation.with_misfits(work))
                    continue
                rows = preparation.rows(work, shaped)
                note = self._decide(work, self._counts(work, shaped, rows), aggregated=shaped.aggregated)
                self._write(self._with_origin(rows, work, preparation), shaped, note, preparation.statement)
            except (Py4JJavaError, PySparkException) as error:
                work = preparation.after_failure(work, error)
            else:
                return work, True
        raise Defect(f"Batch {self.planned.batch} failed once for each of its files and once more.")

    def _counts(self, work: Work, shaped: Shaped, rows: DataFrame) -> Mapping[str, int]:
        """The rows that each file will bring: what the probe counted less what is refused, else counted by Spark. One
        row of all records is counted for the first file.
        """
        if shaped.aggregated:
            return {work.full[0].path: 1}
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
            names = dict(zip(spark_names(self.spark, work.full), work.full, strict=True))
            counts.update(dict.fromkeys(uncounted, 0))
            for row in rows.groupBy(FILE).count().toArrow().to_pylist():
                if (path := names[row[FILE]].path) in uncounted:
                    counts[path] = row["count"]
        return counts

    def _decide(self, work: Work, counts: Mapping[str, int], *, aggregated: bool = False) -> dict[str, Any]:
        """Write down what becomes of each file, the refused records first; returns the note of the commit."""
        state, planned = self.state, self.planned
        write_refusals(state.settings, STATE, planned.batch, refusals(work), self.run_id, planned.planned_at)
        outcomes = self._outcomes(work, counts, aggregated)
        state.decide(planned.batch, {**state.decided(planned.batch), "outcomes": outcomes})
        rows = sum(one["rows_loaded"] for one in outcomes)
        return {
            "batch": planned.batch,
            "id": self.intent.id,
            "run_id": self.run_id,
            "statement": self.intent.sql,
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

    def _outcomes(self, work: Work, counts: Mapping[str, int], aggregated: bool) -> list[dict[str, Any]]:
        fates = decisions(work)
        reasons = {**{path: report.reason for path, report in work.left_out.items()}, **first_refusals(work)}
        refused = Counter(refusal.path for refusal in refusals(work))
        outcomes = []
        for file in self.planned.files:
            loaded = counts.get(file.path, 0)
            whole = file.path in work.left_out
            quarantined = (fates[file.path].records or 0) if whole else refused[file.path]
            records = fates[file.path].records
            if records is None and not aggregated:
                records = loaded + quarantined
            outcomes.append(
                {
                    "path": file.path,
                    "version": file.version,
                    "status": STATUS[fates[file.path].fate],
                    "records": records,
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
        return with_origin(self.spark, rows, work.full, self.planned.planned_at)

    def _write(self, rows: DataFrame, shaped: Shaped, note: Mapping[str, Any], statement: CopyInto) -> None:
        own = [name for name in ORIGIN if name in rows.columns and name not in shaped.names]
        writer = (
            rows.select(*map(quoted, (*shaped.names, *own)))
            .write.format("delta")
            .mode("append")
            .option("txnAppId", APP_ID)
            .option("txnVersion", self.planned.batch)
            .option("userMetadata", json.dumps({"pipeline": STATE, NOTE: note}))
        )
        if statement.options.merge_schema:
            writer = writer.option("mergeSchema", "true")
        log.info("batch %d: committing to %s", self.planned.batch, self.state.table)
        writer.save(spark_uri(self.state.location))

    def _refuse_unaccounted(self, outcomes: list[FileOutcome], written: bool) -> None:
        """Compare what was counted for the files with what the commit says that it wrote.

        Raises:
            RecordsUnaccounted: they differ; the outcomes are written all the same.
        """
        if not written:
            return
        counted = sum(outcome.rows_loaded for outcome in outcomes)
        commit = commit_of(self.state, self.planned.batch)
        if commit is None or commit.rows is None or commit.rows == counted:
            return
        raise RecordsUnaccounted(
            f"Batch {self.planned.batch} wrote {commit.rows} rows to {self.state.table}, its files hold {counted} "
            "records that fit. Did a file change while it was read?",
            remedy="The table's history has the number of rows that were written. Please report this with the files.",
        )
