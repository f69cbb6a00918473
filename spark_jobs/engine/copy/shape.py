"""From the records of files to the columns of the target: matched by name or by position, cast, checked value by value.

A value that the target's type cannot hold makes its record a misfit, and is never turned into NULL or cut short.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pyspark.errors import AnalysisException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import DataType, StructField, StructType

from include.copy_into import errors
from include.copy_into.errors import LoadRefused
from include.copy_into.statement import CopyInto
from include.copy_into.syntax import Expression
from spark_jobs.engine.batch_files import BatchFile
from spark_jobs.engine.copy.casting import Cast, UncastableError, cast_to, one_of
from spark_jobs.engine.copy.constraints import Constraints
from spark_jobs.engine.copy.defaults import defaults_of_absent
from spark_jobs.engine.copy.leftovers import holds_values
from spark_jobs.engine.copy.matching import find, grown, lacking, nullable
from spark_jobs.engine.copy.places import ROW
from spark_jobs.engine.copy.source import arity, positional, with_metadata
from spark_jobs.engine.copy.spark_errors import told
from spark_jobs.engine.frames import CORRUPT, FILE, RESCUED, exact_names, quoted

MISFIT_REASON = "__sluice_misfit"
RECORD = "__sluice_record"
OWN = (CORRUPT, FILE, RESCUED, RECORD)
MAX_SHOWN = 80  # characters of a value in a reason; the record is beside it
MAX_LEFT = 10_000  # of what no column holds, which is not in the record beside it


@dataclass(frozen=True)
class Shaped:
    """Records in the target's columns (`names`), with FILE, MISFIT_REASON (null where the record fits) and RECORD (the
    record's columns as JSON). `aggregated` says that it is one row of all records that could be read, of no file.
    """

    frame: DataFrame
    names: tuple[str, ...]
    aggregated: bool = False


@dataclass(frozen=True)
class _Goal:
    """A column of the target, and the source's columns (by their number) that go into it."""

    field: StructField
    sources: tuple[int, ...]


def shape(
    spark: SparkSession,
    statement: CopyInto,
    frame: DataFrame,
    schema: StructType,
    files: Sequence[BatchFile],
    target: StructType | None,
    constraints: Constraints,
) -> Shaped:
    """The records of `frame` (`schema`'s columns, CORRUPT, FILE, RESCUED) as rows of the target.

    Raises:
        LoadRefused: the columns do not fit the target's.
    """
    names, selected, aggregated = _selected(spark, statement, frame, schema, files)
    types = [field.dataType for field in selected.schema][: len(names)]
    goals = _goals(statement, names, types, target)
    with exact_names(spark):
        casts = [_cast(statement, goal, names, types) for goal in goals]
        columns = {goal.field.name: cast.value for goal, cast in zip(goals, casts, strict=True)}
        columns |= defaults_of_absent(target, columns)
        reasons = [
            F.when(cast.misfit, _reason(goal, names))
            for goal, cast in zip(goals, casts, strict=True)
            if cast.misfit is not None
        ]
        if statement.select is None:
            reasons.append(_left_over(files))
        reason = F.coalesce(*reasons) if reasons else F.lit(None).cast("string")
        kept = [name for name in (FILE, CORRUPT, RECORD, ROW) if name in selected.columns]
        values = [value.alias(name) for name, value in columns.items()]
        rows = selected.select(*values, *kept, reason.alias(MISFIT_REASON))
    return Shaped(constraints.checked(rows, MISFIT_REASON), tuple(columns), aggregated)


def misfits() -> Column:
    """True for a record that cannot be a row of the target."""
    return F.col(CORRUPT).isNotNull() | F.col(MISFIT_REASON).isNotNull()


# ---- the SELECT


def _selected(
    spark: SparkSession, statement: CopyInto, frame: DataFrame, schema: StructType, files: Sequence[BatchFile]
) -> tuple[tuple[str, ...], DataFrame, bool]:
    """The names of the source's columns, a frame with these as `__sluice_0` ..., then OWN, and whether it is one row of
    all records.
    """
    plain = [quoted(name) for name in schema.names]
    own = [*OWN, *([ROW] if ROW in frame.columns else [])]
    with exact_names(spark):
        frame = frame.withColumn(RECORD, F.to_json(F.struct(*plain)))
        if statement.select is None:
            return tuple(schema.names), frame.select(*plain, *own).toDF(*_numbered(schema.names), *own), False
    base = with_metadata(spark, frame, files)
    expressions: list[tuple[str, str]] = []
    visible = base.drop(*own)
    for item in statement.select:
        try:
            expressions += _expanded(visible, plain, item)
        except AnalysisException as error:
            raise told(error, item.place) from error
    names = tuple(name for _, name in expressions)
    _refuse_twice(statement, names)
    selected = [F.expr(sql) for sql, _ in expressions]
    try:
        aggregated = _aggregates(spark, visible, selected)
    except AnalysisException as error:  # only together they are wrong
        raise told(error, statement.select[0].place) from error
    if not aggregated:
        return names, base.select(*selected, *own).toDF(*_numbered(names), *own), False
    nothing = [F.lit(None).cast("string") for _ in OWN]
    together = base.where(F.col(CORRUPT).isNull()).select(*selected, *nothing)
    return names, together.toDF(*_numbered(names), *OWN), True


def _aggregates(spark: SparkSession, visible: DataFrame, selected: Sequence[Column]) -> bool:
    """Whether the expressions make one row of all records; Spark knows its functions."""
    plan = spark.createDataFrame([], visible.schema).select(*selected)._jdf.queryExecution().analyzed()
    while plan.getClass().getSimpleName() != "Aggregate":
        if plan.children().size() != 1:
            return False
        plan = plan.children().head()
    return True


def _expanded(visible: DataFrame, plain: Sequence[str], item: Expression) -> list[tuple[str, str]]:
    """What an expression gives, as SQL and name: one column, or several where it is a star or ends in one."""
    if item.sql.strip() == "*" and item.alias is None:
        return [(name, name[1:-1].replace("``", "`")) for name in plain]
    found = visible.selectExpr(item.sql).columns  # also where there is an alias: an error must not name our own columns
    if item.alias is not None:
        return [(item.sql, item.alias)]
    if len(found) == 1:
        return [(item.sql, found[0])]
    parent = item.sql.rpartition(".")[0]
    if not parent or not item.sql.rstrip().endswith("*"):
        raise LoadRefused(
            errors.NON_BLIND,
            f"{item.sql} makes {len(found)} columns.",
            remedy="Name the columns one by one.",
            line=item.place.line,
            column=item.place.column,
        )
    return [(f"{parent}.{quoted(name)}", name) for name in found]


def _numbered(names: Sequence[str]) -> list[str]:
    return [f"__sluice_{index}" for index in range(len(names))]


def _refuse_twice(statement: CopyInto, names: Sequence[str]) -> None:
    lower = [name.lower() for name in names]
    twice = sorted({name for name in lower if lower.count(name) > 1})
    if twice and statement.columns is None:
        raise LoadRefused(
            errors.DUPLICATE_COLUMN,
            f"The SELECT has more than one column {twice[0]}.",
            remedy="Give each column a name of its own: expression AS name.",
            **statement.at("select"),
        )


# ---- the target's columns


def _goals(
    statement: CopyInto, names: Sequence[str], types: Sequence[DataType], target: StructType | None
) -> list[_Goal]:
    """For each column of the target that is filled, the source's columns that go into it."""
    if statement.by_position or statement.columns is not None:
        if target is None or not target.names:
            raise mismatch(statement, names, target)
        wanted = positional(target, statement)
        if len(wanted) != len(names):
            raise arity(statement, [field.name for field in wanted], names)
        return [_Goal(field, (index,)) for index, field in enumerate(wanted)]
    # A source may spell one column in two ways, as JSON files do.
    seen = StructType([StructField(name, data_type) for name, data_type in zip(names, types, strict=True)])
    known = target or StructType([])
    if (unknown := list(lacking(known, seen))) and not statement.options.merge_schema:
        raise mismatch(statement, unknown, target)
    table = grown(known, seen) if statement.options.merge_schema else known
    goals: dict[str, _Goal] = {}
    for index, name in enumerate(names):
        field = find(table, name) if isinstance(table, StructType) else None
        if field is None:
            raise mismatch(statement, [name], target)
        before = goals[name.lower()].sources if name.lower() in goals else ()
        goals[name.lower()] = _Goal(field, (*before, index))
    return list(goals.values())


def mismatch(
    statement: CopyInto, unknown: Sequence[str], target: StructType | None, seen_in: str = "", path: str | None = None
) -> LoadRefused:
    """The error for columns that the table does not have; `seen_in` says where one of them was seen."""
    has = ", ".join(target.names) if target is not None and target.names else "no columns"
    return LoadRefused(
        errors.SCHEMA_MISMATCH,
        f"{seen_in or f'The files of {statement.source}'} {'has' if seen_in else 'have'} columns that the table "
        f"{statement.table} does not have: {', '.join(map(repr, unknown))}. It has {has}. Nothing was loaded.",
        remedy="Add them with COPY_OPTIONS ('mergeSchema' = 'true'), or select and name the columns that are to be "
        "loaded: FROM (SELECT ... FROM 'source').",
        path=path,
        columns=list(unknown),
        **(statement.at("select") or statement.at("columns") or statement.at("source")),
    )


# ---- values


def _cast(statement: CopyInto, goal: _Goal, names: Sequence[str], types: Sequence[DataType]) -> Cast:
    wanted = nullable(goal.field.dataType)
    try:
        values = [(F.col(f"__sluice_{index}"), types[index]) for index in goal.sources]
        return one_of([(value, cast_to(value, found, wanted)) for value, found in values], wanted)
    except UncastableError as error:
        raise LoadRefused(
            errors.TYPE_MISMATCH,
            f"The column {names[goal.sources[0]]} is {error.found.simpleString()} in the files, and "
            f"{goal.field.name} of the table {statement.table} is {error.wanted.simpleString()}: no value of the one "
            "can be the other. Nothing was loaded.",
            remedy="Make the value in a SELECT: FROM (SELECT expression AS column, ... FROM 'source').",
            column_name=goal.field.name,
            **(statement.at("select") or statement.at("columns") or statement.at("source")),
        ) from None


def _reason(goal: _Goal, names: Sequence[str]) -> Column:
    value = F.coalesce(*(_text(F.col(f"__sluice_{index}")) for index in goal.sources))
    wanted = goal.field.dataType.simpleString()
    written = names[goal.sources[0]]
    return F.concat(F.lit(f"column {written!r}: "), F.substring(value, 1, MAX_SHOWN), F.lit(f" is not {wanted}"))


def _text(value: Column) -> Column:
    """As JSON, so that a text is in quotes."""
    return F.regexp_extract(F.to_json(F.struct(value.alias("v"))), r"^\{\"v\":(.*)\}$", 1)


def _left_over(files: Sequence[BatchFile]) -> Column:
    """Why a record is a misfit whose readers left something over that no column holds."""
    left = F.col(RESCUED)
    if any(file.rescue for file in files):
        left = F.when(left.isNotNull(), holds_values(left))
    return F.concat(F.lit("no column holds "), F.substring(left, 1, MAX_LEFT))
