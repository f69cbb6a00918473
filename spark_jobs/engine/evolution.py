"""The schema version under which a batch is written, decided and stored before the batch's first write.

The decision depends on the batch's files, the versions so far and the pipeline file alone. A version that a killed
attempt has stored is the newest one at the next attempt, which then finds nothing to add and writes the same rows.

| evolution mode | a column or key that the schema lacks | a value of another type |
|---|---|---|
| addNewColumns | becomes a column, in this run | rescued |
| addNewColumnsWithTypeWidening | becomes a column, in this run | widens the column if Delta can, else rescued |
| rescue | rescued | rescued |
| failOnNewColumns | stops the load, exit 65 | rescued |
| none | rescued if `rescuedDataColumn` is written, else quarantined | rescued if it is written, else quarantined |

A declared schema has no rescue column unless `rescuedDataColumn` is written or the mode is rescue: then what would be
rescued is quarantined (the record; of Parquet the file). A key that differs by case only is never a new column.
"""

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pyspark.sql import SparkSession
from pyspark.sql.types import StructField, StructType

from include.config.errors import SchemaDrift
from include.config.pipeline import Ingest
from include.config.settings import Settings
from include.ledger.tables import open_table
from include.ledger.versions import PlannedBatch
from include.probe.probe import FileReport
from spark_jobs.engine.batch_files import BatchFile, holds_its_schema
from spark_jobs.engine.exact_xml import exactly_xml
from spark_jobs.engine.fitting import fit_columns
from spark_jobs.engine.growth import changes, extended, keep, missing, placed
from spark_jobs.engine.inference import infer_schema, schema_groups
from spark_jobs.engine.names import is_partition
from spark_jobs.engine.partitions import partition_fields
from spark_jobs.engine.readers import read_files
from spark_jobs.engine.schemas import (
    SchemaStore,
    SchemaVersion,
    as_the_pipeline_says,
    declared,
    named_for_table,
    partition_types,
    with_hints,
)
from spark_jobs.engine.widening import WIDENING, widened, widened_for_texts
from spark_jobs.engine.work import Work

log = logging.getLogger(__name__)

ADDING = ("addNewColumns", WIDENING)


@dataclass(frozen=True)
class Drift:
    """A column that the schema lacks, where it was first seen: the file, and its line where the format has lines."""

    path: str
    column: str
    record: int | None = None


@dataclass(frozen=True)
class Evolution:
    """Decides on the schema versions of one pipeline."""

    spark: SparkSession
    ingest: Ingest
    settings: Settings
    store: SchemaStore
    probe: Callable[[PlannedBatch, Sequence[BatchFile], SchemaVersion], list[FileReport]]

    def known(self) -> SchemaVersion | None:
        """The version that a batch begins with; None before a file could be read, if none is declared.

        Raises:
            SchemaDrift: the pipeline file contradicts the table.
        """
        latest = self.store.latest()
        if latest is not None:
            return as_the_pipeline_says(self.spark, self.store, latest, self.ingest)
        if self.ingest.schema_ddl is None:
            return None
        nothing = self.store.get(0)
        columns = with_hints(self.spark, declared(self.spark, self.ingest), self.ingest)
        return self.store.add(nothing, named_for_table(columns, nothing, self.ingest), "declared")

    def begin(self, work: Work) -> Work:
        """The work under the first version, inferred from its files.

        Files without a column (all of their records are refused, or `{}`) make no version: it is left to the next ones.

        Raises:
            SchemaDrift: they have what the hints leave no place for, and the mode is failOnNewColumns.
        """
        if not work.full:
            return work
        sample = self._sample(work.full)
        seen = infer_schema(self.spark, self.ingest, sample)
        if not seen.names and len(sample) < len(work.full):
            sample = work.full
            seen = infer_schema(self.spark, self.ingest, sample)
        hinted = with_hints(self.spark, extended(StructType([]), seen), self.ingest)
        source = extended(hinted, seen)
        if not source.names:
            log.warning("batch %d: its files show no column yet", work.planned.batch)
            return work
        schema = named_for_table(source, work.schema, self.ingest)
        schema = self._as_in_table(StructType([*schema, *self._new_partitions(work)]), work.schema)
        paths = [file.path for file in sample]
        work = replace(work, schema=self.store.add(work.schema, schema, "inferred", paths, work.planned.batch))
        suspect = [file for file in sample if file.report.unknown]
        work = self._looked_again(work, sample if missing(seen, work.schema.source) else suspect)
        return self._compared(work, [file for file in work.full if file.path not in set(paths)])

    def _sample(self, files: Sequence[BatchFile]) -> Sequence[BatchFile]:
        """The files, in the plan's order, that the first schema is inferred from."""
        options, size = self.ingest.options, 0
        for number, file in enumerate(files, 1):
            size += file.planned.size
            enough = options.sample_bytes is not None and size >= options.sample_bytes
            if enough or number == options.sample_files:
                return files[:number]
        return files

    def settle(self, work: Work) -> Work:
        """The work under the version that it is written with, its files marked where something is to be rescued.

        Raises:
            SchemaDrift: a file has a column that the schema lacks, and the evolution mode does not say what to do.
        """
        if work.full and (more := self._new_partitions(work)):
            schema = self._as_in_table(StructType([*work.schema.schema, *more]), work.schema)
            paths = [file.path for file in work.full]
            version = self.store.add(work.schema, schema, "partition columns", paths, work.planned.batch)
            work = replace(work, schema=version)
        drifts = {drift.path: drift for drift in self._drifts(work)}
        if drifts:
            strange = [file for file in work.full if file.path in drifts]
            work = self._grown(work, strange) if self._adds else self._rescuing(work, drifts)
        return self._without_misfits(work)

    @property
    def _adds(self) -> bool:
        return self.ingest.options.schema_evolution_mode in ADDING

    @property
    def widens(self) -> bool:
        """True where a value of another type may widen its column."""
        return self.ingest.options.schema_evolution_mode == WIDENING

    def widened(self, work: Work, files: Sequence[BatchFile]) -> Work:
        """The work under a version with wider types for what does not fit of text files; the same where none helps."""
        texts = [replace(file, rescue=True) for file in files if not holds_its_schema(self.ingest, file)]
        if not self.widens or not texts:
            return work
        options, source = self.ingest.options, work.schema.source
        xml = exactly_xml(dict(options.reader)) if options.format == "xml" else None
        records = read_files(self.spark, self.ingest, work.schema.schema, texts)
        for path, wider in widened_for_texts(records, source, xml).items():
            source = placed(source, path, wider)
        schema = named_for_table(source, work.schema, self.ingest)
        return self._under(work, schema, "wider types", files)

    def _grown(self, work: Work, strange: Sequence[BatchFile]) -> Work:
        grown = extended(work.schema.source, infer_schema(self.spark, self.ingest, strange))
        typed = [file for file in strange if holds_its_schema(self.ingest, file)]
        for seen, _ in schema_groups(self.spark, self.ingest, typed) if self.widens else ():
            grown = extended(grown, seen, widened)
        schema = self._as_in_table(named_for_table(grown, work.schema, self.ingest), work.schema)
        return self._looked_again(self._under(work, schema, "new columns", strange), strange)

    def _under(self, work: Work, schema: StructType, origin: str, files: Sequence[BatchFile]) -> Work:
        """The work under the next version, where `schema` differs from the one that it has."""
        found = changes(work.schema.schema, schema)
        if not found:
            return work
        paths = [file.path for file in files]
        version = self.store.add(work.schema, schema, origin, paths, work.planned.batch)
        log.info(
            "batch %d: schema version %d: %s", work.planned.batch, version.number,
            ", ".join(f"{change['column']} {change['type']} {change['change']}" for change in found),
        )  # fmt: skip
        return replace(work, schema=version)

    def _looked_again(self, work: Work, files: Sequence[BatchFile]) -> Work:
        """The work with those of `files` marked for rescue that still have keys without a column.

        They differ from a column by case only, or are empty or hold empty objects, for which nothing is inferred.
        """
        if self.ingest.options.format not in ("json", "xml") or not files:
            return work  # the readers of the other formats see by the file's own columns what is left over
        work, paths = self._compared(work, files), {file.path for file in files}
        return self._rescuing(work, {drift.path: drift for drift in self._drifts(work) if drift.path in paths})

    def _compared(self, work: Work, files: Sequence[BatchFile]) -> Work:
        """The work after another look at JSON files, whose keys are now compared with the schema's."""
        if self.ingest.options.format != "json" or not files:
            return work
        reports = {report.path: report for report in self.probe(work.planned, files, work.schema)}
        looked = [replace(file, report=reports.get(file.path, file.report)) for file in work.readable]
        work = replace(work, readable=looked)
        for file in looked:
            if file.report.verdict != "ok":
                work = work.without(file.path, file.report.reason)
        return work

    def _new_partitions(self, work: Work) -> list[StructField]:
        """The partition columns that the schema does not have yet, typed by the paths of the batch."""
        options = self.ingest.options
        known = {field.name for field in work.schema.schema if is_partition(field)}
        new = [column for column in options.partition_columns if column not in known]
        if not new:
            return []
        types = partition_types(self.spark, self.ingest)
        return partition_fields(new, [file.path for file in work.full], types, infer=options.infer_column_types)

    def _rescuing(self, work: Work, drifts: Mapping[str, Drift]) -> Work:
        if not drifts:
            return work
        if self.ingest.options.schema_evolution_mode == "failOnNewColumns":
            raise stopped(next(iter(drifts.values())), self.ingest)
        if self.ingest.rescued_column is not None:
            return work.rescuing(drifts.keys())
        for drift in drifts.values():
            work = work.without(drift.path, f"column {drift.column!r} is not in the schema")
        return work

    def _as_in_table(self, schema: StructType, current: SchemaVersion) -> StructType:
        """New columns that the table has already (from another pipeline, or before a rollback) have its type."""
        table = open_table(self.settings.table_root(self.ingest.table))
        if table is None:
            return schema
        there = {f.name.lower(): f.dataType for f in StructType.fromJson(json.loads(table.schema().to_json()))}
        known = set(current.schema.names)
        return StructType(
            [
                field
                if field.name in known
                else StructField(field.name, there.get(field.name.lower(), field.dataType), metadata=field.metadata)
                for field in schema
            ]
        )

    # ---- what the files have that the schema lacks

    def _drifts(self, work: Work) -> Iterator[Drift]:
        names = set(work.schema.source.names)
        for file in work.full:
            for key, record in file.report.unknown.items():
                yield Drift(file.path, key, record)
            if self.ingest.options.format == "csv":
                yield from (Drift(file.path, name) for name in file.report.shape if name not in names)
        if self.ingest.options.format == "xml" and work.full:  # nothing less than reading them tells
            yield from self._drifts_of_xml(work.full, work.schema.source)
        typed = [file for file in work.full if holds_its_schema(self.ingest, file)]
        for seen, files in schema_groups(self.spark, self.ingest, typed):
            wider = changes(work.schema.source, extended(work.schema.source, seen, widened if self.widens else keep))
            for column in dict.fromkeys([*missing(seen, work.schema.source), *(change["column"] for change in wider)]):
                yield from (Drift(file.path, column) for file in files)

    def _drifts_of_xml(self, files: Sequence[BatchFile], known: StructType) -> Iterator[Drift]:
        """All files at once, and in halves where they have drifts: most have none."""
        found = missing(infer_schema(self.spark, self.ingest, files), known)
        if found and len(files) > 1:
            for half in (files[: len(files) // 2], files[len(files) // 2 :]):
                yield from self._drifts_of_xml(half, known)
        else:
            yield from (Drift(files[0].path, column) for column in found)

    def _without_misfits(self, work: Work) -> Work:
        """Without the Parquet files (and the like) that have a column of another type, where nothing can be rescued."""
        if self.ingest.rescued_column is not None:
            return work
        source = work.schema.source
        typed = [file for file in work.full if holds_its_schema(self.ingest, file)]
        for seen, files in schema_groups(self.spark, self.ingest, typed):
            wrong = [name for name, part in fit_columns(seen, source).items() if part.left is not None]
            if not wrong:
                continue
            is_type, wanted = (schema[wrong[0]].dataType.simpleString() for schema in (seen, source))
            for file in files:
                work = work.without(file.path, f"column {wrong[0]!r} is {is_type}, the schema has {wanted}")
        return work


def stopped(drift: Drift, ingest: Ingest) -> SchemaDrift:
    """The error for a column that the schema lacks."""
    where = drift.path if drift.record is None else f"{drift.path}, line {drift.record}"
    hint = (
        "Add it to ingest.schema"
        if ingest.schema_ddl
        else f'Say what it is, options: cloudFiles.schemaHints: "{drift.column} string"'
    )
    return SchemaDrift(
        f"{where}: {drift.column!r} is not in the schema. Nothing of this batch was loaded.",
        remedy=f"{hint}; or have it rescued: cloudFiles.schemaEvolutionMode: rescue. Then run again.",
        path=drift.path,
        column=drift.column,
        record=drift.record,
    )
