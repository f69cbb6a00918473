"""A pipeline file as a typed model: what the user writes, checked. Read it with include.config.reader."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field, PlainValidator

from include.config.errors import ConfigError
from include.config.ingest import ChangedFiles, Check, Ingest, OnError
from include.config.options import IngestOptions
from include.config.resources import Resources
from include.config.section import NOT_EMPTY, Name, Section, Table, Text, not_empty
from include.config.sections import Cache, CopyInto
from include.config.transform import Transform
from include.config.values import did_you_mean, shown

if TYPE_CHECKING:
    from include.copy_into.statement import CopyInto as CopyIntoStatement

__all__ = [
    "SECTIONS",
    "ChangedFiles",
    "Check",
    "Ingest",
    "IngestOptions",
    "OnError",
    "Pipeline",
    "PipelineFile",
    "Resources",
    "TableSchedule",
]

SECTIONS = ("ingest", "copy_into", "transform", "cache")
PRESETS = ("@once", "@continuous", "@hourly", "@daily", "@weekly", "@monthly", "@quarterly", "@yearly")
CRON_FIELDS = 5


class TableSchedule(Section):
    """Run when all of these tables have changed since the last run."""

    tables: Annotated[tuple[Table, ...], AfterValidator(not_empty), Field(json_schema_extra=NOT_EMPTY)]


def _schedule(value: object) -> str | TableSchedule | None:
    if value is None or value == "none" or isinstance(value, TableSchedule):
        return None if value == "none" else value
    if isinstance(value, dict):
        return TableSchedule.model_validate(value)
    if not isinstance(value, str):
        raise ValueError(f"must be a cron expression, a preset, none or {{tables: [...]}}, not {shown(value)}")  # noqa: TRY004
    if value in PRESETS:
        return value
    if value.startswith("@"):
        raise ValueError(f"unknown preset {value}; known: {', '.join(PRESETS)}{did_you_mean(value, list(PRESETS))}")
    _check_cron(value)
    return value


def _check_cron(expression: str) -> None:
    # Imported here: most pipelines run by preset or table, and every DAG parse pays for what this module imports.
    from croniter import CroniterError, croniter  # type: ignore[import-untyped]  # noqa: PLC0415

    if len(expression.split()) != CRON_FIELDS:
        raise ValueError(
            f"must be a cron expression of {CRON_FIELDS} fields, @hourly and the like, or none, not {shown(expression)}"
        )
    try:
        croniter(expression)
    except CroniterError as error:
        raise ValueError(f"is not a cron expression: {error}") from error


class PipelineFile(Section):
    """What stands in include/pipelines/NAME.yaml: some keys about the pipeline, and exactly one section."""

    name: Name | None = Field(default=None, description="The file's name without .yaml; may be left out.")
    description: str = Field(default="", description="For people: shown with the DAG.")
    schedule: Annotated[
        str | TableSchedule | None,
        PlainValidator(_schedule, json_schema_input_type=str | TableSchedule | Literal["none"] | None),
    ] = Field(
        default=None,
        description="Cron, a preset such as @hourly, none, or {tables: [...]}: run when these tables change.",
    )
    owner: Text = Field(default="sluice", description="Who is asked when it fails.")
    tags: tuple[Text, ...] = Field(default=(), description="To find the DAG by.")
    resources: Resources = Field(default=Resources(), description="Sizes and settings of the Spark job.")
    ingest: Ingest | None = Field(default=None, description="Files -> Delta.")
    copy_into: CopyInto | None = Field(default=None, description="COPY INTO statements, in Databricks' SQL.")
    transform: Transform | None = Field(default=None, description="Delta -> steps -> Delta.")
    cache: Cache | None = Field(default=None, description="A snapshot for joins.")


class Pipeline(PipelineFile):
    """A pipeline and the file it was read from, as include.config.reader builds it: with exactly one section."""

    name: Name
    file: Path

    @property
    def section(self) -> str:
        """The name of its section."""
        return next(section for section in SECTIONS if getattr(self, section) is not None)

    @property
    def targets(self) -> tuple[str, ...]:
        """The tables that it writes, as the file names them; none for a cache.

        Raises:
            NotAvailableYet: the section is not executed yet.
        """
        if self.transform is not None:
            return (self.transform.table,)
        if self.copy_into is not None:
            return tuple(dict.fromkeys(statement.table for statement in self.statements()))
        if self.cache is not None:
            return ()
        return (self.ingestion().table,)

    def statements(self) -> "tuple[CopyIntoStatement, ...]":
        """The parsed statements of the copy_into section; none where the pipeline has another one."""
        from include.copy_into.statement import read_statement  # noqa: PLC0415  other sections need no SQL parser

        return tuple(read_statement(one.sql, one.parameters) for one in self.copy_into or ())

    @property
    def table_schedule(self) -> TableSchedule | None:
        """The tables whose change starts a run. A cache that says nothing of a schedule waits for its own table."""
        if self.cache is not None and "schedule" not in self.model_fields_set:
            return TableSchedule(tables=(self.cache.table,))
        return self.schedule if isinstance(self.schedule, TableSchedule) else None

    @property
    def lock_name(self) -> str:
        """What the job's lock is named by: the table it writes, so that a table has one writer."""
        return self.targets[0] if self.targets else f"cache.{self.name}"

    def caching(self) -> Cache:
        """The cache section.

        Raises:
            ConfigError: the pipeline has another section.
        """
        if self.cache is None:
            raise ConfigError(f"{self.file}: pipeline {self.name} has no cache section.", remedy="Name another one.")
        return self.cache

    def ingestion(self) -> Ingest:
        """The ingest section.

        Raises:
            ConfigError: the pipeline has another section.
        """
        if self.ingest is None:
            raise ConfigError(
                f"{self.file}: pipeline {self.name} has the section {self.section}, not ingest.",
                remedy="Files are what ingest pipelines load. `sluice status` tells of the others.",
            )
        return self.ingest

    def transformation(self) -> Transform:
        """The transform section.

        Raises:
            ConfigError: the pipeline has another section.
        """
        if self.transform is None:
            raise ConfigError(
                f"{self.file}: pipeline {self.name} has the section {self.section}, not transform.",
                remedy="Name a pipeline that transforms a table.",
            )
        return self.transform
