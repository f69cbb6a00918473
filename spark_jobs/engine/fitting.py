"""Typed columns of files (Parquet and the like) under the schema: the part that fits, and the part that does not."""

from collections.abc import Callable
from dataclasses import dataclass

from pyspark.sql import Column
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import (
    ArrayType,
    AtomicType,
    BinaryType,
    DataType,
    DecimalType,
    MapType,
    NullType,
    StringType,
    StructType,
    VariantType,
)

from include.probe.file_types import DIGITS, WIDENS
from spark_jobs.engine.frames import any_true, quoted


@dataclass(frozen=True)
class Fit:
    """A value in two parts: `kept` has the schema's type; `left` is null where all was kept (None: always)."""

    kept: Column
    left: Column | None = None


def widens(narrow: DataType, wide: DataType) -> bool:
    """True where every value of `narrow` is exactly a value of `wide`."""
    if isinstance(wide, StringType):
        return isinstance(narrow, AtomicType) and not isinstance(narrow, BinaryType)
    if isinstance(wide, DecimalType):
        digits = DIGITS.get(narrow.simpleString())
        if isinstance(narrow, DecimalType):
            return narrow.scale <= wide.scale and narrow.precision - narrow.scale <= wide.precision - wide.scale
        return digits is not None and digits <= wide.precision - wide.scale
    return wide.simpleString() in WIDENS.get(narrow.simpleString(), set())


def fits(seen: DataType, known: DataType) -> bool:
    """True where every value of `seen` can be kept as `known`."""
    return seen.simpleString() == known.simpleString() or isinstance(seen, NullType) or widens(seen, known)


def fit_columns(seen: StructType, known: StructType) -> dict[str, Fit]:
    """Each column of the schema, then each column of the files that it has no place for, by the names in the files."""
    types = {field.name: field.dataType for field in seen}
    found = {
        field.name: fit(F.col(quoted(field.name)), types[field.name], field.dataType)
        if field.name in types
        else Fit(_null(field.dataType))
        for field in known
    }
    extra = {name: Fit(F.lit(None), F.col(quoted(name))) for name in seen.names if name not in found}
    return {**found, **extra}


def fit(value: Column, seen: DataType, known: DataType) -> Fit:
    """A value of type `seen` under the type `known`."""
    if fits(seen, known):
        return Fit(_printable(value) if isinstance(seen, VariantType) and seen == known else value.cast(known))
    if isinstance(known, StringType) and isinstance(seen, StructType | ArrayType | MapType):
        return Fit(F.to_json(value))  # as Spark's JSON reader has it
    if isinstance(seen, StructType) and isinstance(known, StructType):
        return _struct(value, seen, known)
    if isinstance(seen, ArrayType) and isinstance(known, ArrayType):
        return _array(value, seen, known)
    if isinstance(seen, MapType) and isinstance(known, MapType) and fits(seen.keyType, known.keyType):
        return _map(value, seen, known)
    return Fit(_null(known), value)


def _struct(value: Column, seen: StructType, known: StructType) -> Fit:
    types = {field.name: field.dataType for field in seen}
    kept: list[Column] = []
    left: dict[str, Column] = {}
    for field in known:
        if field.name not in types:
            kept.append(_null(field.dataType).alias(field.name))
            continue
        inner = fit(value.getField(field.name), types[field.name], field.dataType)
        kept.append(inner.kept.alias(field.name))
        if inner.left is not None:
            left[field.name] = inner.left
    left |= {name: value.getField(name) for name in seen.names if name not in known.names}
    whole = F.when(value.isNotNull(), F.struct(*kept))
    if not left:
        return Fit(whole)
    some = any_true([part.isNotNull() for part in left.values()])
    return Fit(whole, F.when(some, F.struct(*(part.alias(name) for name, part in left.items()))))


def _array(value: Column, seen: ArrayType, known: ArrayType) -> Fit:
    def kept(item: Column) -> Column:
        return fit(item, seen.elementType, known.elementType).kept

    return Fit(F.transform(value, kept), _left_items(value, seen.elementType, known.elementType))


def _left_items(value: Column, seen: DataType, known: DataType) -> Column | None:
    if fit(F.lit(None), seen, known).left is None:
        return None
    items = F.transform(value, _left_of(seen, known))
    return F.when(F.exists(items, lambda item: item.isNotNull()), items)


def _left_of(seen: DataType, known: DataType) -> Callable[[Column], Column]:
    def left(item: Column) -> Column:
        part = fit(item, seen, known).left
        return F.lit(None) if part is None else part

    return left


def _map(value: Column, seen: MapType, known: MapType) -> Fit:
    def kept(key: Column, item: Column) -> Column:  # noqa: ARG001
        return fit(item, seen.valueType, known.valueType).kept

    fitted = F.transform_values(value, kept).cast(known)
    if fit(F.lit(None), seen.valueType, known.valueType).left is None:
        return Fit(fitted)
    left = _left_of(seen.valueType, known.valueType)
    items = F.map_filter(F.transform_values(value, lambda _, item: left(item)), lambda _, item: item.isNotNull())
    return Fit(fitted, F.when(F.size(items) > 0, items))


def _printable(variant: Column) -> Column:
    """The value; the job fails at one that cannot be printed. Spark would copy it, and nobody could read the table."""
    return F.when(F.length(F.to_json(variant)) >= 0, variant)


def _null(data_type: DataType) -> Column:
    return F.lit(None).cast(data_type)
