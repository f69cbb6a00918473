"""One option of `ingest.options`: its name, the formats that have it, its values, its meaning."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from include.config.hints import check_hints
from include.config.values import byte_size, did_you_mean, moment, shown

FORMATS = ("json", "csv", "parquet", "avro", "orc", "text", "xml", "binaryFile")


@dataclass(frozen=True)
class Kind:
    """How a value is written: `parse` returns the typed value of what stands in the YAML, or raises ValueError."""

    parse: Callable[[object], Any]
    schema: Mapping[str, Any]


@dataclass(frozen=True)
class Option:
    """An option that users may set.

    `formats` is empty where all formats have it. `aliases` are other names of the same option.
    """

    name: str
    kind: Kind
    meaning: str
    formats: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()


def _flag(value: object) -> bool:
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise ValueError(f"must be true or false, not {shown(value)}")  # noqa: TRY004 (pydantic turns ValueErrors into problems)
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be text (quote it), not {shown(value)}")  # noqa: TRY004
    return value


def _filled(value: object) -> str:
    text = _text(value)
    if not text.strip():
        raise ValueError("must not be empty")
    return text


def _hints(value: object) -> str:
    return check_hints(_filled(value))


def _character(value: object) -> str:
    text = _text(value)
    if len(text) > 1 and text not in ("\\t", "\\0", "\\\\", '\\"'):
        raise ValueError(f"must be one character, not {shown(value)}")
    return text


def _separator(value: object) -> str:
    text = _text(value).replace("\\t", "\t")
    if not text:
        raise ValueError("must not be empty")
    return text


def _file_glob(value: object) -> str:
    text = _filled(value)
    if "/" in text:
        raise ValueError(f"matches the names of files, not their paths: it cannot hold a /, as {shown(value)} does")
    return text


def _count(value: object) -> int:
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"must be a whole number from 1, not {shown(value)}")
    return value


def _zone(value: object) -> str:
    text = _filled(value)
    try:
        ZoneInfo(text)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"must be a time zone such as Europe/Berlin or UTC, not {shown(value)}") from error
    return text


def _always(value: object) -> bool:
    if not _flag(value):
        raise ValueError("sub-folders are always read: narrow ingest.source or set pathGlobFilter to leave some out")
    return True


def _columns(value: object) -> tuple[str, ...]:
    """Auto Loader takes a text with commas; a list says the same."""
    names = value if isinstance(value, list) else _filled(value).split(",")
    columns = tuple(_filled(name).strip() for name in names)
    if len(set(columns)) != len(columns):
        raise ValueError(f"names a column twice: {shown(value)}")
    return columns


def choice(*allowed: str) -> Kind:
    """A closed set of words; letter case does not count, the spelling of `allowed` is kept."""
    by_lower = {word.lower(): word for word in allowed}

    def parse(value: object) -> str:
        found = by_lower.get(value.lower()) if isinstance(value, str) else None
        if found is None:
            hint = did_you_mean(value, list(allowed)) if isinstance(value, str) else ""
            raise ValueError(f"must be one of {', '.join(allowed)}, not {shown(value)}{hint}")
        return found

    return Kind(parse, {"enum": list(allowed)})


_TEXT_SCHEMA: dict[str, Any] = {"type": "string"}
FLAG = Kind(_flag, {"type": "boolean"})
ALWAYS = Kind(_always, {"const": True})
TEXT = Kind(_text, _TEXT_SCHEMA)
FILLED = Kind(_filled, {"type": "string", "minLength": 1})
HINTS = Kind(_hints, {"type": "string", "minLength": 1})
CHARACTER = Kind(_character, {"type": "string", "maxLength": 2})
SEPARATOR = Kind(_separator, {"type": "string", "minLength": 1})
FILE_GLOB = Kind(_file_glob, {"type": "string", "pattern": "^[^/]+$"})
COUNT = Kind(_count, {"type": "integer", "minimum": 1})
SIZE = Kind(
    byte_size,
    {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": "^[0-9]+ *[kmgtKMGT]?[iI]?[bB]?$"}]},
)
ZONE = Kind(_zone, _TEXT_SCHEMA)
MOMENT = Kind(moment, _TEXT_SCHEMA)
COLUMNS = Kind(_columns, {"anyOf": [_TEXT_SCHEMA, {"type": "array", "items": _TEXT_SCHEMA, "uniqueItems": True}]})
