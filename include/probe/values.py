"""Whether values are of their columns' types, told without Spark: for `sluice plan`, which names what a load will not
keep in its column, and for the reasons in the quarantine. Pure; the rules are those of spark_jobs/engine/exact.py.
"""

import json
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from include.config.field_metadata import PARTITION, SOURCE_NAME

JsonType = Any  # Spark's type as JSON: a name, or a mapping for struct, array and map
BITS: Mapping[str, int] = {"byte": 8, "short": 16, "integer": 32, "long": 64}
SQL_NAMES = {"byte": "tinyint", "short": "smallint", "integer": "int", "long": "bigint"}
# What a format option of the reader takes out of our hands.
FORMATS = {"dateFormat": "date", "timestampFormat": "timestamp", "timestampNTZFormat": "timestamp_ntz"}
INTEGER = re.compile(r"[+-]?\d+")
DATE = re.compile(r"\s*[+-]?\d{4,7}-\d{1,2}-\d{1,2}\s*")
TIMESTAMP = re.compile(r"\s*[+-]?\d{4,7}-\d{1,2}-\d{1,2}([ T].*)?\s*", re.DOTALL)
NANOSECONDS = re.compile(r"\.\d{6}\d*[1-9]")
WITHOUT_ZONE = re.compile(r"\s*[+-]?[0-9-]+(?:[ T][0-9:.]*)?\s*")
THOUSANDS = re.compile(r"\s*[+-]?\d{1,3}(?:,\d{3})+(?:\.\d*)?\s*")
DECIMAL = re.compile(r"decimal\((\d+), ?(-?\d+)\)")
TYPES_BELOW = ("type", "fields", "elementType", "keyType", "valueType")
SHOWN = 80  # characters of a value in a reason
SPECIAL = ("nan", "inf", "+inf", "-inf", "infinity", "+infinity", "-infinity")
MAX_FLOAT = 3.4028235677973366e38  # what is not less is infinite as a float
MAX_SECONDS = (1 << 63) // 1_000_000 - 1


def columns_of(schema: JsonType) -> dict[str, JsonType]:
    """The types of the columns that files bring, by their names in the files."""
    return {
        field.get("metadata", {}).get(SOURCE_NAME, field["name"]): field["type"]
        for field in schema["fields"]
        if not field.get("metadata", {}).get(PARTITION)
    }


def judged(kind: JsonType, options: Mapping[str, str]) -> JsonType:
    """The type without the parts whose texts the reader's options give a format: those are not judged here."""
    if isinstance(kind, Mapping):
        return {key: judged(value, options) for key, value in kind.items()}
    if isinstance(kind, list):
        return [judged(value, options) for value in kind]
    if kind in (FORMATS[option] for option in FORMATS.keys() & options.keys()):
        return "string"
    if kind in ("double", "float") and options.get("allowNonNumericNumbers") == "true":
        return "string"  # NaN is a number then, and a text in what is judged
    localized = options.get("locale", "en-US") != "en-US"
    return "string" if localized and isinstance(kind, str) and DECIMAL.fullmatch(kind) else kind


def widest(kind: JsonType) -> JsonType:
    """The type with the widest ones that Delta's type widening makes of integers and decimals."""
    if isinstance(kind, Mapping):
        return {key: widest(value) if key in TYPES_BELOW else value for key, value in kind.items()}
    if isinstance(kind, list):
        return [{**field, "type": widest(field["type"])} for field in kind]
    digits = DECIMAL.fullmatch(kind)
    return f"decimal(38,{digits[2]})" if digits else "long" if kind in BITS else kind


def json_misfit(record: Mapping[str, Any], columns: Mapping[str, JsonType]) -> str:
    """Why a decoded JSON record does not fit, "" if it does."""
    for name, kind in columns.items():
        if (value := record.get(name)) is not None and not _json_fits(value, kind):
            return _reason(name, _shown(value), kind)
    return ""


def _shown(value: object) -> str:
    try:
        return str(value) if isinstance(value, Decimal) else json.dumps(value, default=str)
    except RecursionError:
        return "a value nested too deeply"


def text_misfit(fields: Sequence[str], header: Sequence[str], columns: Mapping[str, JsonType], null: str) -> str:
    """Why the fields of a CSV record do not fit, "" if they do."""
    if len(fields) != len(header):
        return f"has {len(fields)} fields, the header has {len(header)}"
    for name, text in zip(header, fields, strict=True):
        if name in columns and text not in ("", null) and not _text_fits(text, columns[name]):
            return _reason(name, repr(text), columns[name])
    return ""


def _reason(name: str, value: str, kind: JsonType) -> str:
    shown = value if len(value) <= SHOWN else value[:SHOWN] + "..."
    wanted = kind if isinstance(kind, str) else kind["type"]
    return f"column {name!r}: {shown} is not {SQL_NAMES.get(wanted, wanted)}"


def _json_fits(value: object, kind: JsonType) -> bool:
    if value is None or kind in ("string", "variant", "binary"):
        return True
    if not isinstance(kind, str):
        return _nested_fits(value, kind)
    if kind in BITS or kind in ("double", "float", "boolean"):
        return _plain_fits(value, kind)
    if kind == "timestamp" and type(value) is int:
        return abs(value) <= MAX_SECONDS
    if kind == "date" or kind.startswith("timestamp"):
        return isinstance(value, str) and _text_fits(value, kind)
    return type(value) in (int, float, Decimal, str) and _text_fits(str(value), kind)


def _plain_fits(value: object, kind: str) -> bool:
    if kind in BITS:
        return type(value) is int and -(1 << BITS[kind] - 1) <= value < 1 << BITS[kind] - 1
    if kind == "boolean":
        return type(value) is bool
    return type(value) in (int, float, Decimal) and (kind == "double" or abs(float(str(value))) < MAX_FLOAT)


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
        return text.strip().lower() in SPECIAL or _float_fits(text, kind)
    if kind == "date":
        return DATE.fullmatch(text) is not None
    if str(kind).startswith("timestamp"):
        return TIMESTAMP.fullmatch(text) is not None and _clock_fits(text, str(kind))
    return _decimal_fits(text, str(kind))


def _float_fits(text: str, kind: str) -> bool:
    try:
        return "_" not in text and abs(float(text)) < (MAX_FLOAT if kind == "float" else float("inf"))
    except ValueError:
        return False


def _clock_fits(text: str, kind: str) -> bool:
    zoned = kind == "timestamp_ntz" and WITHOUT_ZONE.fullmatch(text) is None
    return not zoned and not NANOSECONDS.search(text)


def _decimal_fits(text: str, kind: str) -> bool:
    """False for what is no number, or has too many digits on a side of the point; True for other types."""
    limits = DECIMAL.fullmatch(kind)
    if limits is None:
        return True
    if "," in text and not THOUSANDS.fullmatch(text):
        return False
    try:
        number = Decimal(text.replace(",", ""))
    except InvalidOperation:
        return False
    if not number.is_finite() or number.is_zero():
        return number.is_finite()
    precision, scale = int(limits[1]), int(limits[2])
    digits, exponent = number.as_tuple()[1:]
    zeros = len(digits) - len("".join(map(str, digits)).rstrip("0"))
    return number.adjusted() < precision - scale and int(exponent) + zeros >= -scale
