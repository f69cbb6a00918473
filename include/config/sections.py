"""The sections that are checked in shape and not executed yet: copy_into, transform, cache."""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from include.config.section import NOT_EMPTY, Duration, Flag, Names, Section, Table, Text, not_empty

_COPY_INTO = re.compile(r"\s*COPY\s+INTO\s", re.IGNORECASE)


def _statement(sql: str) -> str:
    if not _COPY_INTO.match(sql):
        raise ValueError("must be a statement that begins with COPY INTO")
    return sql


CopyInto = Annotated[
    tuple[Annotated[Text, AfterValidator(_statement)], ...],
    AfterValidator(not_empty),
    Field(json_schema_extra=NOT_EMPTY),
]


class Deduplicate(Section):
    """Keep one row of each key."""

    keys: Names


class Join(Section):
    """Add columns of another table; `cached` looks them up in a snapshot of that table."""

    table: Table
    on: Names
    how: Literal["inner", "left"] = "inner"
    columns: Names | None = None
    cached: Flag = False


class Window(Section):
    """Aggregate by time. `size`, `slide` and `late` are in seconds; `measures` are SQL aggregates by name."""

    type: Literal["tumbling", "sliding"]
    time: Text
    size: Duration
    slide: Duration | None = None
    keys: tuple[Text, ...] = ()
    late: Duration = 0.0
    measures: Annotated[dict[Text, Text], AfterValidator(not_empty), Field(json_schema_extra={"minProperties": 1})]

    @model_validator(mode="after")
    def _slide_of_sliding(self) -> Self:
        if (self.slide is not None) != (self.type == "sliding"):
            raise ValueError("`slide` belongs to windows of type sliding, and they need it")
        return self


class Step(Section):
    """One step of a transformation: exactly one of its keys."""

    filter: Text | None = None
    deduplicate: Deduplicate | None = None
    join: Join | None = None
    window: Window | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise ValueError(f"must hold exactly one of {', '.join(type(self).model_fields)}")
        return self


class Transform(Section):
    """Delta -> steps -> Delta."""

    source: Table
    steps: Annotated[tuple[Step, ...], AfterValidator(not_empty), Field(json_schema_extra=NOT_EMPTY)]
    table: Table


class Cache(Section):
    """A snapshot of a table's columns, kept for joins by key."""

    table: Table
    keys: Names
    columns: Names
