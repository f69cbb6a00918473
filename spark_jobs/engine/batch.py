"""One planned micro-batch: probe, decide, quarantine, commit, account.

A batch is done when the target's commit with `txnVersion` = batch is in; everything before it may be repeated,
everything after it can be rebuilt. Killed at any point, the next run does the same batch again with the same files
under the same schema:

| killed after | left behind | on the next run |
|---|---|---|
| the attempt's document | a note that an attempt began | after three without an end, its files are read one by one |
| the quarantine's commit | rows of a batch that is not done: no report shows them | this attempt's replace them |
| the target's commit | no outcomes | discovery counts them from the tables |
| the outcomes | the document, a checkpoint one batch behind | the batch is passed over by its number |
"""

import json
import logging
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa
from py4j.protocol import Py4JJavaError
from pyspark.errors import AnalysisException, PySparkException
from pyspark.sql import DataFrame, Observation, SparkSession
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import StructType

from include.config.errors import ConfigError, DataRefused, Defect, TableLocked
from include.config.pipeline import Ingest, Pipeline
from include.config.settings import Settings, spark_uri
from include.ledger.accounting import account, refuse_unaccounted
from include.ledger.attempts import Attempt, AttemptStore, Decision
from include.ledger.outcomes import BATCH, INGESTED_AT, SOURCE_FILE, SOURCE_VERSION, FileOutcome
from include.ledger.quarantine import Refusal, write_refusals
from include.ledger.target import app_id
from include.ledger.versions import FileVersion, PlannedBatch
from include.probe.ahead import Ahead
from include.probe.probe import FileReport
from include.probe.records import spec_of
from include.probe.tasks import planned_file, probe_tasks
from include.probe.workers import ProbePool
from spark_jobs.engine import checks
from spark_jobs.engine.isolation import Isolation
from spark_jobs.engine.misfits import find_misfits, is_misfit, reason_of
from spark_jobs.engine.readers import (
    FILE,
    BatchFile,
    common_prefix,
    drift,
    infer_schema,
    quoted,
    read_files,
    refuse_parquet_drift,
    spark_names,
)
from spark_jobs.engine.schemas import SchemaStore, SchemaVersion, evolved, parse_ddl, refuse_bad_names, with_hints
from spark_jobs.engine.watchdog import Watchdog

log = logging.getLogger(__name__)

MISFIT = "SLUICE_MISFIT"
ORIGIN = "__sluice_origin"
UNREADABLE = re.compile(r"FAILED_READ_FILE[.\w]*\].*? file (?P<file>\S.*?)\.  ?SQLSTATE", re.DOTALL)
LOST_RACE = ("ConcurrentTransactionException", "DELTA_CONCURRENT_TRANSACTION")


@dataclass(frozen=True)
class Work:
    """A batch between its plan and its commit: what is read, what is left out and why, which records do not fit."""

    planned: PlannedBatch
    schema: SchemaVersion
    readable: Sequence[BatchFile]
    left_out: Mapping[str, FileReport]
    misfits: Sequence[Refusal] = ()
    tried: bool = False  # Spark has looked for misfits: they are filtered, no longer an error

    def without(self, path: str, reason: str) -> "Work":
        """The same work, one file less."""
        out = next(file for file in self.readable if file.path == path)
        report = replace(out.report, verdict="broken", reason=reason)
        return replace(
            self,
            readable=[file for file in self.readable if file.path != path],
            left_out={**self.left_out, path: report},
            misfits=[refusal for refusal in self.misfits if refusal.path != path],
        )

    def refused_records(self) -> int:
        """How many records of readable files are refused."""
        return len(self.misfits) + sum(len(file.report.bad) for file in self.readable)


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
    outcomes: list[FileOutcome] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.attempts = AttemptStore(self.settings, self.pipeline.name)
        self.schemas = SchemaStore(self.settings, self.pipeline.name)

    def load(self, planned: PlannedBatch) -> list[FileOutcome]:
        """Bring one batch to its commit and account for it.

        Raises:
            DataRefused: the pipeline's rules stop it; nothing of the batch is in the target.
            TableLocked: another process committed to the target as this pipeline.
        """
        started = time.monotonic()
        attempt = self.attempts.begin(planned.batch)
        with Watchdog(self.spark, lambda seconds: self.attempts.note_hang(planned.batch, seconds)):
            attempt = self._reach_commit(planned, attempt)
        outcomes = account(self.settings, self.pipeline, planned, attempt, self.run_id)
        self.outcomes.extend(outcomes)
        _report(planned, outcomes, time.monotonic() - started)
        refuse_unaccounted(outcomes)
        return outcomes

    def _reach_commit(self, planned: PlannedBatch, attempt: Attempt) -> Attempt:
        """Look, decide, commit; from the look again where a file vanished after it, which then sees that it is gone."""
        for _ in planned.files:
            try:
                return self._look_and_commit(planned, attempt)
            except AnalysisException as error:
                if error.getCondition() != "PATH_NOT_FOUND":
                    raise
                log.warning("batch %d: a file vanished while it was loaded; looking again", planned.batch)
        return self._look_and_commit(planned, attempt)

    def _look_and_commit(self, planned: PlannedBatch, attempt: Attempt) -> Attempt:
        work, attempt = self._prepare(planned, attempt)
        attempt = replace(attempt, schema_version=work.schema.number)
        if attempt.isolate:
            work, attempt = self._isolated(work, attempt, work.schema.schema)
        self._refuse_drift(work)
        return self._commit(work, attempt)

    # ---- before the first write

    def _prepare(self, planned: PlannedBatch, attempt: Attempt) -> tuple[Work, Attempt]:
        """The work under its schema. The first schema is inferred by Spark, which a file can hang as well."""
        known = self._known_schema()
        reports = self._probe(planned, known)
        files = [self._batch_file(file, report) for file, report in zip(planned.files, reports, strict=True)]
        readable = [file for file in files if file.report.verdict == "ok"]
        left_out = {file.path: file.report for file in files if file.report.verdict != "ok"}
        work = Work(planned, known or self.schemas.get(0), readable, left_out)
        for path, reason in attempt.excluded.items():
            if path not in work.left_out:
                work = work.without(path, reason)
        if known is None:
            if attempt.isolate:
                work, attempt = self._isolated(work, attempt, None)
            work = replace(work, schema=self._first_schema(work.readable))
        return work, attempt

    def _known_schema(self) -> SchemaVersion | None:
        latest = self.schemas.latest()
        if latest is not None:
            return evolved(self.spark, self.schemas, latest, self.ingest)
        if self.ingest.schema_ddl is None:
            return None
        declared = parse_ddl(self.spark, self.ingest.schema_ddl, "ingest.schema")
        return self.schemas.add(1, with_hints(self.spark, declared, self.ingest), "declared", [])

    def _first_schema(self, readable: Sequence[BatchFile]) -> SchemaVersion:
        full = [file for file in readable if file.report.records != 0]
        if not full:
            return self.schemas.get(0)
        inferred = with_hints(self.spark, infer_schema(self.spark, self.ingest, full), self.ingest)
        if not inferred.names:
            raise ConfigError(
                f"No column could be inferred from {full[0].path} and {len(full) - 1} more files.",
                remedy="Declare the columns: ingest.schema.",
            )
        refuse_bad_names(inferred, full[0].path)
        return self.schemas.add(1, inferred, "inferred", [file.path for file in full])

    def _probe(self, planned: PlannedBatch, known: SchemaVersion | None) -> list[FileReport]:
        spec = spec_of(json.loads(known.schema.json())) if known else None
        reports = self.ahead.take(planned.batch, spec) if self.ahead else None
        return reports or self.pool.map(probe_tasks(self.settings, self.ingest, planned.files, spec))

    def _batch_file(self, file: FileVersion, report: FileReport) -> BatchFile:
        if report.verdict == "ok" and self.ingest.options.format == "csv" and (wrong := _wrong_header(report.shape)):
            report = replace(report, verdict="broken", reason=wrong)
        return BatchFile(file.path, file.version, planned_file(self.settings, file), report)

    def _refuse_drift(self, work: Work) -> None:
        names = set(work.schema.schema.names)
        for file in work.readable:
            for key, record in file.report.unknown.items():
                raise drift(file.path, key, record, f"{key} string")
            if self.ingest.options.format == "csv":
                for name in file.report.shape:
                    if name not in names:
                        raise drift(file.path, name, None, f"{name} string")
        if self.ingest.options.format == "parquet":
            refuse_parquet_drift(self.spark, work.schema.schema, work.readable)

    def _isolated(self, work: Work, attempt: Attempt, schema: StructType | None) -> tuple[Work, Attempt]:
        isolation = Isolation(self.spark, self.ingest, schema, self.attempts)
        attempt, unreadable = isolation.check(work.planned.batch, attempt, work.readable)
        for path, reason in unreadable.items():
            work = work.without(path, reason)
        return work, attempt

    # ---- the commits

    def _commit(self, work: Work, attempt: Attempt) -> Attempt:
        """Quarantine first, target last; what Spark finds on the way is left out and the two are written again."""
        for _ in range(len(work.planned.files) + 2):
            work = self._under_policy(work)
            attempt = replace(attempt, files=_decisions(work))
            self.attempts.write(work.planned.batch, attempt)
            planned_at = work.planned.planned_at
            refusals = _refusals(work)
            write_refusals(self.settings, self.pipeline.name, work.planned.batch, refusals, self.run_id, planned_at)
            try:
                self._write_target(work)
            except (Py4JJavaError, PySparkException) as error:
                work = self._without_cause(work, error)
            else:
                return attempt
        raise Defect(f"Batch {work.planned.batch} failed once for each of its files and once more.")

    def _under_policy(self, work: Work) -> Work:
        """Apply `on_error`: refuse the batch, or leave out each file that has a refused record."""
        rule = self.ingest.on_error
        refused = work.refused_records()
        broken = [report for report in work.left_out.values() if report.verdict == "broken"]
        if rule.policy == "abort" and (refused or broken):
            raise self._refusal(work, "on_error: abort")
        if rule.max_records is not None and refused > rule.max_records:
            raise self._refusal(work, f"the budget of {rule.max_records} records")
        if rule.max_ratio is not None and refused > rule.max_ratio * _records(work):
            raise self._refusal(work, f"the budget of {rule.max_ratio:.2%} of {_records(work)} records")
        if rule.policy == "skip_file":
            for path, reason in _first_refusals(work).items():
                work = work.without(path, f"skip_file: {reason}")
        return work

    def _refusal(self, work: Work, rule: str) -> DataRefused:
        reasons = {**{path: report.reason for path, report in work.left_out.items()}, **_first_refusals(work)}
        path, reason = next(iter(reasons.items()))
        return DataRefused(
            f"{rule}: {work.refused_records()} records of {len(reasons)} files do not fit; first: {path}, {reason}. "
            f"Nothing of batch {work.planned.batch} was loaded.",
            remedy="Mend the files, or set on_error: quarantine to load the rest.",
            path=path,
        )

    def _write_target(self, work: Work) -> None:
        batch = work.planned.batch
        note = {"pipeline": self.pipeline.name, "batch": batch, "run_id": self.run_id}
        writer = (
            self._target_frame(work)
            .write.format("delta")
            .option("txnAppId", app_id(self.pipeline.name))
            .option("txnVersion", batch)
            .option("userMetadata", json.dumps(note))
            .option("mergeSchema", "true")
        )
        if replaced := self._replaced_rows(work):
            # One commit: the rows of the older versions go and those of the new one come.
            writer = writer.mode("overwrite").option("replaceWhere", replaced)
        else:
            writer = writer.mode("append")
        log.info("batch %d: committing to %s", batch, self.ingest.table)
        writer.save(spark_uri(self.settings.table_root(self.ingest.table)))
        if any(file.report.records != 0 for file in work.readable):
            self._warn(batch)

    def _replaced_rows(self, work: Work) -> str:
        """The rows that go, as SQL; "" for none. A new version that cannot be read leaves the older rows standing."""
        planned = {file.path: file for file in work.planned.files}
        paths: dict[int, list[str]] = {}
        for file in work.readable:
            if (first := planned[file.path].replaces) is not None:
                paths.setdefault(first, []).append(_sql_literal(file.path))
        return " OR ".join(
            f"({SOURCE_FILE} IN ({', '.join(literals)}) AND {SOURCE_VERSION} >= {first})"
            for first, literals in paths.items()
        )

    def _target_frame(self, work: Work) -> DataFrame:
        """The rows of the commit: the schema's columns, then where each row is from."""
        columns = [quoted(name) for name in work.schema.schema.names]
        origin = [SOURCE_FILE, SOURCE_VERSION]
        full = [file for file in work.readable if file.report.records != 0]
        if full:
            records = self._with_origin(self._counted(self._fitting(work, full)), full)
        else:
            empty = [F.lit(None).cast(field.dataType).alias(field.name) for field in work.schema.schema]
            records = self.spark.range(0).select(*empty).withColumns({SOURCE_FILE: F.lit(""), SOURCE_VERSION: F.lit(1)})
        planned_at = F.timestamp_micros(F.lit(work.planned.planned_at))
        return records.select(
            *columns, *origin, planned_at.alias(INGESTED_AT), F.lit(work.planned.batch).cast("bigint").alias(BATCH)
        )

    def _fitting(self, work: Work, files: Sequence[BatchFile]) -> DataFrame:
        frame = read_files(self.spark, self.ingest, work.schema.schema, files)
        misfit = is_misfit(self.ingest)
        if work.tried:
            return frame.where(~misfit)
        checks.refuse_unusable(frame, self.ingest.checks)
        # Clean data, which is nearly all data, is read once: a record that does not fit fails the job, and only then
        # are the records looked at one by one.
        stop = F.raise_error(F.lit(MISFIT)).cast("boolean")
        return frame.where(F.when(misfit, stop).otherwise(F.lit(True)))

    def _counted(self, frame: DataFrame) -> DataFrame:
        """The same records, counted on their way by the `warn` checks."""
        self._warnings = Observation()
        counts = checks.counts(self.ingest.checks)
        return frame.observe(self._warnings, *counts) if counts else frame

    def _warn(self, batch: int) -> None:
        """Say how many records the `warn` checks let pass; asked after the commit."""
        if not checks.counts(self.ingest.checks):
            return
        for name, count in self._warnings.get.items():
            if count:
                log.warning("batch %d: check %s: %d records fail it and were loaded (action: warn)", batch, name, count)

    def _with_origin(self, frame: DataFrame, files: Sequence[BatchFile]) -> DataFrame:
        """The same records with the ledger's name and version of their file."""
        names = spark_names(self.spark, files)
        prefix = common_prefix(names, [file.path for file in files])
        if prefix is not None and len({file.version for file in files}) == 1:
            path = F.expr(f"substring({FILE}, {len(prefix) + 1})")
            return frame.withColumns({SOURCE_FILE: path, SOURCE_VERSION: F.lit(files[0].version)})
        # An Arrow table becomes a relation of the plan itself; rows of Python would start a Python worker (a second).
        columns = {
            ORIGIN: pa.array(names),
            SOURCE_FILE: pa.array([file.path for file in files]),
            SOURCE_VERSION: pa.array([file.version for file in files], pa.int32()),
        }
        origin = self.spark.createDataFrame(pa.table(columns))
        joined = frame.join(F.broadcast(origin), F.col(FILE) == F.col(ORIGIN), how="left")
        unnamed = F.raise_error(F.concat(F.lit("no planned file is named "), F.col(FILE)))
        return joined.withColumn(SOURCE_FILE, F.coalesce(F.col(SOURCE_FILE), unnamed))

    # ---- what Spark finds that the probe did not

    def _without_cause(self, work: Work, error: Exception) -> Work:
        """The work without what made Spark fail.

        Raises:
            TableLocked, or the error itself where no file is its cause.
        """
        text = str(error)
        if MISFIT in text and not work.tried:
            return self._with_misfits(work)
        if any(mark in text for mark in LOST_RACE):
            raise TableLocked(
                f"Another process committed to {self.ingest.table} as {self.pipeline.name}.", remedy="Run again."
            ) from error
        if found := UNREADABLE.search(text):
            names = dict(zip(spark_names(self.spark, work.readable), work.readable, strict=True))
            # The message says file:///x where _metadata.file_path says file:/x.
            if file := names.get(re.sub("^file:/+", "file:/", found["file"])):
                log.warning("%s cannot be read: %s", file.path, _root_cause(text))
                return work.without(file.path, f"Spark cannot read it: {_root_cause(text)}")
        raise error

    def _with_misfits(self, work: Work) -> Work:
        log.info("batch %d: some records do not fit the schema; looking for them", work.planned.batch)
        full = [file for file in work.readable if file.report.records != 0]
        frame = read_files(self.spark, self.ingest, work.schema.schema, full)
        by_name = dict(zip(spark_names(self.spark, full), full, strict=True))
        misfits = find_misfits(frame, by_name, work.schema.schema, self.ingest)
        self._refuse_failed(misfits)
        return replace(work, misfits=misfits, tried=True)

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


def _wrong_header(header: Sequence[str]) -> str:
    if "" in header:
        return f"the header has no name for column {list(header).index('') + 1}"
    twice = sorted({name for name in header if list(header).count(name) > 1})
    return f"the header names {', '.join(map(repr, twice))} more than once" if twice else ""


def _decisions(work: Work) -> dict[str, Decision]:
    read = {file.path: Decision("load", file.report.records) for file in work.readable}
    out = {
        path: Decision("superseded" if report.verdict == "superseded" else "quarantine", report.records)
        for path, report in work.left_out.items()
    }
    return {**read, **out}


def _refusals(work: Work) -> list[Refusal]:
    versions = {file.path: file.version for file in work.planned.files}
    whole = [
        Refusal(path, versions[path], report.reason, records=report.records or 0)
        for path, report in work.left_out.items()
        if report.verdict == "broken"
    ]
    single = [
        Refusal(file.path, file.version, bad.reason, bad.record, bad.raw.decode("utf-8", "backslashreplace"))
        for file in work.readable
        for bad in file.report.bad
    ]
    return [*whole, *single, *work.misfits]


def _first_refusals(work: Work) -> dict[str, str]:
    """For each readable file with refused records: where the first is, and why."""
    first = {
        file.path: (file.report.bad[0].record, file.report.bad[0].reason) for file in work.readable if file.report.bad
    }
    for refusal in work.misfits:
        first.setdefault(refusal.path, (refusal.record or 0, refusal.reason))
    return {path: f"line {record}: {reason}" for path, (record, reason) in first.items()}


def _records(work: Work) -> int:
    return sum(file.report.records or 0 for file in work.readable)


def _sql_literal(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _root_cause(text: str) -> str:
    causes = re.findall(r"^Caused by: (?:[\w.$]+\.)?(\w+: .*)$", text, re.MULTILINE)
    return (causes[-1] if causes else text.strip().splitlines()[0])[:300]


def _report(planned: PlannedBatch, outcomes: Sequence[FileOutcome], seconds: float) -> None:
    loaded = sum(outcome.rows_loaded for outcome in outcomes)
    refused = sum(outcome.rows_quarantined for outcome in outcomes)
    broken = sum(outcome.status == "quarantined" for outcome in outcomes)
    log.info(
        "batch %d: %d files, %.1f MB, %d rows loaded, %d records and %d files quarantined, %.1f s",
        planned.batch, len(planned.files), planned.size / 1e6, loaded, refused, broken, seconds,
    )  # fmt: skip
