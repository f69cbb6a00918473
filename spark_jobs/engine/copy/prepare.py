"""A statement's files up to the point of writing: looked at, read, shaped; what cannot be loaded is found and named.

The same for a load and for VALIDATE.
"""

import json
import logging
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from deltalake import DeltaTable
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import StructType

from include.config.settings import Settings
from include.copy_into import errors
from include.copy_into.errors import LoadRefused
from include.copy_into.statement import CopyInto
from include.ledger.attempts import Attempt, AttemptStore
from include.ledger.versions import PlannedBatch
from include.probe.plain_values import JsonType
from include.probe.records import spec_of
from include.probe.tasks import planned_file, probe_tasks
from include.probe.workers import ProbePool
from spark_jobs.engine.batch_files import BatchFile, spark_names
from spark_jobs.engine.copy.constraints import Constraints
from spark_jobs.engine.copy.matching import lacking
from spark_jobs.engine.copy.places import ROW, in_place, with_rows
from spark_jobs.engine.copy.shape import MISFIT_REASON, RECORD, Shaped, misfits, mismatch, shape
from spark_jobs.engine.copy.source import own_columns, source_schema
from spark_jobs.engine.copy.spark_errors import first_line, told
from spark_jobs.engine.frames import CORRUPT, exact_names
from spark_jobs.engine.isolation import Isolation
from spark_jobs.engine.misfits import files_with_misfits, find_misfits
from spark_jobs.engine.readers import read_files
from spark_jobs.engine.schemas import SchemaVersion
from spark_jobs.engine.work import Work, under_policy

log = logging.getLogger(__name__)

MISFIT = "SLUICE_MISFIT"
UNREADABLE = re.compile(r"FAILED_READ_FILE[.\w]*\].*? file (?P<file>\S.*?)\.  ?SQLSTATE", re.DOTALL)


def target_schema(table: DeltaTable | None) -> StructType | None:
    """The columns of the target; None where there is no table, or one without columns."""
    if table is None:
        return None
    schema = StructType.fromJson(json.loads(table.schema().to_json()))
    return schema if schema.names else None


@dataclass
class Preparation:
    """Brings one statement's files to rows of its target."""

    spark: SparkSession
    settings: Settings
    pool: ProbePool
    statement: CopyInto
    target: StructType | None
    constraints: Constraints = field(default_factory=Constraints)

    def __post_init__(self) -> None:
        # Clean copies of files that Spark cannot be given as they are; whoever prepares deletes them in the end.
        self.spool = self.settings.state_root(".copies", uuid.uuid4().hex)

    def look(self, planned: PlannedBatch, *, thorough: bool = False) -> Work:
        """The files as a probe finds them: readable ones, and those left out with the reason."""
        ingest = self.statement.ingest
        known = self._known()
        tasks = probe_tasks(
            self.settings, ingest, planned.files, spec_of(known), self.spool, thorough=thorough, schema=known
        )
        reports = self.pool.map(tasks)
        files = [
            BatchFile(file.path, file.version, planned_file(self.settings, file), report)
            for file, report in zip(planned.files, reports, strict=True)
        ]
        readable = [file for file in files if file.report.verdict == "ok"]
        left_out = {file.path: file.report for file in files if file.report.verdict != "ok"}
        work = Work(planned, SchemaVersion(0, StructType([])), readable, left_out)
        for path, reason in self._headers(readable):
            work = work.without(path, reason)
        return work

    def with_schema(self, work: Work) -> Work:
        """The work with the schema that its files are read with.

        Raises:
            LoadRefused: files and target do not fit.
        """
        if not work.full:
            return work
        schema = source_schema(self.spark, self.statement, work.full, self.target)
        self._refuse_unknown(work.full, schema)
        return self._looked_again(replace(work, schema=SchemaVersion(0, schema)))

    def _looked_again(self, work: Work) -> Work:
        """The work with those files marked that have keys which even the schema inferred from them has no place for:
        empty ones, or below a key that holds an object here and another value there.
        """
        suspect = {file.path for file in work.full if file.report.unknown}
        if not suspect or self.statement.select is not None or self.statement.ingest.options.format != "json":
            return work
        again = [file for file in work.planned.files if file.path in suspect]
        spec = spec_of(json.loads(work.schema.schema.json()))
        reports = self.pool.map(probe_tasks(self.settings, self.statement.ingest, again, spec, self.spool))
        return work.rescuing({report.path for report in reports if report.unknown})

    def isolated(self, work: Work, attempt: Attempt, attempts: AttemptStore, schema: StructType | None) -> Work:
        """The work without files that hang or end the reader, each read by itself."""
        isolation = Isolation(self.spark, self.statement.ingest, schema, attempts)
        attempt, unreadable = isolation.check(work.planned.batch, attempt, work.readable)
        for path, reason in {**attempt.excluded, **unreadable}.items():
            if path not in work.left_out:
                work = work.without(path, reason)
        return work

    def shaped(self, work: Work, read: DataFrame | None = None) -> Shaped:
        """The records of the work's files (or those `read` from them) in the target's columns, misfits among them."""
        frame = self._read(work) if read is None else read
        return shape(self.spark, self.statement, frame, work.schema.schema, work.full, self.target, self.constraints)

    def _read(self, work: Work) -> DataFrame:
        return read_files(self.spark, self.statement.ingest, work.schema.schema, work.full)

    def rows(self, work: Work, shaped: Shaped) -> DataFrame:
        """The rows to write: those that fit, once misfits were looked for; until then one that does not stops Spark."""
        if work.tried:
            return shaped.frame.where(~misfits())
        stop = F.raise_error(F.lit(MISFIT)).cast("boolean")
        return shaped.frame.where(F.when(misfits(), stop).otherwise(F.lit(True)))

    def with_misfits(self, work: Work) -> Work:
        """The work with every record that does not fit.

        Raises:
            LoadRefused: it is the one row that the SELECT makes of all records.
        """
        by_name = dict(zip(spark_names(self.spark, work.full), work.full, strict=True))
        schema, ingest = work.schema.schema, self.statement.ingest
        with exact_names(self.spark):
            names = files_with_misfits(self._read(work), schema, ingest)
        work = work.doubting({by_name[name].path for name in names})
        frame = with_rows(self._read(work))
        with exact_names(self.spark):
            unread = find_misfits(frame, by_name, schema, ingest)
        shaped = self.shaped(work, frame)
        uncast = F.col(CORRUPT).isNull() & F.col(MISFIT_REASON).isNotNull()
        if shaped.aggregated:
            self._refuse_aggregated(shaped.frame.where(uncast))
            return replace(work, misfits=unread, tried=True)
        refused = F.when(uncast, F.struct(ROW, MISFIT_REASON, RECORD))
        placed = in_place(self.spark, self.statement.ingest, shaped.frame, refused, work.full)
        return replace(work, misfits=[*unread, *placed], tried=True)

    def after_failure(self, work: Work, error: Exception) -> Work:
        """The work without what made Spark fail, the rule about it applied.

        Raises:
            LoadRefused, DataRefused: the statement's rules stop it, or the error is the statement's own.
            Exception: the error itself, where no file is its cause.
        """
        text = str(error)
        if MISFIT in text and not work.tried:
            log.info("some records do not fit the target; looking for them")
            return self.ruled(self.with_misfits(work))
        if found := UNREADABLE.search(text):
            names = dict(zip(spark_names(self.spark, work.readable), work.readable, strict=True))
            if file := names.get(re.sub("^file:/+", "file:///", found["file"])):
                log.warning("%s cannot be read", file.path)
                return self.ruled(work.without(file.path, f"Spark cannot read it: {first_line(text)}"))
        raise told(error) from error

    def ruled(self, work: Work) -> Work:
        """Apply the statement's rules about files and records that cannot be loaded.

        Raises:
            LoadRefused: a file cannot be read, and ignoreCorruptFiles is false.
            DataRefused: onError is abort, or its budget is spent.
        """
        broken = [path for path, report in work.left_out.items() if report.verdict == "broken"]
        if broken and not self.statement.options.skip_corrupt_files:
            raise LoadRefused(
                errors.UNREADABLE_FILE,
                f"{len(broken)} files cannot be read; first: {broken[0]}: {work.left_out[broken[0]].reason}. Nothing "
                "of the statement was loaded.",
                remedy="Mend or remove it, or load the others: FORMAT_OPTIONS ('ignoreCorruptFiles' = 'true').",
                path=broken[0],
                **self.statement.at("source"),
            )
        return under_policy(work, self.statement.options.on_error)

    def _refuse_aggregated(self, uncast: DataFrame) -> None:
        for row in uncast.select(MISFIT_REASON).collect():
            raise LoadRefused(
                errors.REFUSED_ROWS,
                f"The row that the SELECT makes of all records is none of the table's: {row[0]}. Nothing was loaded.",
                remedy="Correct the SELECT, or the table's columns and constraints.",
                **self.statement.at("select"),
            )

    # ---- what the probe is asked, and what it found

    def _known(self) -> JsonType:
        """The schema of the records in its JSON form, None where that is not known yet."""
        if self.target is None or self.statement.select is not None:
            return None
        return json.loads(own_columns(self.target).json())

    def _headers(self, files: Sequence[BatchFile]) -> list[tuple[str, str]]:
        if self.statement.ingest.options.format != "csv":
            return []
        found = []
        for file in files:
            header = file.report.shape
            if "" in header:
                found.append((file.path, f"the header has no name for column {header.index('') + 1}"))
            elif twice := sorted({name for name in header if header.count(name) > 1}):
                found.append((file.path, f"the header names {', '.join(map(repr, twice))} more than once"))
        return found

    def _refuse_unknown(self, files: Sequence[BatchFile], schema: StructType) -> None:
        """Refuse columns of the files that the table does not have, with the line where that is known."""
        if self.statement.options.merge_schema or self.target is None or self.statement.select is not None:
            return
        missing = set(lacking(self.target, schema))
        for file in files:
            for key, record in file.report.unknown.items():
                if key in missing:
                    raise mismatch(self.statement, [key], self.target, f"{file.path}, line {record},", file.path)
