"""Numbered schema versions of a pipeline, as plain JSON in `state/<pipeline>/schemas/N.json`.

Version 1 is declared or inferred from the first files; a change of the declared schema or of the hints makes the next
version. A version is written before the first row that has it, and never rewritten.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pyspark.errors import ParseException
from pyspark.sql import SparkSession
from pyspark.sql.types import DataType, StructField, StructType

from include.config.errors import ConfigError, SchemaDrift
from include.config.pipeline import Ingest
from include.config.settings import Settings
from include.ledger.outcomes import BATCH, INGESTED_AT, SOURCE_FILE, SOURCE_VERSION
from include.ledger.state_files import create_document, list_documents, read_document

REFUSED_BY_DELTA = set(" ,;{}()\n\t=")
RESERVED = (SOURCE_FILE, SOURCE_VERSION, INGESTED_AT, BATCH)


@dataclass(frozen=True)
class SchemaVersion:
    """One version: its number (from 1; 0 where no file could be read yet) and the columns that files bring."""

    number: int
    schema: StructType


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

    def add(self, number: int, schema: StructType, origin: str, files: Sequence[str]) -> SchemaVersion:
        """Write version `number`; `origin` says where it came from, `files` which files it was inferred from."""
        document: dict[str, Any] = {
            "version": number,
            "origin": origin,
            "files": list(files[:100]),
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
        parsed = spark.createDataFrame([], ddl).schema
    except (ParseException, ValueError) as error:
        raise ConfigError(
            f"{key}: {ddl!r} is not a Spark schema: {str(error).splitlines()[0]}",
            remedy='Write columns as in "id bigint, name string".',
        ) from None
    return refuse_bad_names(parsed, key)


def refuse_bad_names(schema: StructType, origin: str) -> StructType:
    """The schema itself, if each column can be one of the target.

    Raises:
        SchemaDrift: two names differ by case only, or one is a name that Sluice writes itself or that Delta refuses.
    """
    seen: dict[str, str] = {}
    for name in schema.names:
        if refused := sorted(set(name) & REFUSED_BY_DELTA):
            raise SchemaDrift(
                f"{origin}: column {name!r} has {', '.join(map(repr, refused))} in its name, which Delta refuses.",
                remedy="Rename it at the source.",
            )
        if name.lower() in RESERVED:
            raise SchemaDrift(
                f"{origin}: column {name!r} has a name that Sluice writes itself.", remedy="Rename it at the source."
            )
        if other := seen.get(name.lower()):
            raise SchemaDrift(
                f"{origin}: columns {other!r} and {name!r} differ by case only: one table cannot hold both.",
                remedy="Rename one at the source.",
            )
        seen[name.lower()] = name
    return schema


def with_hints(spark: SparkSession, schema: StructType, ingest: Ingest) -> StructType:
    """`schema` with the types of `cloudFiles.schemaHints`; hinted columns that are not in it come last."""
    if not ingest.options.schema_hints:
        return schema
    hints = parse_ddl(spark, ingest.options.schema_hints, "ingest.options.cloudFiles.schemaHints")
    hinted = {field.name.lower(): field for field in hints}
    fields = [
        StructField(field.name, hinted.pop(field.name.lower()).dataType) if field.name.lower() in hinted else field
        for field in schema
    ]
    return StructType([*fields, *(StructField(field.name, field.dataType) for field in hinted.values())])


def evolved(spark: SparkSession, store: SchemaStore, current: SchemaVersion, ingest: Ingest) -> SchemaVersion:
    """The version to load with: `current`, or the next one where the pipeline file now declares or hints more columns.

    Raises:
        SchemaDrift: it declares another type for, or drops, a column that the table has.
    """
    base = parse_ddl(spark, ingest.schema_ddl, "ingest.schema") if ingest.schema_ddl else current.schema
    wanted = with_hints(spark, base, ingest)
    if wanted == current.schema or current.number == 0:
        return current
    old = {field.name.lower(): field.dataType for field in current.schema}
    new = {field.name.lower(): field.dataType for field in wanted}
    for name, data_type in old.items():
        if name not in new:
            raise SchemaDrift(
                f"The declared schema drops column {name!r}, which the table has.", remedy="Keep it in ingest.schema."
            )
        if new[name] != data_type:
            raise _type_change(name, data_type, new[name])
    ordered = [*current.schema, *(field for field in wanted if field.name.lower() not in old)]
    return store.add(current.number + 1, StructType(ordered), "pipeline file", [])


def _type_change(name: str, old: DataType, new: DataType) -> SchemaDrift:
    return SchemaDrift(
        f"Column {name!r} is {old.simpleString()} in the table and {new.simpleString()} in the pipeline file.",
        remedy="Keep the table's type, or load into a new table.",
        column=name,
    )
