"""Reads the text of a measure: one SQL aggregate such as `count(DISTINCT user_id) FILTER (WHERE ok)`. Pure."""

import re
from dataclasses import dataclass

_CALL = re.compile(r"\s*(?P<name>[A-Za-z_]\w*)\s*\(")
_FILTER = re.compile(r"\s*FILTER\s*\(\s*WHERE\s+", re.IGNORECASE)
_DISTINCT = re.compile(r"DISTINCT\s+", re.IGNORECASE)
_QUOTES = "'\"`"


@dataclass(frozen=True)
class Call:
    """An aggregate as it is written: its name in lower case, its arguments and its filter as SQL."""

    function: str
    arguments: tuple[str, ...]
    distinct: bool = False
    where: str | None = None


def parse_call(text: str) -> Call:
    """The call that `text` is.

    Raises:
        ValueError: it is anything but one call, with an optional FILTER.
    """
    head = _CALL.match(text)
    if head is None:
        raise ValueError(f"must be one aggregate such as count(*) or avg(delay), not {text!r}")
    inside, end = _balanced(text, head.end())
    where = None
    if (tail := _FILTER.match(text, end)) is not None:
        where, end = _balanced(text, tail.end())
    if text[end:].strip():
        raise ValueError(
            f"must be one aggregate; {text[end:].strip()!r} comes after it. Compute with measures by a step "
            "of a pipeline on the table"
        )
    distinct = _DISTINCT.match(inside.strip())
    inside = inside.strip()[distinct.end() :] if distinct else inside
    return Call(head["name"].lower(), tuple(_arguments(inside)), distinct is not None, where)


def _balanced(text: str, start: int) -> tuple[str, int]:
    """What stands between the parenthesis before `start` and its partner, and the place behind that."""
    depth, position = 1, start
    while position < len(text):
        char = text[position]
        if char in _QUOTES:
            position = _quoted_end(text, position)
            continue
        depth += {"(": 1, ")": -1}.get(char, 0)
        position += 1
        if depth == 0:
            return text[start : position - 1], position
    raise ValueError(f"a parenthesis is not closed: {text!r}")


def _quoted_end(text: str, start: int) -> int:
    quote, position = text[start], start + 1
    while position < len(text):
        if text[position] == "\\" and quote != "`":
            position += 2
        elif text[position] == quote:
            return position + 1
        else:
            position += 1
    raise ValueError(f"a quote is not closed: {text!r}")


def _arguments(text: str) -> list[str]:
    """The arguments: cut at the commas outside of parentheses, brackets and quotes."""
    parts, depth, begin, position = [], 0, 0, 0
    while position < len(text):
        char = text[position]
        if char in _QUOTES:
            position = _quoted_end(text, position)
            continue
        depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(char, 0)
        if char == "," and depth == 0:
            parts.append(text[begin:position].strip())
            begin = position + 1
        position += 1
    parts.append(text[begin:].strip())
    return [part for part in parts if part]
