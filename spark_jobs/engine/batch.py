"""One planned micro-batch: probe, decide, quarantine, commit, account.

A batch is done when the target's commit with `txnVersion` = batch is in; everything before it may be repeated,
everything after it can be rebuilt. Killed at any point, the next run does the same batch again with the same files
under the same schema:

| killed after | left behind | on the next run |
|---|---|---|
| a schema version | a version that no row has yet | it is the newest one: nothing is to be added, the same rows |
| the attempt's document | a note that an attempt began | after three without an end, its files are read one by one |
| the quarantine's commit | rows of a batch that is not done: no report shows them | this attempt's replace them |
| the target's commit | no outcomes | discovery counts them from the tables |
| the outcomes | the document, a checkpoint one batch behind | the batch is passed over by its number |
"""

import json
import logging
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from py4j.protocol import Py4JJavaError
from pyspark.errors import AnalysisException, PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructType

from include.config.errors import DataRefused, Defect, TableLocked
from include.config.pipeline import Ingest, Pipeline
from include.config.settings import Settings, spark_uri
from include.ledger.accounting import account, refuse_unaccounted
from include.ledger.attempts import Attempt, AttemptStore
from include.ledger.outcomes import FileOutcome
from include.ledger.quarantine import Refusal, write_refusals
from include.ledger.versions import FileVersion, PlannedBatch
from include.probe.ahead import Ahead
from include.probe.delimited import distinct_names
from include.probe.plain_values import JsonType
from include.probe.probe import FileReport
from include.probe.records import Spec, spec_of
from include.probe.spool import clear_spool
from include.probe.tasks import planned_file, probe_tasks, spool_of
from include.probe.workers import ProbePool
from spark_jobs.engine.batch_files import BatchFile, by_few_shapes, own_columns, spark_names
from spark_jobs.engine.csv_rows import rare
from spark_jobs.engine.evolution import Evolution
from spark_jobs.engine.frames import exact_names
from spark_jobs.engine.isolation import Isolation, root_cause
from spark_jobs.engine.misfits import files_with_misfits, find_misfits, reason_of
from spark_jobs.engine.own_schemas import without_place
from spark_jobs.engine.readers import read_files
from spark_jobs.engine.schemas import SchemaStore, SchemaVersion
from spark_jobs.engine.target import Target, says_misfit
from spark_jobs.engine.warmup import LogWarmer
from spark_jobs.engine.watchdog import Watchdog, restart_if_dead
from spark_jobs.engine.work import Work, decisions, refusals, under_policy

log = logging.getLogger(__name__)

UNREADABLE = re.compile(r"FAILED_READ_FILE[.\w]*\].*? file (?P<file>\S.*?)\.  ?SQLSTATE", re.DOTALL)
NAMED_BY_SPARK = 2  # files that may be left out one by one, each at the price of a failed job
LOST_RACE = ("ConcurrentTransactionException", "DELTA_CONCURRENT_TRANSACTION")


@dataclass
class BatchLoader:
    """Loads planned micro-batches of one pipeline, one after the other."""

    spark: SparkSession
    pipeline: Pipeline
    ingest: Ingest
    settings: Settings
    run_id: str
    pool: ProbePool
    ahead: Ahead | None = None

    def __post_init__(self) -> None:
        self.attempts = AttemptStore(self.settings, self.pipeline.name)
        self.schemas = SchemaStore(self.settings, self.pipeline.name)
        self.evolution = Evolution(self.spark, self.ingest, self.settings, self.schemas, self._probe_again)
        self.target = Target(self.spark, self.pipeline, self.ingest, self.settings, self.run_id)
        self.warmer = LogWarmer(self.spark)

    def load(self, planned: PlannedBatch, following: int | None = None) -> list[FileOutcome]:
        """Bring one batch to its commit and account for it. `following` is the batch that will be loaded next.

        Raises:
            DataRefused: the pipeline's rules stop it; nothing of the batch is in the target.
            TableLocked: another process committed to the target as this pipeline.
        """
        started = time.monotonic()
        attempt = self.attempts.begin(planned.batch)
        with Watchdog(self.spark, lambda seconds: self.attempts.note_hang(planned.batch, seconds)):
            attempt = self._reach_commit(planned, attempt)
        self._clear_spool(planned.batch)
        if following is not None:
            self._prepare_for(following)
        outcomes = account(self.settings, self.pipeline, planned, attempt, self.run_id)
        _report(planned, outcomes, time.monotonic() - started)
        refuse_unaccounted(outcomes)
        return outcomes

    def _clear_spool(self, batch: int) -> None:
        """Delete the clean copies of the batch, and what a kill has left of one before it."""
        for number in range(max(1, batch - 1), batch + 1):
            clear_spool(spool_of(self.settings, self.pipeline.name, number))

    def _prepare_for(self, following: int) -> None:
        """Begin what the next batch needs and this one's accounting does not."""
        self.warmer.begin(spark_uri(self.settings.table_root(self.ingest.table)))
        if self.ahead:
            self.ahead.begin(following)

    def _reach_commit(self, planned: PlannedBatch, attempt: Attempt) -> Attempt:
        """Look, decide, commit; from the look again where a file vanished after it, which then sees that it is gone.

        Whatever else Spark fails with, a file may be its cause: then each is read by itself, those that fail are left
        out, and the batch is tried once more.
        """
        for _ in range(len(planned.files) + 1):
            try:
                return self._look_and_commit(planned, attempt)
            except (Py4JJavaError, PySparkException) as error:
                restart_if_dead(self.spark, lambda: self.attempts.note_end(planned.batch, "reading it ended Spark"))
                if isinstance(error, AnalysisException) and error.getCondition() == "PATH_NOT_FOUND":
                    log.warning("batch %d: a file vanished while it was loaded; looking again", planned.batch)
                elif attempt.isolate:
                    raise
                else:
                    log.warning(
                        "batch %d: reading each file by itself, because: %s", planned.batch, root_cause(str(error))
                    )
                    attempt = replace(attempt, isolate=True)
        return self._look_and_commit(planned, attempt)

    def _look_and_commit(self, planned: PlannedBatch, attempt: Attempt) -> Attempt:
        work, attempt = self._prepare(planned, attempt)
        if attempt.isolate:
            work, attempt = self._isolated(work, attempt, work.schema.schema)
        return self._commit(self.evolution.settle(work), attempt)

    # ---- before the first write

    def _prepare(self, planned: PlannedBatch, attempt: Attempt) -> tuple[Work, Attempt]:
        """The work under its schema. The first schema is inferred by Spark, which a file can hang as well."""
        known = self.evolution.known()
        reports = self._with_rows(planned, self._probe(planned, known, thorough=attempt.isolate))
        files = [self._batch_file(file, report) for file, report in zip(planned.files, reports, strict=True)]
        readable = [file for file in files if file.report.verdict == "ok"]
        left_out = {file.path: file.report for file in files if file.report.verdict != "ok"}
        work = Work(planned, known or self.schemas.get(0), readable, left_out)
        reasons = {**without_place(self.spark, self.ingest, work.full), **attempt.excluded}
        for path, reason in reasons.items():
            if path not in work.left_out:
                work = work.without(path, reason)
        if known is None:
            if attempt.isolate:
                work, attempt = self._isolated(work, attempt, None)
            work = self.evolution.begin(work)
        return work, attempt

    def _probe(self, planned: PlannedBatch, known: SchemaVersion | None, *, thorough: bool) -> list[FileReport]:
        spec = _spec(known) if known else None
        reports = self.ahead.take(planned.batch, spec) if self.ahead else None
        spool = spool_of(self.settings, self.pipeline.name, planned.batch)
        if reports and not thorough:
            return reports
        return self.pool.map(
            probe_tasks(
                self.settings, self.ingest, planned.files, spec, spool,
                thorough=thorough, refuse_unknown=self.ingest.refuses_unknown, schema=_json(known) if known else None,
            )
        )  # fmt: skip

    def _with_rows(self, planned: PlannedBatch, reports: Sequence[FileReport]) -> list[FileReport]:
        """The reports, those on CSV files of rare headers with a copy that needs no reader of its own."""
        paths = rare(self.ingest, reports, {file.path: file.size for file in planned.files})
        if not paths:
            return list(reports)
        spool = spool_of(self.settings, self.pipeline.name, planned.batch)
        files = [file for file in planned.files if file.path in paths]
        log.info("batch %d: %d files have rare headers", planned.batch, len(files))
        tasks = [replace(task, as_rows=True) for task in probe_tasks(self.settings, self.ingest, files, None, spool)]
        again = {report.path: report for report in self.pool.map(tasks)}
        return [again.get(report.path, report) for report in reports]

    def _probe_again(
        self, planned: PlannedBatch, files: Sequence[BatchFile], schema: SchemaVersion
    ) -> list[FileReport]:
        paths = {file.path for file in files}
        again = [file for file in planned.files if file.path in paths]
        spool = spool_of(self.settings, self.pipeline.name, planned.batch)
        refuse = self.ingest.refuses_unknown
        return self.pool.map(
            probe_tasks(
                self.settings, self.ingest, again, _spec(schema), spool, refuse_unknown=refuse, schema=_json(schema)
            )
        )

    def _batch_file(self, file: FileVersion, report: FileReport) -> BatchFile:
        if self.ingest.options.format == "csv":
            report = replace(report, shape=distinct_names(report.shape))
        return BatchFile(file.path, file.version, planned_file(self.settings, file), report)

    def _isolated(self, work: Work, attempt: Attempt, schema: StructType | None) -> tuple[Work, Attempt]:
        isolation = Isolation(self.spark, self.ingest, schema, self.attempts)
        attempt, unreadable = isolation.check(work.planned.batch, attempt, work.readable)
        for path, reason in unreadable.items():
            work = work.without(path, reason)
        return work, attempt

    # ---- the commits

    def _commit(self, work: Work, attempt: Attempt) -> Attempt:
        """Quarantine first, target last; what Spark finds on the way is left out and the two are written again."""
        for turn in range(len(work.planned.files) + 3):
            work = under_policy(work, self.ingest.on_error)
            attempt = replace(attempt, schema_version=work.schema.number, files=decisions(work))
            self.attempts.write(work.planned.batch, attempt)
            self._quarantine(work)
            try:
                self.target.write(work)
            except (Py4JJavaError, PySparkException) as error:
                if turn > NAMED_BY_SPARK and not attempt.isolate:
                    raise  # there are more: they are looked for all at once
                work = self._without_cause(work, error)
            else:
                return attempt
        raise Defect(f"Batch {work.planned.batch} failed once for each of its files and once more.")

    def _quarantine(self, work: Work) -> None:
        name, planned = self.pipeline.name, work.planned
        write_refusals(self.settings, name, planned.batch, refusals(work), self.run_id, planned.planned_at)

    # ---- what Spark finds that the probe did not

    def _without_cause(self, work: Work, error: Exception) -> Work:
        """The work without what made Spark fail.

        Raises:
            TableLocked, or the error itself where no file is its cause.
        """
        text = str(error)
        if says_misfit(text) and not work.tried:
            return self._with_misfits(work)
        if any(mark in text for mark in LOST_RACE):
            raise TableLocked(
                f"Another process committed to {self.ingest.table} as {self.pipeline.name}.", remedy="Run again."
            ) from error
        if found := UNREADABLE.search(text):
            names = dict(zip(spark_names(self.spark, work.readable), work.readable, strict=True))
            if file := names.get(re.sub("^file:/+", "file:///", found["file"])):
                log.warning("%s cannot be read: %s", file.path, root_cause(text))
                return work.without(file.path, f"Spark cannot read it: {root_cause(text)}")
        raise error

    def _with_misfits(self, work: Work) -> Work:
        log.info("batch %d: some records do not fit the schema; looking for them", work.planned.batch)
        by_name = dict(zip(spark_names(self.spark, work.full), work.full, strict=True))
        with exact_names(self.spark):
            names = [
                name
                for frame, schema in self._in_parts(work, work.full)
                for name in files_with_misfits(frame, schema, self.ingest)
            ]
        if self.evolution.widens and not work.widened:
            return replace(self.evolution.widened(work, [by_name[name] for name in names]), widened=True)
        paths = {by_name[name].path for name in names}
        work = work.doubting(paths) if self.ingest.rescued_column is None else work.rescuing(paths)
        # No file, where Spark tried a refused line before it was taken out.
        files = [file for file in work.full if file.rescue or file.doubt]
        with exact_names(self.spark):
            misfits = [
                misfit
                for frame, schema in self._in_parts(work, files)
                for misfit in find_misfits(frame, by_name, schema, self.ingest)
            ]
        self._refuse_failed(misfits)
        return replace(work, misfits=misfits, tried=True)

    def _in_parts(self, work: Work, files: Sequence[BatchFile]) -> Iterator[tuple[DataFrame, StructType]]:
        """The records of the files, a few shapes of files at a time, each part with the columns that it needs."""
        whole = work.schema.schema
        for part in by_few_shapes(files):
            schema = whole if self.ingest.checks else own_columns(self.ingest, whole, part)
            yield read_files(self.spark, self.ingest, schema, part), schema

    def _refuse_failed(self, misfits: Sequence[Refusal]) -> None:
        """Stop where a check with the action `fail` failed."""
        for check in self.ingest.checks:
            failed = [refusal for refusal in misfits if refusal.reason == reason_of(check)]
            if check.action == "fail" and failed:
                raise DataRefused(
                    f"check {check.name}: {len(failed)} records are not {check.expr}; first in {failed[0].path}.",
                    remedy="Mend the files, or set the check's action to quarantine.",
                    check=check.name,
                    path=failed[0].path,
                )


def _spec(version: SchemaVersion) -> Spec | None:
    return spec_of(_json(version))


def _json(version: SchemaVersion) -> JsonType:
    return json.loads(version.schema.json())


def _report(planned: PlannedBatch, outcomes: Sequence[FileOutcome], seconds: float) -> None:
    loaded = sum(outcome.rows_loaded for outcome in outcomes)
    refused = sum(outcome.rows_quarantined for outcome in outcomes)
    broken = sum(outcome.status == "quarantined" for outcome in outcomes)
    log.info(
        "batch %d: %d files, %.1f MB, %d rows loaded, %d records and %d files quarantined, %.1f s",
        planned.batch, len(planned.files), planned.size / 1e6, loaded, refused, broken, seconds,
    )  # fmt: skip
