"""The columns that a Parquet, ORC or Avro file says it has, compared with the schema's, for `sluice plan`.

Types are in Spark's JSON form. Which type holds every value of another is spark_jobs/engine/fitting.py's question, too:
both go by WIDENS and DIGITS.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.types as kinds

from include.probe.values import DECIMAL, SQL_NAMES, JsonType, columns_of

# By the names of Spark's SQL: the types that hold every value of one, and the digits that an integer may have.
WIDENS: Mapping[str, set[str]] = {
    "tinyint": {"smallint", "int", "bigint", "float", "double"},
    "smallint": {"int", "bigint", "float", "double"},
    "int": {"bigint", "double"},
    "float": {"double"},
    "date": {"timestamp_ntz"},
}
DIGITS: Mapping[str, int] = {"tinyint": 3, "smallint": 5, "int": 10, "bigint": 19}
INTEGERS = ("tinyint", "smallint", "int", "bigint")  # each widens to those after it
MAX_DIGITS = 38
UNKNOWN = "?"  # a type that Spark decides on by more than Arrow shows
_SAME: Mapping[Any, str] = {
    pa.int8(): "byte", pa.int16(): "short", pa.int32(): "integer", pa.int64(): "long",
    pa.uint8(): "short", pa.uint16(): "integer", pa.uint32(): "long", pa.uint64(): "decimal(20,0)",
    pa.float32(): "float", pa.float64(): "double", pa.bool_(): "boolean", pa.date32(): "date", pa.null(): "void",
    pa.string(): "string", pa.large_string(): "string", pa.binary(): "binary", pa.large_binary(): "binary",
}  # fmt: skip


def file_schema(schema: pa.Schema) -> JsonType:
    """The columns of a file as Spark reads them."""
    return _struct(schema)


def _struct(fields: Any) -> JsonType:
    return {"type": "struct", "fields": [{"name": field.name, "type": _type(field.type)} for field in fields]}


def _type(kind: pa.DataType) -> JsonType:
    if kinds.is_struct(kind):
        return _struct(kind)
    if kinds.is_list(kind) or kinds.is_large_list(kind):
        return {"type": "array", "elementType": _type(kind.value_type)}
    if kinds.is_map(kind):
        return {"type": "map", "keyType": _type(kind.key_type), "valueType": _type(kind.item_type)}
    if kinds.is_decimal(kind) and kind.scale >= 0:
        return f"decimal({kind.precision},{kind.scale})"
    if kinds.is_timestamp(kind) and kind.unit in ("ms", "us"):
        return "timestamp_ntz" if kind.tz is None else "timestamp"
    return _SAME.get(kind, UNKNOWN)


def new_fields(seen: JsonType, known: JsonType, path: str = "") -> Iterator[str]:
    """Dotted names of the fields in `seen` that `known` has no place for."""
    if _is(seen, "struct") and _is(known, "struct"):
        types = columns_of(known)
        for name, kind in columns_of(seen).items():
            below = f"{path}.{name}" if path else name
            yield from new_fields(kind, types[name], below) if name in types else (below,)
    elif _is(seen, "array") and _is(known, "array"):
        yield from new_fields(seen["elementType"], known["elementType"], f"{path}[]")
    elif _is(seen, "map") and _is(known, "map"):
        yield from new_fields(seen["valueType"], known["valueType"], path)


def other_types(seen: JsonType, known: JsonType, path: str = "") -> Iterator[tuple[str, str, str]]:
    """Dotted names of fields with values that `known` cannot hold, with the type in the file and the schema's."""
    if isinstance(known, str) or isinstance(seen, str) or seen["type"] != known["type"]:
        if not type_fits(seen, known):
            yield path, sql_name(seen), sql_name(known)
    elif seen["type"] == "struct":
        types = columns_of(seen)
        for name, kind in columns_of(known).items():
            if name in types:
                yield from other_types(types[name], kind, f"{path}.{name}" if path else name)
    elif seen["type"] == "array":
        yield from other_types(seen["elementType"], known["elementType"], f"{path}[]")
    else:
        yield from other_types(seen["valueType"], known["valueType"], path)


def _is(kind: JsonType, name: str) -> bool:
    return isinstance(kind, Mapping) and kind["type"] == name


def sql_name(kind: JsonType) -> str:
    """The type's name in Spark's SQL, of a nested one what it is."""
    name = kind if isinstance(kind, str) else str(kind["type"])
    return SQL_NAMES.get(name, name)


def type_fits(seen: JsonType, known: JsonType) -> bool:
    """True where every value of type `seen` can be kept as `known`, or nothing can be said."""
    one, other = sql_name(seen), sql_name(known)
    if one == other or "void" in (one, other) or UNKNOWN in (one, other):
        return True
    if other == "string":
        return one != "binary"
    if limits := _digits(other):
        whole = DIGITS.get(one)
        mine = _digits(one)
        if mine is not None:
            return mine[1] <= limits[1] and mine[0] - mine[1] <= limits[0] - limits[1]
        return whole is not None and whole <= limits[0] - limits[1]
    return other in WIDENS.get(one, set())


def type_widens(known: JsonType, seen: JsonType) -> bool:
    """True where Delta widens `known` so that it holds the values of `seen` (see spark_jobs/engine/widening.py)."""
    one, other = sql_name(known), sql_name(seen)
    if one in INTEGERS and other in INTEGERS:
        return INTEGERS.index(one) < INTEGERS.index(other)
    mine, theirs = _digits(one), _digits(other)
    if mine and theirs:
        return max(mine[1], theirs[1]) + max(mine[0] - mine[1], theirs[0] - theirs[1]) <= MAX_DIGITS
    return (one, other) in {("float", "double"), ("date", "timestamp_ntz")}


def _digits(name: str) -> tuple[int, int] | None:
    found = DECIMAL.fullmatch(name)
    return (int(found[1]), int(found[2])) if found else None
