"""The `ingest` section: files -> Delta."""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, PlainValidator, model_validator

from include.config.ddl import check_ddl, schema_of
from include.config.hints import parse_hints
from include.config.options import IngestOptions
from include.config.section import Duration, Name, Place, Section, Table, Text
from include.config.values import did_you_mean, share, shown

ChangedFiles = Literal["ignore", "error", "append", "replace"]
WITHOUT_RESCUE = ("text", "binaryFile", "xml")  # fixed columns; of XML, what does not fit is quarantined
POLICIES = ("quarantine", "skip_file", "abort")


class OnError(Section):
    """What happens to records and files that cannot be read.

    `policy` quarantine keeps what is refused in the quarantine table, skip_file leaves out the whole file, abort stops
    the run. A budget stops the run when more than `max_records` records, or a larger share than `max_ratio` (0 to 1)
    of a micro-batch's records, would be quarantined; both are None without one.
    """

    policy: Literal["quarantine", "skip_file", "abort"] = "quarantine"
    max_records: int | None = None
    max_ratio: float | None = None


def _on_error(value: object) -> OnError:
    if isinstance(value, OnError):
        return value
    if value == "quarantine":
        return OnError()
    if value == "skip_file":
        return OnError(policy="skip_file")
    if value == "abort":
        return OnError(policy="abort")
    if isinstance(value, dict) and list(value) == ["quarantine"]:
        return _budget(value["quarantine"])
    hint = did_you_mean(value, list(POLICIES)) if isinstance(value, str) else ""
    raise ValueError(
        f"must be one of {', '.join(POLICIES)}, or a budget such as {{quarantine: 1%}}, not {shown(value)}{hint}"
    )


def _budget(value: object) -> OnError:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return OnError(max_records=value)
    if isinstance(value, str):
        return OnError(max_ratio=share(value))
    raise ValueError(f"the budget must be a number of records such as 100 or a share such as 1%, not {shown(value)}")


_ON_ERROR_SCHEMA = Literal["quarantine", "skip_file", "abort"] | dict[Literal["quarantine"], int | str]


class Check(Section):
    """An expectation: a SQL boolean about one record.

    A record passes unless `expr` is false; NULL passes, as in a CHECK constraint. `expr` is code: who may write
    pipeline files may run SQL with the rights of the job.
    """

    name: Name
    expr: Text
    action: Literal["warn", "drop", "quarantine", "fail"]


def _unique(checks: tuple[Check, ...]) -> tuple[Check, ...]:
    names = [check.name for check in checks]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"two checks have the name {', '.join(twice)}: figures are kept by name")
    return checks


class Ingest(Section):
    """Load each record of each file version below `source` into `table` exactly once.

    `schema_ddl` (written `schema`) declares the columns as Spark DDL; then nothing is inferred. `settle` is in seconds:
    a younger file is left for the next run. `changed_files` says what a path that comes with other content means.
    """

    source: Place = Field(description="A folder under landing/, an absolute path or a URI; read with its sub-folders.")
    table: Table = Field(description="The Delta table: schema.table under warehouse/, an absolute path or a URI.")
    schema_ddl: Annotated[Text, AfterValidator(check_ddl)] | None = Field(
        default=None, alias="schema", description="The columns as Spark DDL; then nothing is inferred."
    )
    options: IngestOptions
    changed_files: ChangedFiles = Field(
        default="append", description="What a path that comes again with other content means."
    )
    on_error: Annotated[OnError, PlainValidator(_on_error, json_schema_input_type=_ON_ERROR_SCHEMA)] = Field(
        default=OnError(),
        description="What happens to records and files that cannot be read, or a budget such as {quarantine: 1%}.",
        json_schema_extra={"default": "quarantine"},
    )
    settle: Duration = Field(
        default=0.0,
        description="A file younger than this is left for the next run.",
        json_schema_extra={"default": "0s", "examples": ["30s", "5 minutes"]},
    )
    checks: Annotated[tuple[Check, ...], AfterValidator(_unique)] = Field(
        default=(), description="Expectations: a SQL boolean about one record, and what happens where it is false."
    )

    @property
    def rescued_column(self) -> str | None:
        """The column for what does not fit the schema; None where such records are quarantined.

        As with Auto Loader: where the schema is inferred there is one, unless the evolution mode is none; `rescue`
        and a written `rescuedDataColumn` always bring it. Text has nothing that could not fit; what does not fit of
        XML is quarantined.
        """
        options = self.options
        if options.format in WITHOUT_RESCUE:
            return None
        asked = "rescued_data_column" in options.model_fields_set or options.schema_evolution_mode == "rescue"
        inferred = self.schema_ddl is None and options.schema_evolution_mode != "none"
        return options.rescued_data_column if asked or inferred else None

    @property
    def refuses_unknown(self) -> bool:
        """True where a column or key that the schema lacks has no place: what has one is quarantined."""
        return self.options.schema_evolution_mode == "none" and self.rescued_column is None

    @model_validator(mode="after")
    def _flat_csv(self) -> Self:
        if self.options.format != "csv":
            return self
        declared = schema_of(self.schema_ddl)["fields"] if self.schema_ddl else []
        nested = [field["name"] for field in declared if not isinstance(field["type"], str)]
        for hint in parse_hints(self.options.schema_hints or ""):
            if len(hint.path) > 1 or not isinstance(schema_of(f"c {hint.ddl}")["fields"][0]["type"], str):
                nested.append(".".join(hint.path))
        if nested:
            raise ValueError(f"column {nested[0]}: a field of CSV holds one value, no array, map or struct")
        return self

    @model_validator(mode="after")
    def _declared_schema(self) -> Self:
        if self.schema_ddl is None:
            return self
        options = self.options
        written: dict[str, Any] = {
            "cloudFiles.inferColumnTypes": options.infer_column_types,
            "cloudFiles.schemaHints": options.schema_hints,
        }
        pointless = [name for name, value in written.items() if value]
        if pointless:
            raise ValueError(f"{' and '.join(pointless)} cannot go with `schema`: a declared schema is not inferred")
        if "schema_evolution_mode" not in options.model_fields_set:
            # Auto Loader's default, too. The model is frozen for its users, not for its own validation.
            self.__dict__["options"] = options.model_copy(update={"schema_evolution_mode": "none"})
        elif options.schema_evolution_mode.startswith("addNewColumns"):
            raise ValueError(
                f"cloudFiles.schemaEvolutionMode: {options.schema_evolution_mode} cannot go with `schema`; "
                "use cloudFiles.schemaHints to fix the types of some columns"
            )
        return self
