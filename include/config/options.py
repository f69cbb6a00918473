"""`ingest.options`: the user's mapping, checked by name and value, as one typed object.

Names are compared without regard to letter case, as Spark does, and handed to Spark in its own spelling. The tables
of options are in autoloader_options.py (Auto Loader's) and spark_options.py (Spark's readers').
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, ValidationError

from include.config.autoloader_options import OPTIONS, PREFIX, RECURSIVE, REFUSED_OPTIONS
from include.config.spark_options import READER_OPTIONS, REFUSED_READER_OPTIONS
from include.config.values import CREDENTIAL_KEY, did_you_mean, shown

Format = Literal["json", "csv", "parquet", "avro", "orc", "text", "xml", "binaryFile"]
SchemaEvolutionMode = Literal["addNewColumns", "addNewColumnsWithTypeWidening", "rescue", "failOnNewColumns", "none"]

_FIELDS = {option.name: field for field, option in OPTIONS.items()}
_ALL = (*OPTIONS.values(), RECURSIVE, *READER_OPTIONS)
_BY_NAME = {name.lower(): option for option in _ALL for name in (option.name, *option.aliases)}
_REFUSED = {name.lower(): why for name, why in (REFUSED_READER_OPTIONS | REFUSED_OPTIONS).items()}


class IngestOptions(BaseModel):
    """The options of an ingest section.

    `max_bytes_per_trigger` is in bytes. `modified_after` and `modified_before` are UTC. `Ingest` sets
    `schema_evolution_mode` to none where a schema is declared and no mode is written. `reader` holds the options for
    Spark's reader of the format, in Spark's spelling.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Format
    infer_column_types: bool = False
    schema_hints: str | None = None
    schema_evolution_mode: SchemaEvolutionMode = "addNewColumns"
    max_files_per_trigger: int = 1000
    max_bytes_per_trigger: int | None = None
    path_glob_filter: str | None = None
    sample_files: int | None = None
    sample_bytes: int | None = None
    include_existing_files: bool = True
    modified_after: datetime | None = None
    modified_before: datetime | None = None
    rescued_data_column: str = "_rescued_data"
    partition_columns: tuple[str, ...] = ()
    reader: Mapping[str, str]

    @model_validator(mode="before")
    @classmethod
    def _read(cls, raw: object) -> dict[str, Any]:
        return _Reading(raw).fields()

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Editors see the names that users write, not the fields they become."""
        properties = {
            name: {**option.kind.schema, "description": option.meaning}
            for option in _ALL
            for name in (option.name, *option.aliases)
        }
        return {
            "type": "object",
            "properties": properties,
            "required": [f"{PREFIX}format"],
            "additionalProperties": False,
        }


class _Reading:
    """One pass over the mapping that collects values and every problem."""

    def __init__(self, raw: object) -> None:
        if not isinstance(raw, dict):
            raise ValueError(f"must be a mapping of options, not {shown(raw)}")  # noqa: TRY004
        self._raw = raw
        self._problems: list[InitErrorDetails] = []
        self._format = self._find_format()
        self._values: dict[str, Any] = {}
        self._reader: dict[str, str] = {}
        self._written: dict[str, str] = {}

    def fields(self) -> dict[str, Any]:
        """The fields of IngestOptions. Raises a ValidationError that holds every problem with its place."""
        for name, value in self._raw.items():
            self._take(name, value)
        if not any(name.lower() == f"{PREFIX}format".lower() for name in self._raw):
            self._refuse((), f"{PREFIX}format is required: one of json, csv, parquet, text ...")
        if self._format == "xml" and "rowTag" not in self._reader:
            self._refuse((), "rowTag is required for xml: the name of the elements that are records")
        if self._problems:
            raise ValidationError.from_exception_data("options", self._problems)
        if self._format == "csv":
            # RFC 4180, as nearly all writers have it. Spark's default is the backslash: it reads "a ""b""" wrongly.
            self._reader.setdefault("escape", self._reader.get("quote") or '"')
        return {**self._values, "reader": self._reader}

    def _find_format(self) -> str | None:
        for name, value in self._raw.items():
            if name.lower() == f"{PREFIX}format".lower() and isinstance(value, str):
                return next((f for f in Format.__args__ if f.lower() == value.lower()), None)  # type: ignore[attr-defined]
        return None

    def _refuse(self, loc: tuple[str, ...], what: str) -> None:
        error = PydanticCustomError("option", "{what}", {"what": what})
        self._problems.append(InitErrorDetails(type=error, loc=loc, input=None))

    def _take(self, name: str, value: object) -> None:
        why = self._why_not(name)
        if why:
            self._refuse((name,), why)
            return
        option = _BY_NAME[name.lower()]
        if option.name in self._written:
            self._refuse((name,), f"is set twice: it says the same as {self._written[option.name]}")
            return
        self._written[option.name] = name
        try:
            parsed = option.kind.parse(value)
        except ValueError as error:
            self._refuse((name,), str(error))
            return
        if option.name in _FIELDS:
            self._values[_FIELDS[option.name]] = parsed
        elif option is not RECURSIVE:
            self._reader[option.name] = str(parsed).lower() if isinstance(parsed, bool) else str(parsed)

    def _why_not(self, name: str) -> str | None:
        lower = name.lower()
        if CREDENTIAL_KEY.search(name):
            return "credentials do not belong into a pipeline file: give them to the environment"
        if lower in _REFUSED:
            return f"is refused: {_REFUSED[lower]}"
        option = _BY_NAME.get(lower)
        if option is None:
            return f"unknown option{_suggestion(name)}"
        if option.formats and self._format and self._format not in option.formats:
            return f"is an option of {' and '.join(option.formats)}, not of {self._format}"
        return None


def _suggestion(name: str) -> str:
    prefixed = _BY_NAME.get(f"{PREFIX}{name}".lower())
    if prefixed:
        return f"; did you mean {prefixed.name}?"
    bare = _BY_NAME.get(name.lower().removeprefix(PREFIX.lower()))
    return f"; did you mean {bare.name}?" if bare else did_you_mean(name, [option.name for option in _ALL])
