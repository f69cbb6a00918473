"""From the records of files to the columns of the target: matched by name or by position, cast, checked value by value.

A value that the target's type cannot hold makes its record a misfit, and is never turned into NULL or cut short.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import (
    ArrayType,
    DataType,
    DecimalType,
    DoubleType,
    FloatType,
    IntegralType,
    MapType,
    StructField,
    StructType,
)

from include.copy_into import errors
from include.copy_into.errors import LoadRefused
from include.copy_into.grammar import Expression
from include.copy_into.statement import CopyInto
from spark_jobs.engine.batch_files import BatchFile
from spark_jobs.engine.copy.source import arity, positional, with_metadata
from spark_jobs.engine.frames import CORRUPT, FILE, quoted

MISFIT_REASON = "__sluice_misfit"
RECORD = "__sluice_record"
COMPLEX = (StructType, ArrayType, MapType)


@dataclass(frozen=True)
class Shaped:
    """Records in the target's columns (`names`), with FILE, MISFIT_REASON (null where the record fits) and RECORD (the
    record's columns as JSON).
    """

    frame: DataFrame
    names: tuple[str, ...]
    new: tuple[str, ...]


def shape(
    spark: SparkSession,
    statement: CopyInto,
    frame: DataFrame,
    schema: StructType,
    files: Sequence[BatchFile],
    target: StructType | None,
) -> Shaped:
    """The records of `frame` (`schema`'s columns, CORRUPT, FILE) as rows of the target.

    Raises:
        LoadRefused: the columns do not fit the target's.
    """
    names, selected = _selected(spark, statement, frame, schema, files)
    types = [field.dataType for field in selected.schema][: len(names)]
    goals = _goals(statement, names, types, target)
    columns, reasons = [], []
    for index, (field, found) in enumerate(zip(goals, types, strict=True)):
        value = F.col(f"__sluice_{index}")
        cast, misfit = _cast(value, found, field.dataType)
        columns.append(cast.alias(field.name))
        if misfit is not None:
            reasons.append(F.when(misfit, _reason(names[index], value, field.dataType)))
    reason = F.coalesce(*reasons) if reasons else F.lit(None).cast("string")
    rows = selected.select(*columns, FILE, CORRUPT, reason.alias(MISFIT_REASON), RECORD)
    known = set() if target is None else {field.name.lower() for field in target}
    new = tuple(field.name for field in goals if field.name.lower() not in known)
    return Shaped(rows, tuple(field.name for field in goals), new)


def misfits() -> Column:
    """True for a record that cannot be a row of the target."""
    return F.col(CORRUPT).isNotNull() | F.col(MISFIT_REASON).isNotNull()


# ---- the SELECT


def _selected(
    spark: SparkSession, statement: CopyInto, frame: DataFrame, schema: StructType, files: Sequence[BatchFile]
) -> tuple[tuple[str, ...], DataFrame]:
    """The names of the source's columns, and a frame with these as `__sluice_0` ..., then CORRUPT, FILE and RECORD."""
    plain = [quoted(name) for name in schema.names]
    record = F.to_json(F.struct(*plain)).alias(RECORD)
    if statement.select is None:
        names = tuple(schema.names)
        return names, frame.select(*plain, CORRUPT, FILE, record).toDF(*_numbered(names))
    base = with_metadata(spark, frame, files)
    expressions: list[str] = []
    names_found: list[str] = []
    visible = base.drop(CORRUPT, FILE)
    for item in statement.select:
        written = _written(item, plain)
        for sql, name in written if isinstance(written, list) else _expanded(visible, written, item):
            expressions.append(sql)
            names_found.append(name)
    _refuse_twice(statement, names_found)
    projected = base.select(*(F.expr(sql) for sql in expressions), CORRUPT, FILE, record)
    return tuple(names_found), projected.toDF(*_numbered(names_found))


def _written(item: Expression, plain: Sequence[str]) -> str | list[tuple[str, str]]:
    if item.sql.strip() == "*" and item.alias is None:
        return [(name, name[1:-1].replace("``", "`")) for name in plain]
    return item.sql


def _expanded(visible: DataFrame, sql: str, item: Expression) -> list[tuple[str, str]]:
    """What an expression gives: one column, or several where it ends in a star."""
    found = visible.selectExpr(sql).columns  # also where there is an alias: an error must not name our own columns
    if item.alias is not None:
        return [(sql, item.alias)]
    if len(found) == 1:
        return [(sql, found[0])]
    parent = sql.rpartition(".")[0]
    if not parent or not sql.rstrip().endswith("*"):
        raise LoadRefused(
            errors.NON_BLIND,
            f"{sql} makes {len(found)} columns.",
            remedy="Name the columns one by one.",
            line=item.place.line,
            column=item.place.column,
        )
    return [(f"{parent}.{quoted(name)}", name) for name in found]


def _numbered(names: Sequence[str]) -> list[str]:
    return [*(f"__sluice_{index}" for index in range(len(names))), CORRUPT, FILE, RECORD]


def _refuse_twice(statement: CopyInto, names: Sequence[str]) -> None:
    lower = [name.lower() for name in names]
    twice = sorted({name for name in lower if lower.count(name) > 1})
    if twice and statement.columns is None:
        raise LoadRefused(
            errors.DUPLICATE_COLUMN,
            f"The SELECT has more than one column {twice[0]}.",
            remedy="Give each column a name of its own: expression AS name.",
        )


# ---- the target's columns


def _goals(
    statement: CopyInto, names: Sequence[str], types: Sequence[DataType], target: StructType | None
) -> list[StructField]:
    """For each of the source's columns, the target's column that it goes into."""
    if statement.by_position or statement.columns is not None:
        if target is None or not target.names:
            raise _mismatch(statement, names, target)
        wanted = positional(target, statement)
        if len(wanted) != len(names):
            raise arity(statement, [field.name for field in wanted], names)
        return wanted
    known = {} if target is None else {field.name.lower(): field for field in target}
    unknown = [name for name in names if name.lower() not in known]
    if unknown and not statement.options.merge_schema:
        raise _mismatch(statement, unknown, target)
    return [known.get(name.lower(), StructField(name, data_type)) for name, data_type in zip(names, types, strict=True)]


def _mismatch(statement: CopyInto, unknown: Sequence[str], target: StructType | None) -> LoadRefused:
    has = ", ".join(target.names) if target is not None and target.names else "no columns"
    return LoadRefused(
        errors.SCHEMA_MISMATCH,
        f"The files of {statement.source} have columns that the table {statement.table} does not have: "
        f"{', '.join(unknown)}. It has {has}. Nothing was loaded.",
        remedy="Add them with COPY_OPTIONS ('mergeSchema' = 'true'), or select and name the columns that are to be "
        "loaded: FROM (SELECT ... FROM 'source').",
        columns=list(unknown),
    )


def _cast(value: Column, found: DataType, wanted: DataType) -> tuple[Column, Column | None]:
    """The value in the target's type, and when it is a misfit (None: it always fits)."""
    if found == wanted or (found.simpleString() == wanted.simpleString()):
        return value.cast(wanted), None
    if isinstance(found, COMPLEX) or isinstance(wanted, COMPLEX):
        return value.cast(wanted), None  # ANSI: a nested value that does not fit stops the statement
    cast = value.try_cast(wanted)
    misfit = value.isNotNull() & cast.isNull()
    if isinstance(found, DoubleType | FloatType | DecimalType) and isinstance(wanted, IntegralType | DecimalType):
        misfit = misfit | (cast.try_cast(found) != value)
    return cast, misfit


def _reason(name: str, value: Column, wanted: DataType) -> Column:
    shown = F.substring(value.cast("string"), 1, 80)
    return F.concat(F.lit(f"column '{name}': "), shown, F.lit(f" is not {wanted.simpleString()}"))
