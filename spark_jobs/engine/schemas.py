"""Numbered schema versions of a pipeline, as plain JSON in `state/<pipeline>/schemas/N.json`.

Version 1 is declared or inferred from the first files; a change of the pipeline file, or what new files show, makes the
next one. A version is written before the first row that has it, and never rewritten.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pyspark.errors import ParseException
from pyspark.sql import SparkSession
from pyspark.sql.types import DataType, StructType

from include.config.errors import ConfigError, SchemaDrift
from include.config.hints import Hint, parse_hints
from include.config.pipeline import Ingest
from include.config.settings import Settings
from include.ledger.outcomes import BATCH, INGESTED_AT, SOURCE_FILE, SOURCE_VERSION
from include.ledger.state_files import create_document, list_documents, read_document
from spark_jobs.engine.growth import changes, extended, placed
from spark_jobs.engine.names import is_partition, source_schema, table_schema
from spark_jobs.engine.widening import WIDENING, widened

RESERVED = (SOURCE_FILE, SOURCE_VERSION, INGESTED_AT, BATCH)
FILES_NAMED = 100


@dataclass(frozen=True)
class SchemaVersion:
    """One version: its number (from 1; 0 where no file could be read yet) and the columns that files bring, with their
    names in the table.
    """

    number: int
    schema: StructType

    @property
    def source(self) -> StructType:
        """The columns with the names that they have in the files."""
        return source_schema(self.schema)


class SchemaStore:
    """The schema versions of one pipeline."""

    def __init__(self, settings: Settings, pipeline: str) -> None:
        self._folder = settings.state_root(pipeline, "schemas")

    def latest(self) -> SchemaVersion | None:
        """The newest version, or None before the first."""
        numbers = [int(name.removesuffix(".json")) for name in list_documents(self._folder)]
        return self.get(max(numbers)) if numbers else None

    def get(self, number: int) -> SchemaVersion:
        """A version by its number; 0 is the schema without columns."""
        if number == 0:
            return SchemaVersion(0, StructType([]))
        document = read_document(f"{self._folder}/{number}.json")
        if document is None:
            raise ConfigError(f"{self._folder}/{number}.json is missing.", remedy="Restore it from a backup.")
        return SchemaVersion(number, StructType.fromJson(dict(document["schema"])))

    def add(
        self,
        after: SchemaVersion,
        schema: StructType,
        origin: str,
        files: Sequence[str] = (),
        batch: int | None = None,
    ) -> SchemaVersion:
        """Write the version after `after`. `origin` says where it came from, `files` and `batch` what caused it."""
        number = after.number + 1
        document: dict[str, Any] = {
            "version": number,
            "origin": origin,
            "batch": batch,
            "files": list(files[:FILES_NAMED]),
            "changes": changes(after.schema, schema),
            "schema": json.loads(schema.json()),
        }
        standing = create_document(f"{self._folder}/{number}.json", document)
        return SchemaVersion(number, StructType.fromJson(dict(standing["schema"])))


def parse_ddl(spark: SparkSession, ddl: str, key: str) -> StructType:
    """A DDL string of the pipeline file as a schema.

    Raises:
        ConfigError: Spark cannot parse it; `key` names where it stands.
    """
    try:
        return spark.createDataFrame([], ddl).schema
    except (ParseException, ValueError) as error:
        raise ConfigError(
            f"{key}: {ddl!r} is not a Spark schema: {str(error).splitlines()[0]}",
            remedy='Write columns as in "id bigint, name string".',
        ) from None


def named_for_table(source: StructType, known: SchemaVersion, ingest: Ingest) -> StructType:
    """Columns of files (which have all those of `known`) with the names that they have in the table, then those of
    paths.
    """
    paths = [field for field in known.schema if is_partition(field)]
    others = StructType([field for field in known.schema if not is_partition(field)])
    rescued = [] if ingest.rescued_column is None else [ingest.rescued_column]
    reserved = (*RESERVED, *rescued, *ingest.options.partition_columns, *(field.name for field in paths))
    return StructType([*table_schema(source, others, reserved), *paths])


def declared(spark: SparkSession, ingest: Ingest) -> StructType:
    """The columns of files that `ingest.schema` declares."""
    of_paths = _partition_names(ingest)
    return StructType([f for f in _written(spark, ingest) if f.name.lower() not in of_paths])


def with_hints(spark: SparkSession, schema: StructType, ingest: Ingest) -> StructType:
    """`schema` with the types of `cloudFiles.schemaHints`; hinted columns that are not in it come last."""
    for hint in parse_hints(ingest.options.schema_hints or ""):
        if hint.path[0].lower() not in _partition_names(ingest):
            schema = placed(schema, hint.path, _hinted(spark, hint))
    return schema


def partition_types(spark: SparkSession, ingest: Ingest) -> dict[str, DataType]:
    """The types that the pipeline file says for partition columns, by their lower-case names."""
    hints = parse_hints(ingest.options.schema_hints or "")
    said = {field.name.lower(): field.dataType for field in _written(spark, ingest)}
    return said | {h.path[0].lower(): _hinted(spark, h) for h in hints if h.path[0].lower() in _partition_names(ingest)}


def _written(spark: SparkSession, ingest: Ingest) -> StructType:
    return parse_ddl(spark, ingest.schema_ddl, "ingest.schema") if ingest.schema_ddl else StructType([])


def _hinted(spark: SparkSession, hint: Hint) -> DataType:
    return parse_ddl(spark, f"x {hint.ddl}", "ingest.options.cloudFiles.schemaHints")[0].dataType


def _partition_names(ingest: Ingest) -> set[str]:
    return {column.lower() for column in ingest.options.partition_columns}


def _widened_as(wanted: StructType, current: StructType) -> StructType:
    """`wanted` with the types that files have widened since."""
    known = {field.name for field in wanted}
    return extended(wanted, StructType([field for field in current if field.name in known]), widened)


def as_the_pipeline_says(
    spark: SparkSession, store: SchemaStore, current: SchemaVersion, ingest: Ingest
) -> SchemaVersion:
    """`current`, or the next version where the pipeline file now declares or hints more columns.

    Raises:
        SchemaDrift: it declares another type for, or drops, a column that the table has.
    """
    base = declared(spark, ingest) if ingest.schema_ddl else current.source
    wanted = with_hints(spark, base, ingest)
    if ingest.options.schema_evolution_mode == WIDENING:
        wanted = _widened_as(wanted, current.source)
    for change in changes(current.source, wanted):
        if change["change"] == "dropped":
            raise SchemaDrift(
                f"The declared schema drops column {change['column']!r}, which the table has.",
                remedy="Keep it in ingest.schema.",
            )
        if change["change"] != "added":
            raise SchemaDrift(
                f"Column {change['column']!r} would be {change['change']} to {change['type']} by the pipeline file.",
                remedy="Keep the table's type, or load into a new table.",
                column=change["column"],
            )
    grown = named_for_table(extended(current.source, wanted), current, ingest)
    return store.add(current, grown, "pipeline file") if changes(current.schema, grown) else current
