"""The sections that are checked in shape and not executed yet: copy_into, cache."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from include.config.section import NOT_EMPTY, Names, Section, Table, Text, not_empty

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


class Cache(Section):
    """A snapshot of a table's columns, kept for joins by key."""

    table: Table
    keys: Names
    columns: Names
