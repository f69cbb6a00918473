"""CSV columns whose values Spark's reader takes as they stand, told without a step of Python for each value.

Spark's reader makes values of texts that are none (see the engine's exact.py), so where it could, it is asked for
texts, and the values are made of them. Nearly all columns need none of that, which a look at their bytes tells.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from include.config.field_metadata import SOURCE_NAME
from include.probe.plain_rows import RETURN, Bytes, Places, PlainRows

# How all values of a column look: the most digits after the point of a number, or the shape of dates and times, `d` for
# a digit (`dddd-dd-dd`), "" where there is no value at all.
Look = int | str
JsonType = Any

POINT, PLUS, MINUS, ZERO, NINE = b".+-09"
LONGEST = 32  # characters of a value: no number of so few is beyond a FLOAT's range
NUMBERS = re.compile(r"float|double|decimal")
TIMES = re.compile(r"date|timestamp")
SHAPE = re.compile(r"dddd-dd-dd(?:[ T]dd:dd:dd(?:\.d{1,6})?(?:Z|[+-]dd:dd)?)?")
# Under these options the reader takes other texts for values, or for none.
CHANGES_VALUES = ("nullValue", "emptyValue", "locale", "nanValue", "positiveInf", "negativeInf")


def exact_columns(schema: JsonType) -> dict[str, Look]:
    """The columns of a schema (its JSON form) that Spark is asked for as texts, each as it looks without a value."""
    fields = schema["fields"] if schema else ()
    looks = {
        f.get("metadata", {}).get(SOURCE_NAME, f["name"]): _without_value(f["type"])
        for f in fields
        if isinstance(f["type"], str)
    }
    return {name: look for name, look in looks.items() if look is not None}


def _without_value(kind: str) -> Look | None:
    return 0 if NUMBERS.match(kind) else "" if TIMES.match(kind) else None


@dataclass
class PlainValues:
    """The columns of one file, by position, that are plain as far as it was looked at."""

    width: int
    looks: dict[int, Look] = field(default_factory=dict)

    @classmethod
    def of(cls, header: tuple[str, ...], wanted: Mapping[str, Look], options: Mapping[str, str]) -> "PlainValues":
        """Nothing is plain where the options leave it to the reader what a value is."""
        if any(option in options for option in CHANGES_VALUES):
            return cls(len(header))
        return cls(len(header), {at: wanted[name] for at, name in enumerate(header) if name in wanted})

    def give_up(self) -> None:
        """No column is: a block cannot be looked at like this."""
        self.looks = {}

    def look(self, rows: PlainRows) -> None:
        """Look at the records of a block, of which the separators are known if there is a column to look at."""
        if not self.looks:
            return
        if not _all_of(rows, self.width):
            self.give_up()
            return
        padded = np.append(rows.data, np.zeros(LONGEST, np.uint8))
        found = {at: _confirmed(look, padded, *self._bounds(rows, at)) for at, look in self.looks.items()}
        self.looks = {at: look for at, look in found.items() if look is not None}

    def _bounds(self, rows: PlainRows, column: int) -> tuple[Places, Places]:
        """Where the values of a column begin and end, without a carriage return."""
        inner = rows.separators.reshape(-1, self.width - 1) if rows.separators is not None and self.width > 1 else None
        start = np.append(0, rows.ends[:-1] + 1) if inner is None or column == 0 else inner[:, column - 1] + 1
        if inner is not None and column < self.width - 1:
            return start, inner[:, column]
        end = rows.ends
        return start, end - ((rows.data[end - 1] == RETURN) & (end > start))


def _all_of(rows: PlainRows, width: int) -> bool:
    """Whether the records of a block have `width` fields each."""
    separators, ends = rows.separators, rows.ends
    if separators is None or separators.size != (width - 1) * ends.size:
        return False
    if width == 1:
        return True
    inner = separators.reshape(-1, width - 1)
    return bool(np.all(inner[:, -1] < ends) and np.all(inner[1:, 0] > ends[:-1]))


def _confirmed(look: Look, padded: Bytes, start: Places, end: Places) -> Look | None:
    """How the column looks with these values, None where one is not plain. An empty one (NULL) is."""
    lengths = end - start
    longest = int(lengths.max())
    if longest > LONGEST:
        return None
    if isinstance(look, int):
        return _confirmed_number(look, padded, start, lengths)
    if longest and not look:
        at = int(start[np.argmax(lengths)])
        look = re.sub("[0-9]", "d", padded[at : at + longest].tobytes().decode("latin-1"))
        if not SHAPE.fullmatch(look):
            return None
    return look if _all_alike(look, padded, start, lengths) else None


def _confirmed_number(digits: int, padded: Bytes, start: Places, lengths: Places) -> int | None:
    """The most digits after a point; None where a value has a character that is no digit, sign or point."""
    for at in range(int(lengths.max())):
        there = lengths > at
        marks = padded[start + at]
        points = (marks == POINT) & there
        plain = ((marks >= ZERO) & (marks <= NINE)) | points
        if at == 0:
            plain |= (marks == PLUS) | (marks == MINUS)
        if not np.all(plain | ~there):
            return None
        if np.any(points):
            digits = max(digits, int(lengths[points].max()) - at - 1)
    return digits


def _all_alike(look: str, padded: Bytes, start: Places, lengths: Places) -> bool:
    """Whether all values that are there have that shape."""
    there = lengths > 0
    if not np.all(lengths[there] == len(look)):
        return False
    start = start[there]
    for at, mark in enumerate(look):
        marks = padded[start + at]
        alike = (marks >= ZERO) & (marks <= NINE) if mark == "d" else marks == ord(mark)
        if not np.all(alike):
            return False
    return True
