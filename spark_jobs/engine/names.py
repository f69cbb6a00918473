"""Names of files' columns that a Delta table cannot have, and the names that they get there. Pure.

Delta refuses some characters, Sluice writes some columns itself, and no table has two columns that differ by case only.
Such a column gets another name in the table; its name in the files stays with the field (metadata `sluice.source`, in
the schema's version and nowhere else), so that the way back is always known.
"""

from collections.abc import Iterable

from pyspark.sql.types import ArrayType, DataType, MapType, StructField, StructType

from include.config.field_metadata import PARTITION, SOURCE_NAME

REFUSED_BY_DELTA = " ,;{}()\n\t="
_CLEANED = str.maketrans(dict.fromkeys(REFUSED_BY_DELTA, "_"))


def source_name(field: StructField) -> str:
    """The column's name in the files."""
    return str((field.metadata or {}).get(SOURCE_NAME, field.name))


def is_partition(field: StructField) -> bool:
    """True for a column whose value comes from the file's path."""
    return bool((field.metadata or {}).get(PARTITION))


def source_schema(schema: StructType) -> StructType:
    """The columns that come from the files, with the names that they have there."""
    fields = (field for field in schema if not is_partition(field))
    return StructType([StructField(source_name(field), source_type(field.dataType)) for field in fields])


def source_type(data_type: DataType) -> DataType:
    """The same type, its fields with the names that they have in the files."""
    if isinstance(data_type, StructType):
        return source_schema(data_type)
    if isinstance(data_type, ArrayType):
        return ArrayType(source_type(data_type.elementType))
    if isinstance(data_type, MapType):
        return MapType(source_type(data_type.keyType), source_type(data_type.valueType))
    return data_type


def table_schema(source: StructType, known: StructType, reserved: Iterable[str] = ()) -> StructType:
    """The columns of the files with names that the table can have; those of `known` keep the name they have there.

    `reserved` are names (of top-level columns) that files cannot take.
    """
    by_source = {source_name(field): field for field in known}
    taken = {field.name.lower() for field in known} | {name.lower() for name in reserved}
    fields = []
    for field in source:
        old = by_source.get(field.name)
        name = old.name if old else _free(field.name, taken)
        taken.add(name.lower())
        data_type = _table_type(field.dataType, old.dataType if old else None)
        fields.append(StructField(name, data_type, metadata={} if name == field.name else {SOURCE_NAME: field.name}))
    return StructType(fields)


def _table_type(source: DataType, known: DataType | None) -> DataType:
    if isinstance(source, StructType):
        return table_schema(source, known if isinstance(known, StructType) else StructType([]))
    if isinstance(source, ArrayType):
        return ArrayType(_table_type(source.elementType, known.elementType if isinstance(known, ArrayType) else None))
    if isinstance(source, MapType):
        inner = known.valueType if isinstance(known, MapType) else None
        return MapType(_table_type(source.keyType, None), _table_type(source.valueType, inner))
    return source


def _free(name: str, taken: set[str]) -> str:
    cleaned = name.translate(_CLEANED) or "_"
    free, number = cleaned, 1
    while free.lower() in taken:
        number += 1
        free = f"{cleaned}_{number}"
    return free
