"""How the columns of files meet those of a table, at every level: by name, in any letter case. Pure, over types.

A file's field `ID` belongs to the table's `id`; what of a type stays open is said here, what becomes of values in
casting.py.
"""

from collections.abc import Iterator
from functools import reduce

from pyspark.sql.types import ArrayType, DataType, DateType, DecimalType, MapType, StringType, StructField, StructType

MAX_DIGITS = 38  # of a decimal


def same_name(one: StructField, other: StructField) -> bool:
    """Whether both fields are the same column."""
    return one.name.lower() == other.name.lower()


def find(fields: StructType, name: str) -> StructField | None:
    """The field of that name."""
    return next((field for field in fields if field.name.lower() == name.lower()), None)


def reading(known: DataType, seen: DataType) -> DataType:
    """What to read a text format's values as: the fields of the files by their own names (`seen`, inferred), of the
    types (`known`) that are to be read for the table's columns (see `exact`) where it has them.
    """
    if isinstance(known, StructType) and isinstance(seen, StructType):
        return StructType([StructField(field.name, _reading_field(known, field)) for field in seen])
    if isinstance(known, ArrayType) and isinstance(seen, ArrayType):
        return ArrayType(reading(known.elementType, seen.elementType))
    if isinstance(known, MapType) and isinstance(seen, StructType):  # an object is inferred as a struct
        values = [field.dataType for field in seen]
        return MapType(known.keyType, reading(known.valueType, reduce(grown, values)) if values else known.valueType)
    return known


def _reading_field(known: StructType, field: StructField) -> DataType:
    there = find(known, field.name)
    return field.dataType if there is None else reading(there.dataType, field.dataType)


def exact(known: DataType, *, dates: bool) -> DataType:
    """The type to read a text as so that nothing is cut off, before it is cast to `known`.

    Spark's text readers round decimals and, if no pattern is given for `dates`, drop the time of a timestamp.
    """
    if isinstance(known, DateType) and not dates:
        return StringType()
    if isinstance(known, DecimalType):
        return DecimalType(MAX_DIGITS, MAX_DIGITS - (known.precision - known.scale))
    if isinstance(known, StructType):
        return StructType([StructField(field.name, exact(field.dataType, dates=dates)) for field in known])
    if isinstance(known, ArrayType):
        return ArrayType(exact(known.elementType, dates=dates))
    if isinstance(known, MapType):
        return MapType(known.keyType, exact(known.valueType, dates=dates))
    return known


def grown(known: DataType, seen: DataType) -> DataType:
    """The table's type with the fields that it lacks, below too; types are not changed."""
    if isinstance(known, StructType) and isinstance(seen, StructType):
        fields = [_grown_field(field, seen) for field in known]
        for field in seen:
            if not any(same_name(field, other) for other in fields):
                fields.append(StructField(field.name, field.dataType))
        return StructType(fields)
    if isinstance(known, ArrayType) and isinstance(seen, ArrayType):
        return ArrayType(grown(known.elementType, seen.elementType))
    if isinstance(known, MapType) and isinstance(seen, MapType):
        return MapType(known.keyType, grown(known.valueType, seen.valueType))
    return known


def lacking(known: DataType, seen: DataType, path: str = "") -> Iterator[str]:
    """Dotted names of the fields of `seen` that `known` has no place for."""
    if isinstance(known, StructType) and isinstance(seen, StructType):
        for field in seen:
            below = f"{path}.{field.name}" if path else field.name
            there = find(known, field.name)
            if there is None:
                yield below
            else:
                yield from lacking(there.dataType, field.dataType, below)
    elif isinstance(known, ArrayType) and isinstance(seen, ArrayType):
        yield from lacking(known.elementType, seen.elementType, f"{path}[]")
    elif isinstance(known, MapType) and isinstance(seen, MapType):
        yield from lacking(known.valueType, seen.valueType, path)


def nullable(data_type: DataType) -> DataType:
    """The type with nulls allowed at every level; a table's own rules about nulls are its constraints."""
    if isinstance(data_type, StructType):
        return StructType([StructField(f.name, nullable(f.dataType), metadata=f.metadata) for f in data_type])
    if isinstance(data_type, ArrayType):
        return ArrayType(nullable(data_type.elementType))
    if isinstance(data_type, MapType):
        return MapType(data_type.keyType, nullable(data_type.valueType))
    return data_type


def _grown_field(field: StructField, seen: StructType) -> StructField:
    types = [other.dataType for other in seen if same_name(field, other)]
    return StructField(field.name, reduce(grown, types, field.dataType), metadata=field.metadata)
