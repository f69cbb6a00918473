"""The rules of the target about its rows (NOT NULL, CHECK, VARCHAR): a record that breaks one is a misfit like any
other.

Delta checks them too, at its commit, where one such record would stop the whole statement.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import sqlglot
from deltalake import DeltaTable
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import StructField, StructType
from sqlglot import exp
from sqlglot.errors import SqlglotError

from spark_jobs.engine.frames import quoted

PREFIX = "delta.constraints."
LENGTH_KEY, LENGTH = "__CHAR_VARCHAR_TYPE_STRING", re.compile(r"^(?:var)?char\((?P<n>\d+)\)$")
FILLED_BY_DELTA = ("delta.generationExpression", "delta.identity")
MAX_SHOWN = 80  # characters of a value in a reason; the record is beside it


@dataclass(frozen=True)
class Constraints:
    """`checks` are the table's CHECK constraints by their names, `columns` the table's."""

    columns: StructType = field(default_factory=lambda: StructType([]))
    checks: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, table: DeltaTable | None, columns: StructType | None) -> "Constraints":
        """Those of a table; none where there is no table yet."""
        if table is None or columns is None:
            return cls()
        configuration = table.metadata().configuration
        checks = {key.removeprefix(PREFIX): sql for key, sql in configuration.items() if key.startswith(PREFIX)}
        return cls(columns, checks)

    def checked(self, rows: DataFrame, reason: str) -> DataFrame:
        """The same rows; where one breaks a rule and has no `reason` yet, it is given one."""
        broken = [*self._nulls(rows), *self._too_long(rows), *self._broken_checks(rows)]
        if not broken:
            return rows
        known = self._with_absent(rows)
        found = F.coalesce(F.col(reason), *broken)
        return known.withColumn(reason, found).select(*map(quoted, rows.columns))

    def _nulls(self, rows: DataFrame) -> list[Column]:
        """A NOT NULL column that the statement does not fill at all is left to Delta: it may have a default."""
        given = {name.lower() for name in rows.columns}
        return [
            F.when(
                F.col(quoted(column.name)).isNull(), F.lit(f"column {column.name!r} is NOT NULL and there is no value")
            )
            for column in self.columns
            if not column.nullable and column.name.lower() in given
        ]

    def _too_long(self, rows: DataFrame) -> list[Column]:
        given = {name.lower() for name in rows.columns}
        lengths = [(column, LENGTH.search(column.metadata.get(LENGTH_KEY, ""))) for column in self.columns]
        return [
            F.when(
                F.length(quoted(column.name)) > int(length["n"]),
                F.concat(
                    F.lit(f"column {column.name!r} is longer than {length[0]}: "),
                    F.substring(quoted(column.name), 1, MAX_SHOWN),
                ),
            )
            for column, length in lengths
            if length is not None and column.name.lower() in given
        ]

    def _broken_checks(self, rows: DataFrame) -> list[Column]:
        """Those about columns that Delta fills itself are left to Delta."""
        if any(self._filled_by_delta(column) for column in self._absent(rows)):
            return []
        return [
            F.when(~F.coalesce(F.expr(sql).cast("boolean"), F.lit(False)), self._broken(name, sql))
            for name, sql in self.checks.items()
        ]

    def _broken(self, name: str, sql: str) -> Column:
        """The constraint, and the values that it looked at."""
        used = {
            column.parts[0].name.lower() for column in sqlglot.parse_one(sql, read="databricks").find_all(exp.Column)
        }
        values = [F.col(quoted(column.name)) for column in self.columns if column.name.lower() in used]
        told = F.lit(f"CHECK constraint {name}: {sql}")
        if not values:
            return told
        shown = F.substring(F.to_json(F.struct(*values), {"ignoreNullFields": "false"}), 1, MAX_SHOWN)
        return F.concat(told, F.lit(" is false of "), shown)

    def _absent(self, rows: DataFrame) -> list[StructField]:
        given = {name.lower() for name in rows.columns}
        return [column for column in self.columns if column.name.lower() not in given]

    def _with_absent(self, rows: DataFrame) -> DataFrame:
        nulls = {column.name: F.lit(None).cast(column.dataType) for column in self._absent(rows)}
        return rows.withColumns(nulls) if nulls else rows

    @staticmethod
    def _filled_by_delta(column: StructField) -> bool:
        return any(key.startswith(FILLED_BY_DELTA) for key in column.metadata)


def _columns_in(sql: str) -> set[str]:
    """The columns in an expression, in lower case; none where only Spark can read it."""
    try:
        parsed = sqlglot.parse_one(sql, read="databricks")
    except SqlglotError:
        return set()
    return {column.parts[0].name.lower() for column in parsed.find_all(exp.Column)}
