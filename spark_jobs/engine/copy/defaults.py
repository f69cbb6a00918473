"""Columns of the table with a DEFAULT: one that neither the files nor the SELECT have gets it in every row, as in an
INSERT that does not name it. One that they have and a record leaves out is null there.
"""

from collections.abc import Collection, Mapping

from pyspark.sql import Column
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import StructType

DEFAULT = "CURRENT_DEFAULT"  # Delta's key for the expression


def has_defaults(table: StructType) -> bool:
    """Whether a column of the table has one."""
    return any(DEFAULT in field.metadata for field in table)


def defaults_of_absent(table: StructType | None, given: Collection[str]) -> Mapping[str, Column]:
    """The columns of the table with a default that are not among those given, in the table's types."""
    names = {name.lower() for name in given}
    return {
        field.name: F.expr(field.metadata[DEFAULT]).cast(field.dataType)
        for field in table or ()
        if DEFAULT in field.metadata and field.name.lower() not in names
    }
