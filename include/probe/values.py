"""Whether values are of their columns' types, told without Spark: for `sluice plan`, which names what a load will not
keep in its column. Pure; where Spark's parsers take more than one form, what may be one of them passes.
"""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from include.config.field_metadata import PARTITION, SOURCE_NAME

JsonType = Any  # Spark's type as JSON: a name, or a mapping for struct, array and map
BITS: Mapping[str, int] = {"byte": 8, "short": 16, "integer": 32, "long": 64}
INTEGER = re.compile(r"[+-]?\d+")
DATE = re.compile(r"\s*[+-]?\d{4,}-\d{1,2}-\d{1,2}\s*")
TIMESTAMP = re.compile(r"\s*[+-]?\d{4,}(-\d{1,2}(-\d{1,2}([ Tt].*)?)?)?\s*|\s*[Tt]?\d{1,2}:.*", re.DOTALL)
DECIMAL = re.compile(r"decimal\((\d+), ?(-?\d+)\)")
SHOWN = 80  # characters of a value in a reason
SPECIAL = ("nan", "inf", "+inf", "-inf", "infinity", "+infinity", "-infinity")


def columns_of(schema: JsonType) -> dict[str, JsonType]:
    """The types of the columns that files bring, by their names in the files."""
    return {
        field.get("metadata", {}).get(SOURCE_NAME, field["name"]): field["type"]
        for field in schema["fields"]
        if not field.get("metadata", {}).get(PARTITION)
    }


def json_misfit(record: Mapping[str, Any], columns: Mapping[str, JsonType]) -> str:
    """Why a decoded JSON record does not fit, "" if it does."""
    for name, kind in columns.items():
        if (value := record.get(name)) is not None and not _json_fits(value, kind):
            return _reason(name, value, kind)
    return ""


def text_misfit(fields: Sequence[str], header: Sequence[str], columns: Mapping[str, JsonType], null: str) -> str:
    """Why the fields of a CSV record do not fit, "" if they do."""
    if len(fields) != len(header):
        return f"has {len(fields)} fields, the header has {len(header)}"
    for name, text in zip(header, fields, strict=True):
        if name in columns and text not in ("", null) and not _text_fits(text, columns[name]):
            return _reason(name, text, columns[name])
    return ""


def _reason(name: str, value: object, kind: JsonType) -> str:
    shown = repr(value)
    shown = shown if len(shown) <= SHOWN else shown[:SHOWN] + "..."
    return f"column {name!r}: {shown} is not {kind if isinstance(kind, str) else kind['type']}"


def _json_fits(value: object, kind: JsonType) -> bool:
    if value is None or kind in ("string", "variant", "binary"):
        return True
    if not isinstance(kind, str):
        return _nested_fits(value, kind)
    if kind in BITS or kind in ("double", "float", "boolean"):
        return _plain_fits(value, kind)
    if kind == "date" or kind.startswith("timestamp"):
        return _text_fits(value, kind) if isinstance(value, str) else kind != "date" and type(value) is int
    return type(value) in (int, float, str) and _text_fits(str(value), kind)


def _plain_fits(value: object, kind: str) -> bool:
    if kind in BITS:
        return type(value) is int and -(1 << BITS[kind] - 1) <= value < 1 << BITS[kind] - 1
    return type(value) is bool if kind == "boolean" else type(value) in (int, float)


def _nested_fits(value: object, kind: Mapping[str, Any]) -> bool:
    if kind["type"] == "struct":
        return isinstance(value, dict) and not json_misfit(value, columns_of(kind))
    if kind["type"] == "array":
        return isinstance(value, list) and all(_json_fits(item, kind["elementType"]) for item in value)
    return isinstance(value, dict) and all(_json_fits(item, kind["valueType"]) for item in value.values())


def _text_fits(text: str, kind: JsonType) -> bool:
    if kind in BITS:
        return INTEGER.fullmatch(text) is not None and _plain_fits(int(text[:40]), kind)
    if kind == "boolean":
        return text.lower() in ("true", "false")
    if kind in ("double", "float"):
        return text.strip().lower() in SPECIAL or _is_number(text.strip().rstrip("dDfF"))
    pattern = DATE if kind == "date" else TIMESTAMP if str(kind).startswith("timestamp") else None
    return pattern.fullmatch(text) is not None if pattern else _decimal_fits(text, str(kind))


def _decimal_fits(text: str, kind: str) -> bool:
    """False for what is no number or has too many digits before the point; True for other types."""
    limits = DECIMAL.fullmatch(kind)
    if limits is None or not _is_number(text):
        return limits is None
    whole = Decimal(text.replace(",", "")).adjusted() + 1
    return whole <= int(limits[1]) - int(limits[2])


def _is_number(text: str) -> bool:
    try:
        Decimal(text.replace(",", ""))
    except InvalidOperation:
        return False
    return True
