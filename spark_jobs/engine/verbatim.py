"""JSON values that are read as texts, as they stand in the file. Pure; runs in the driver and in Spark's workers.

Spark's JSON source copies what is no text into a STRING column byte by byte; its `from_json` parses and prints it
again, so that `1.10` becomes `1.1` and the 20th digit is lost. Lines that go through `from_json` are given those values
as texts before. So is a number that stands for a time: as that time, because a text of the same digits is none.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from pyspark.sql.types import ArrayType, DataType, MapType, StringType, StructType, TimestampType

# Where values are that are read as texts: True for one itself, TIME for one that is to be a time, else by key; "*"
# stands for an array's items.
Places = Any
ITEMS, VALUES, TIME = "*", "**", "@"
# A number that is printed otherwise than it may be written, or a value with values below it.
SUSPECT = re.compile(rb"[:,\[]\s*(?:[\[{]|-?\d+[.eE]|-0)")
NUMBER = re.compile(rb"[:,\[]\s*(?:[\[{]|-?\d)")
SECONDS = re.compile(rb"-?\d{1,13}")
MAX_SECONDS = (1 << 63) // 1_000_000 - 1
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_array = msgspec.json.Decoder(list[msgspec.Raw])


def places_of(asked: DataType, wanted: DataType) -> Places:
    """Where values of the type `wanted` are read as texts (see exact.py), None where none is."""
    if isinstance(asked, StringType):
        return TIME if isinstance(wanted, TimestampType) else True
    if isinstance(asked, StructType) and isinstance(wanted, StructType):
        types = zip(asked, wanted, strict=True)
        found = {field.name: places_of(field.dataType, other.dataType) for field, other in types}
        return {name: place for name, place in found.items() if place is not None} or None
    if isinstance(asked, ArrayType) and isinstance(wanted, ArrayType):
        return _below(ITEMS, places_of(asked.elementType, wanted.elementType))
    if isinstance(asked, MapType) and isinstance(wanted, MapType):
        return _below(VALUES, places_of(asked.valueType, wanted.valueType))
    return None


def _below(mark: str, place: Places) -> Places:
    return None if place is None else (mark, place)


def _has_times(place: Places) -> bool:
    if isinstance(place, Mapping):
        return any(map(_has_times, place.values()))
    return _has_times(place[1]) if isinstance(place, tuple) else place == TIME


def verbatim(line: bytes, places: Places) -> bytes:
    """The line with each value at one of the places that is no text as the text that stands there.

    A line that is no JSON object is returned as it is.
    """
    return _verbatim(line, places, _suspect(places))


def verbatim_lines(lines: Sequence[bytes], places: Places) -> list[bytes]:
    """`verbatim` of each line."""
    suspect = _suspect(places)
    return [_verbatim(line, places, suspect) for line in lines]


def _suspect(places: Places) -> re.Pattern[bytes]:
    return NUMBER if _has_times(places) else SUSPECT


def _verbatim(line: bytes, places: Places, suspect: re.Pattern[bytes]) -> bytes:
    if places is None or not suspect.search(line):
        return line
    try:
        return _changed(line.strip(), places) or line
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return line


def verbatim_texts(places: Places) -> Callable[[pa.Array], pa.Array]:
    """`verbatim` for a column of lines."""

    def texts(lines: pa.Array) -> pa.Array:
        suspect = _suspect(places)
        changed = [None if line is None else _verbatim(line.encode(), places, suspect) for line in lines.to_pylist()]
        return pa.array(changed, pa.binary()).cast(pa.string())

    return texts


def _changed(text: bytes, place: Places) -> bytes | None:
    """The JSON value with its texts, None where it stays as it is."""
    if place == TIME and SECONDS.fullmatch(text):
        return _time(int(text))
    if place is True or place == TIME:
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


def _time(seconds: int) -> bytes | None:
    """Seconds since 1970 as a text, as far as a timestamp goes."""
    if abs(seconds) > MAX_SECONDS:
        return None
    return msgspec.json.encode(f"{np.datetime64(seconds, 's')}Z")


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
