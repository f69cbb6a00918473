"""A value of a file in the type of the table's column, and whether that type can hold it.

Nothing is lost on the way: nested fields go by name, not by position as in Spark's cast, and a value that would become
NULL, be rounded or be cut short is a misfit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

from pyspark.sql import Column
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    BooleanType,
    DataType,
    DateType,
    DoubleType,
    FloatType,
    IntegralType,
    MapType,
    NullType,
    NumericType,
    StringType,
    StructType,
    TimestampNTZType,
    TimestampType,
)

from spark_jobs.engine.copy.matching import find, same_name
from spark_jobs.engine.exact import DATED, of_text
from spark_jobs.engine.frames import any_true

COMPLEX = (StructType, ArrayType, MapType)
# What a cast can make of what, beside texts.
CASTS: Sequence[tuple[type[DataType], tuple[type[DataType], ...]]] = (
    (NumericType, (NumericType, BooleanType, TimestampType)),
    (BooleanType, (NumericType,)),
    (DateType, (TimestampType, TimestampNTZType)),
    (TimestampType, (DateType, NumericType, TimestampNTZType)),
    (TimestampNTZType, (DateType, TimestampType)),
)


class UncastableError(Exception):
    """Raised when no value of the one type can be of the other."""

    def __init__(self, found: DataType, wanted: DataType) -> None:
        super().__init__(f"{found.simpleString()} is never {wanted.simpleString()}")
        self.found, self.wanted = found, wanted


@dataclass(frozen=True)
class Cast:
    """`value` in the wanted type; `misfit` is true where that type cannot hold it, never null (None: it always can)."""

    value: Column
    misfit: Column | None = None


def cast_to(value: Column, found: DataType, wanted: DataType) -> Cast:
    """A value of type `found` as `wanted`.

    Raises:
        UncastableError: none can be.
    """
    nested = _nested(value, found, wanted)
    if nested is not None:
        return nested
    if isinstance(found, NullType):
        return Cast(F.lit(None).cast(wanted))
    if found.simpleString() == wanted.simpleString():
        return Cast(value.cast(wanted))
    if isinstance(found, COMPLEX) and isinstance(wanted, StringType):
        return Cast(F.to_json(value))  # as Spark's JSON reader has it
    if isinstance(found, COMPLEX) or isinstance(wanted, COMPLEX) or not _castable(found, wanted):
        raise UncastableError(found, wanted)
    return _atomic(value, found, wanted)


def _nested(value: Column, found: DataType, wanted: DataType) -> Cast | None:
    if isinstance(found, StructType) and isinstance(wanted, StructType):
        return _struct(value, found, wanted)
    if isinstance(found, ArrayType) and isinstance(wanted, ArrayType):
        return _array(value, found, wanted)
    if isinstance(found, MapType) and isinstance(wanted, MapType):
        return _map(value, found, wanted)
    return None


def one_of(values: Sequence[tuple[Column, Cast]], wanted: DataType) -> Cast:
    """Of spellings of one column the one that a record has; a record with two is a misfit."""
    if not values:
        return Cast(F.lit(None).cast(wanted))
    if len(values) == 1:
        return values[0][1]
    present = reduce(Column.__add__, (value.isNotNull().cast("int") for value, _ in values))
    misfits = [cast.misfit for _, cast in values if cast.misfit is not None]
    return Cast(F.coalesce(*(cast.value for _, cast in values)), any_of([present > 1, *misfits]))


def any_of(misfits: Sequence[Column]) -> Column | None:
    """True where one of them is; None where there are none."""
    return F.coalesce(any_true(misfits), F.lit(False)) if misfits else None


def _castable(found: DataType, wanted: DataType) -> bool:
    if isinstance(found, StringType) or isinstance(wanted, StringType):
        return True
    return any(isinstance(found, one) and isinstance(wanted, others) for one, others in CASTS)


def _atomic(value: Column, found: DataType, wanted: DataType) -> Cast:
    if isinstance(found, StringType) and not isinstance(wanted, StringType):
        return _of_text(value, wanted)
    cast = value.try_cast(wanted)
    if isinstance(wanted, StringType):
        return Cast(cast, value.isNotNull() & ~F.is_valid_utf8(cast)) if isinstance(found, BinaryType) else Cast(cast)
    lost = cast.isNull()
    if not (isinstance(found, DoubleType) and isinstance(wanted, FloatType)):  # nearly every double is rounded there
        back = cast.try_cast(found)
        lost = lost | back.isNull() | (back != value)
    else:
        lost = lost | ((F.abs(cast) == F.lit(float("inf"))) & (F.abs(value) != F.lit(float("inf"))))
    return Cast(cast, value.isNotNull() & lost)


def _of_text(value: Column, wanted: DataType) -> Cast:
    """A text is a value as engine/exact.py has it, or as Spark casts it to whole numbers and booleans; a date may have
    the time that is its midnight, too.
    """
    cast = value.try_cast(wanted) if isinstance(wanted, IntegralType | BooleanType) else of_text(value, wanted)
    if isinstance(wanted, DateType):
        midnight = value.try_cast(TimestampNTZType()) == value.try_cast(wanted).cast(TimestampNTZType())
        cast = F.coalesce(cast, F.when(value.rlike(DATED) & midnight, value.try_cast(wanted)))
    return Cast(cast, value.isNotNull() & cast.isNull())


def _struct(value: Column, found: StructType, wanted: StructType) -> Cast:
    kept, misfits = [], []
    for field in wanted:
        spelled = [(value.getField(f.name), f.dataType) for f in found if same_name(f, field)]
        one = one_of([(part, cast_to(part, seen, field.dataType)) for part, seen in spelled], field.dataType)
        kept.append(one.value.alias(field.name))
        misfits += [] if one.misfit is None else [one.misfit]
    misfits += [value.getField(f.name).isNotNull() for f in found if find(wanted, f.name) is None]
    return Cast(F.when(value.isNotNull(), F.struct(*kept)), any_of(misfits))


def _array(value: Column, found: ArrayType, wanted: ArrayType) -> Cast:
    def cast(item: Column) -> Cast:
        return cast_to(item, found.elementType, wanted.elementType)

    kept = F.transform(value, lambda item: cast(item).value)
    if cast(F.lit(None).cast(found.elementType)).misfit is None:
        return Cast(kept)
    return Cast(kept, F.coalesce(F.exists(value, lambda item: _misfit(cast(item))), F.lit(False)))


def _map(value: Column, found: MapType, wanted: MapType) -> Cast:
    def key(item: Column) -> Cast:
        return cast_to(item, found.keyType, wanted.keyType)

    def inner(item: Column) -> Cast:
        return cast_to(item, found.valueType, wanted.valueType)

    misfits = []
    keys, values = F.map_keys(value), F.map_values(value)
    if key(F.lit(None).cast(found.keyType)).misfit is not None:
        misfits.append(F.coalesce(F.exists(keys, lambda item: _misfit(key(item))), F.lit(False)))
    if inner(F.lit(None).cast(found.valueType)).misfit is not None:
        misfits.append(F.coalesce(F.exists(values, lambda item: _misfit(inner(item))), F.lit(False)))
    kept = F.map_from_arrays(
        F.transform(keys, lambda item: key(item).value), F.transform(values, lambda item: inner(item).value)
    )
    misfit = any_of(misfits)
    return Cast(kept if misfit is None else F.when(~misfit, kept), misfit)  # a key that is no key has no map


def _misfit(cast: Cast) -> Column:
    return F.lit(False) if cast.misfit is None else cast.misfit
