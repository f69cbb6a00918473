"""How a schema grows by what files show: new fields, also below structs, arrays and maps, and wider types. Pure.

All names are those of the files. A field whose name differs from a known one by case only never becomes a column.
"""

from collections.abc import Callable, Iterator, Sequence

from pyspark.sql.types import ArrayType, DataType, MapType, StringType, StructField, StructType

Widen = Callable[[DataType, DataType], DataType]


def keep(known: DataType, _seen: DataType) -> DataType:
    """No type is widened."""
    return known


def extended(known: StructType, seen: StructType, widen: Widen = keep) -> StructType:
    """`known` with the fields of `seen` that it lacks, after its own. `widen` gives the type for one that differs."""
    fields = {field.name: field for field in seen}
    grown = [
        StructField(field.name, _grown(field.dataType, fields[field.name].dataType, widen), metadata=field.metadata)
        if field.name in fields
        else field
        for field in known
    ]
    spelled = {field.name.lower() for field in known}
    by_lower: dict[str, StructField] = {}
    for field in seen:
        other = by_lower.get(field.name.lower())
        # Of spellings that differ by case one becomes the column, whatever the order: lower case sorts last.
        if field.name.lower() not in spelled and (other is None or other.name < field.name):
            by_lower[field.name.lower()] = field
    return StructType([*grown, *(StructField(f.name, _unambiguous(f.dataType)) for f in by_lower.values())])


def placed(known: StructType, path: Sequence[str], data_type: DataType) -> StructType:
    """`known` with `data_type` at `path`; what the path needs and `known` lacks is made, after its own columns.

    Below arrays and maps the path says element, key and value.
    """
    name, below = path[0], path[1:]
    same = [field.name for field in known if field.name.lower() == name.lower()]
    fields = [
        StructField(field.name, _placed(field.dataType, below, data_type), metadata=field.metadata)
        if field.name in same
        else field
        for field in known
    ]
    return StructType(fields if same else [*fields, StructField(name, _placed(None, below, data_type))])


def _placed(known: DataType | None, path: Sequence[str], data_type: DataType) -> DataType:
    if not path:
        return data_type
    step = path[0].lower()
    if step == "element" and not isinstance(known, StructType):
        inner = known.elementType if isinstance(known, ArrayType) else None
        return ArrayType(_placed(inner, path[1:], data_type))
    if step in ("key", "value") and not isinstance(known, StructType):
        key, value = (known.keyType, known.valueType) if isinstance(known, MapType) else (StringType(), StringType())
        if step == "key":
            return MapType(_placed(key, path[1:], data_type), value)
        return MapType(key, _placed(value, path[1:], data_type))
    return placed(known if isinstance(known, StructType) else StructType([]), path, data_type)


def missing(seen: StructType, known: StructType) -> list[str]:
    """Dotted names of the fields in `seen` that `known` has no place for."""
    return list(_missing(seen, known, ""))


def changes(old: StructType, new: StructType) -> list[dict[str, str]]:
    """What the newer version has that the older had not, as {column, change, type}; dotted names."""
    return list(_changes(old, new, ""))


def _grown(known: DataType, seen: DataType, widen: Widen) -> DataType:
    if isinstance(known, StructType) and isinstance(seen, StructType):
        return extended(known, seen, widen)
    if isinstance(known, ArrayType) and isinstance(seen, ArrayType):
        return ArrayType(_grown(known.elementType, seen.elementType, widen))
    if isinstance(known, MapType):
        value = known.valueType
        for inner in _values(seen):
            value = _grown(value, inner, widen)
        return MapType(known.keyType, value)
    return widen(known, seen)


def _values(seen: DataType) -> list[DataType]:
    """What can stand as a map's value: Spark infers an object as a struct."""
    if isinstance(seen, StructType):
        return [field.dataType for field in seen]
    return [seen.valueType] if isinstance(seen, MapType) else []


def _unambiguous(data_type: DataType) -> DataType:
    """The type without fields that differ by case only."""
    if isinstance(data_type, StructType):
        return extended(StructType([]), data_type)
    if isinstance(data_type, ArrayType):
        return ArrayType(_unambiguous(data_type.elementType))
    if isinstance(data_type, MapType):
        return MapType(data_type.keyType, _unambiguous(data_type.valueType))
    return data_type


def _missing(seen: DataType, known: DataType, path: str) -> Iterator[str]:
    if isinstance(seen, StructType) and isinstance(known, StructType):
        types = {field.name: field.dataType for field in known}
        for field in seen:
            below = _dotted(path, field.name)
            if field.name not in types:
                yield below
            else:
                yield from _missing(field.dataType, types[field.name], below)
    elif isinstance(known, MapType):
        for inner in _values(seen):
            yield from _missing(inner, known.valueType, path)
    elif isinstance(seen, ArrayType) and isinstance(known, ArrayType):
        yield from _missing(seen.elementType, known.elementType, path)


def _changes(old: DataType, new: DataType, path: str) -> Iterator[dict[str, str]]:
    if isinstance(old, StructType) and isinstance(new, StructType):
        types = {field.name: field.dataType for field in old}
        for field in new:
            below = _dotted(path, field.name)
            if field.name in types:
                yield from _changes(types[field.name], field.dataType, below)
            else:
                yield {"column": below, "change": "added", "type": field.dataType.simpleString()}
        for name in sorted(types.keys() - set(new.names)):
            yield {"column": _dotted(path, name), "change": "dropped", "type": types[name].simpleString()}
    elif isinstance(old, ArrayType) and isinstance(new, ArrayType):
        yield from _changes(old.elementType, new.elementType, f"{path}.element")
    elif isinstance(old, MapType) and isinstance(new, MapType):
        yield from _changes(old.valueType, new.valueType, f"{path}.value")
    elif old != new:
        yield {"column": path, "change": f"widened from {old.simpleString()}", "type": new.simpleString()}


def _dotted(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
