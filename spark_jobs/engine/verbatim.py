"""JSON values for STRING columns as they stand in the file. Pure; runs in the driver and in Spark's Python workers.

Spark's JSON source copies what is no text into a STRING column byte by byte; its `from_json` parses and prints it
again, so that `1.10` becomes `1.1` and the 20th digit is lost. Lines that go through `from_json` are given those values
as texts before.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import pyarrow as pa
from pyspark.sql.types import ArrayType, DataType, MapType, StringType, StructType

# Where values of STRING columns are: True for one itself, else by key; "*" stands for an array's items.
Places = Any
ITEMS, VALUES = "*", "**"
# A number that is printed otherwise than it may be written, or a value with values below it.
SUSPECT = re.compile(rb"[:,\[]\s*(?:[\[{]|-?\d+[.eE]|-0)")
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_array = msgspec.json.Decoder(list[msgspec.Raw])


def places_of(data_type: DataType) -> Places:
    """Where the type has STRING columns, None where it has none."""
    if isinstance(data_type, StringType):
        return True
    if isinstance(data_type, StructType):
        found = {field.name: places_of(field.dataType) for field in data_type}
        return {name: place for name, place in found.items() if place is not None} or None
    if isinstance(data_type, ArrayType):
        return _below(ITEMS, data_type.elementType)
    return _below(VALUES, data_type.valueType) if isinstance(data_type, MapType) else None


def _below(mark: str, data_type: DataType) -> Places:
    place = places_of(data_type)
    return None if place is None else (mark, place)


def verbatim(line: bytes, places: Places) -> bytes:
    """The line with each value of a STRING column that is no text as the text that stands there.

    A line that is no JSON object is returned as it is.
    """
    if places is None or not SUSPECT.search(line):
        return line
    try:
        return _changed(line.strip(), places) or line
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return line


def verbatim_texts(places: Places) -> Callable[[pa.Array], pa.Array]:
    """`verbatim` for a column of lines."""

    def texts(lines: pa.Array) -> pa.Array:
        changed = [None if line is None else verbatim(line.encode(), places) for line in lines.to_pylist()]
        return pa.array(changed, pa.binary()).cast(pa.string())

    return texts


def _changed(text: bytes, place: Places) -> bytes | None:
    """The JSON value with its texts, None where it stays as it is."""
    if place is True:
        printed = text[:1] in (b"[", b"{") or text == b"-0" or (text[:1] in b"-0123456789" and _is_real(text))
        return msgspec.json.encode(text.decode()) if printed else None
    if isinstance(place, Mapping):
        return _members(text, place) if text[:1] == b"{" else None
    mark, inner = place
    if mark == ITEMS:
        return _items(text, inner) if text[:1] == b"[" else None
    if text[:1] != b"{":
        return None
    return _encoded({key: (value, _changed(_text(value), inner)) for key, value in _object.decode(text).items()})


def _is_real(text: bytes) -> bool:
    return any(mark in text for mark in (b".", b"e", b"E"))


def _members(text: bytes, places: Mapping[str, Places]) -> bytes | None:
    members = _object.decode(text)
    return _encoded(
        {key: (value, _changed(_text(value), places[key]) if key in places else None) for key, value in members.items()}
    )


def _encoded(parts: Mapping[str, tuple[msgspec.Raw, bytes | None]]) -> bytes | None:
    if all(new is None for _, new in parts.values()):
        return None
    return msgspec.json.encode({key: old if new is None else msgspec.Raw(new) for key, (old, new) in parts.items()})


def _items(text: bytes, place: Places) -> bytes | None:
    items: Sequence[msgspec.Raw] = _array.decode(text)
    changed = [_changed(_text(item), place) for item in items]
    if all(new is None for new in changed):
        return None
    return msgspec.json.encode(
        [old if new is None else msgspec.Raw(new) for old, new in zip(items, changed, strict=True)]
    )


def _text(raw: msgspec.Raw) -> bytes:
    return bytes(raw).strip()
