"""A YAML document with the line and column of every key and value. Pure; knows nothing of pipelines.

Scalars are read by the rules of YAML 1.2, which editors use too: `on`, `no` and `1:30` are text, and only true and
false are flags. What makes a small file mean something else than it shows (two equal keys, aliases, tags, a second
document) is refused with its place.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import yaml

Loc = tuple[str | int, ...]
MAX_DEPTH = 24
MAX_CHARACTERS = 1_000_000
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# No leading zeros (007 is a code, not a number) and at most 18 digits: longer ones are identifiers.
_WHOLE = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")
_NUMBER = re.compile(r"[-+]?(?:(?:0|[1-9][0-9]*)\.[0-9]*|\.[0-9]+|(?:0|[1-9][0-9]*)(?=[eE]))(?:[eE][-+]?[0-9]+)?")
_CONSTANTS: dict[str, object] = {"": None, "~": None, "null": None, "Null": None, "NULL": None}
_CONSTANTS |= {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}


class Mark(NamedTuple):
    """A place in a text; both count from 1."""

    line: int
    column: int


class Problem(NamedTuple):
    """What is wrong at a place of the document. `loc` is the path of keys, empty for the document as such."""

    mark: Mark
    loc: Loc
    what: str


@dataclass
class Document:
    """The value, where each part of it stands, and what is wrong with it as YAML."""

    value: object = None
    keys: dict[Loc, Mark] = field(default_factory=dict)
    values: dict[Loc, Mark] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def mark(self, loc: Loc, *, key: bool = False) -> Mark:
        """The place of the value (or its key) at `loc`, or of the nearest part around it that exists."""
        for length in range(len(loc), 0, -1):
            first, second = (self.keys, self.values) if key else (self.values, self.keys)
            found = first.get(loc[:length]) or second.get(loc[:length])
            if found:
                return found
        return self.values.get((), Mark(1, 1))


class _RefusedError(Exception):
    """Raised inside the builder when reading on makes no sense."""

    def __init__(self, mark: Mark, what: str, loc: Loc = ()) -> None:
        super().__init__(what)
        self.problem = Problem(mark, loc, what)


def parse(text: str) -> Document:
    """Read one YAML document. Never raises: what is wrong stands in `problems`, with its place."""
    if len(text) > MAX_CHARACTERS:
        return Document(problems=[Problem(Mark(1, 1), (), f"the file is longer than {MAX_CHARACTERS:,} characters")])
    builder = _Builder()
    try:
        builder.read(text)
    except _RefusedError as refused:
        builder.document.problems.append(refused.problem)
    except yaml.YAMLError as error:
        builder.document.problems.append(_syntax_problem(text, error))
    return builder.document


def _syntax_problem(text: str, error: yaml.YAMLError) -> Problem:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = _mark(error.problem_mark)
        lines = text.splitlines()
        line = lines[mark.line - 1] if mark.line <= len(lines) else ""
        if "\t" in line[: len(line) - len(line.lstrip())] or line[mark.column - 1 : mark.column] == "\t":
            return Problem(mark, (), "a tab cannot indent YAML: use spaces")
        where = ", ".join(part for part in (error.context, error.problem) if part)
        return Problem(mark, (), f"not YAML: {where}")
    position = getattr(error, "position", 0)
    before = text[: position if isinstance(position, int) else 0]
    mark = Mark(before.count("\n") + 1, len(before) - before.rfind("\n"))
    return Problem(mark, (), f"not YAML: {getattr(error, 'reason', error)}")


def _mark(mark: Any) -> Mark:
    """The mark of either parser (C or Python), which count from 0."""
    return Mark(mark.line + 1, mark.column + 1)


class _Builder:
    """Turns the parser's events into a Document. Recursion is bounded by MAX_DEPTH, size by MAX_CHARACTERS."""

    def __init__(self) -> None:
        self.document = Document()
        self._events: Iterator[yaml.Event] = iter(())

    def read(self, text: str) -> None:
        self._events = iter(yaml.parse(text, Loader=_LOADER))
        next(self._events)  # the stream's start
        event = next(self._events)
        if isinstance(event, yaml.StreamEndEvent):
            raise _RefusedError(Mark(1, 1), "the file is empty")
        self.document.value = self._node(next(self._events), ())
        next(self._events)  # the document's end
        event = next(self._events)
        if not isinstance(event, yaml.StreamEndEvent):
            raise _RefusedError(_mark(event.start_mark), "a second document begins here: one file holds one pipeline")

    def _node(self, event: yaml.Event, loc: Loc) -> object:
        mark = _mark(event.start_mark)
        self.document.values[loc] = mark
        if isinstance(event, yaml.AliasEvent):
            raise _RefusedError(mark, "aliases (*name) are not supported: write the value out", loc)
        if getattr(event, "tag", None) not in (None, "!"):
            raise _RefusedError(mark, "tags (!...) are not supported: write the plain value", loc)
        if len(loc) > MAX_DEPTH:
            raise _RefusedError(mark, f"nested deeper than {MAX_DEPTH} levels", loc[:3])
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(loc)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(loc)
        if not isinstance(event, yaml.ScalarEvent):
            raise _RefusedError(mark, f"not YAML: a value is missing before {type(event).__name__}", loc)
        return _scalar(event.value) if event.implicit[0] else event.value

    def _mapping(self, loc: Loc) -> dict[str, object]:
        mapping: dict[str, object] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            mark = _mark(event.start_mark)
            if not isinstance(event, yaml.ScalarEvent):
                raise _RefusedError(mark, "a key must be a word, not a list, a mapping or an alias", loc)
            key = event.value
            if key == "<<" and event.implicit[0]:
                raise _RefusedError(mark, "merge keys (<<) are not supported: write the values out", loc)
            if key in mapping:
                first = self.document.keys[(*loc, key)].line
                self.document.problems.append(
                    Problem(mark, (*loc, key), f"the key is there twice, first in line {first}")
                )
            self.document.keys[(*loc, key)] = mark
            mapping[key] = self._node(next(self._events), (*loc, key))
        return mapping

    def _sequence(self, loc: Loc) -> list[object]:
        items: list[object] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, (*loc, len(items))))
        return items


def _scalar(text: str) -> object:
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _WHOLE.fullmatch(text):
        return int(text)
    return float(text) if _NUMBER.fullmatch(text) else text
