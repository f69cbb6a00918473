"""Strict checks of JSON lines, before Spark's lax reader sees them. Pure functions over bytes.

Spark reads `{"id":3}{"id":4}` as one record, `{"id":1,"id":2}` as the last value, and drops keys that the schema does
not name, each without a word. So every block of lines is decoded once by msgspec (about a third of the CPU of Spark's
own typed read of the same bytes), the keys are compared with the schema's, and *key conservation* finds repeated keys
without looking at each: the number of `":` in the raw bytes equals the number of decoded keys exactly when no key was
doubled. Text inside strings can only raise the raw count, so the cheap test never misses; a block that fails it is
decoded again line by line.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field
from itertools import compress
from typing import Any

import msgspec

from include.config.field_metadata import PARTITION, SOURCE_NAME
from include.probe.complete_rows import ESCAPED_NUL, complete_rows, holds_nul, keys_in_text
from include.probe.streams import MAX_RECORD

JsonType = Any  # Spark's schema as JSON: a type name, or a mapping for struct, array and map
Spec = Mapping[str, "Spec | None"]  # key -> what to check below it; None = any value, whatever its keys

# An empty key or object: no schema can be inferred for them.
EMPTY_KEY, EMPTY_OBJECT = b'"":', re.compile(rb"\{\s*\}")
KEPT_OF_LONG = 1 << 16  # bytes of a line that is too long which the quarantine keeps
BLANK = b" \t\r\n"  # a line of these alone is no record; of other white space it is one that is no JSON
_NESTED = (dict, list)
GIVE_UP = 4  # blocks that were not complete, after which no other one is expected to be


@dataclass(frozen=True)
class BadRecord:
    """A record that must not be loaded: `record` is its line number in the file, from 1."""

    record: int
    reason: str
    raw: bytes


@dataclass
class JsonFindings:
    """What was found in the lines of one file: `unknown` maps a key's dotted path to the first line that has it.

    With `refuses_unknown` a record that has a key which the schema lacks is a bad one instead. `incomplete`
    blocks in a row were not as most files' blocks are: see complete_rows.py.
    """

    records: int = 0
    lines: int = 0
    bad: list[BadRecord] = field(default_factory=list)
    unknown: dict[str, int] = field(default_factory=dict)
    refuses_unknown: bool = False
    incomplete: int = 0


def spec_of(schema: JsonType) -> Spec | None:
    """The keys that a Spark type (its JSON form) allows, or None where any value fits (strings, primitives, maps of
    them).
    """
    if not isinstance(schema, Mapping):
        return None
    if schema["type"] == "struct":
        return {
            f.get("metadata", {}).get(SOURCE_NAME, f["name"]): spec_of(f["type"])
            for f in schema["fields"]
            if not f.get("metadata", {}).get(PARTITION)
        }
    if schema["type"] == "array":
        return _below("*", spec_of(schema["elementType"]))
    if schema["type"] == "map":
        return _below("**", spec_of(schema["valueType"]))
    return None


def _below(mark: str, inner: Spec | None) -> Spec | None:
    return None if inner is None else {mark: inner}


def check_block(block: bytes, spec: Spec | None, findings: JsonFindings) -> None:
    """Check whole lines (ended as Hadoop's reader ends them: \\n, \\r or \\r\\n) and add what is found to `findings`.

    `spec` None means that no schema is known yet: the lines must be JSON objects without repeated keys, of any keys;
    `unknown` then holds those for which none can be inferred. A line that is longer than any that Spark is given is
    refused; what is kept of it as `raw` is its beginning.
    """
    if spec and findings.incomplete < GIVE_UP and len(block) <= MAX_RECORD:
        if rows := complete_rows(block, spec):
            findings.records += rows
            findings.lines += rows
            findings.incomplete = 0
            return
        findings.incomplete += 1
    _check_lines(block.splitlines(), block, spec, findings)


def _check_lines(lines: list[bytes], block: bytes, spec: Spec | None, findings: JsonFindings) -> None:
    """Look closely at the lines that stand out, or at all of them where one of the others cannot be told."""
    numbered = list(enumerate(lines, findings.lines + 1))
    findings.lines += len(lines)
    if len(block) > MAX_RECORD and max(map(len, lines)) > MAX_RECORD:
        _check_each(numbered, spec, findings)
        return
    rows, odd = _decoded(lines, None if spec is None else spec.keys())
    if odd:
        block = b"\n".join(line for line, is_odd in zip(lines, odd, strict=True) if not is_odd)
    if holds_nul(block) or not (_conserves_keys(block, rows) and _has_places(rows, block, spec)):
        _check_each(numbered, spec, findings)
        return
    findings.records += len(rows)
    _check_each(compress(numbered, odd), spec, findings)


def _decoded(lines: list[bytes], known: Set[str] | None) -> tuple[list[dict[str, Any]], list[bool]]:
    """The records of lines, and which of the lines stand out: no object, or one with a key that is not `known`.

    The second list is empty where none does.
    """
    decode = msgspec.json.decode
    rows: list[dict[str, Any]] = []
    odd: list[int] = []
    for at, line in enumerate(lines):
        try:
            row = decode(line)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            odd.append(at)
            continue
        if type(row) is dict and (known is None or row.keys() <= known):
            rows.append(row)
        else:
            odd.append(at)
    if not odd:
        return rows, []
    marks = [False] * len(lines)
    for at in odd:
        marks[at] = True
    return rows, marks


def _has_places(rows: Iterable[dict[str, Any]], block: bytes, spec: Spec | None) -> bool:
    if spec is None:
        return EMPTY_KEY not in block and not EMPTY_OBJECT.search(block)
    return _keys_known(rows, spec)


def _keys_known(rows: Iterable[dict[str, Any]], spec: Spec) -> bool:
    """Whether all keys below the top level are known."""
    nested = {key: inner for key, inner in spec.items() if inner is not None}
    return not nested or not any(_unknown_keys(row, nested, "", only=nested) for row in rows)


def _conserves_keys(block: bytes, rows: list[dict[str, Any]]) -> bool:
    """True only if no object in the block repeats a key. False may be a false alarm (a `":` inside a string)."""
    in_text = keys_in_text(block)
    if in_text < 0:
        return False
    return in_text == sum(map(len, rows)) or in_text == sum(_count_keys(row) for row in rows)


def _count_keys(value: object) -> int:
    if type(value) is dict:
        return len(value) + sum(_count_keys(v) for v in value.values() if type(v) in _NESTED)
    if type(value) is list:
        return sum(_count_keys(v) for v in value if type(v) in _NESTED)
    return 0


def _unknown_keys(value: object, spec: Spec, prefix: str, only: Iterable[str] | None = None) -> list[str]:
    """Dotted paths of the keys in `value` that `spec` does not name."""
    if type(value) is list:
        inner = spec.get("*")
        return [p for v in value for p in _unknown_keys(v, inner, f"{prefix}[]")] if inner else []
    if type(value) is not dict:
        return []
    if "**" in spec and (inner := spec["**"]) is not None:
        return [p for k, v in value.items() for p in _unknown_keys(v, inner, _path(prefix, k))]
    found: list[str] = []
    for key in value if only is None else only:
        if key not in spec:
            found.append(_path(prefix, key))
        elif (inner := spec[key]) is not None and key in value:
            found.extend(_unknown_keys(value[key], inner, _path(prefix, key)))
    return found


def _uninferable(value: object, prefix: str) -> list[str]:
    """Dotted paths of empty keys and empty objects in `value`."""
    if type(value) is list:
        return [path for item in value for path in _uninferable(item, f"{prefix}[]")]
    if type(value) is not dict:
        return []
    if not value:
        return [prefix] if prefix else []
    below = (path for key, item in value.items() for path in _uninferable(item, _path(prefix, key)))
    return [*([_path(prefix, "")] if "" in value else []), *below]


def _path(prefix: str, key: str) -> str:
    return f"{prefix}.{key}" if prefix else key


def _check_each(lines: Iterable[tuple[int, bytes]], spec: Spec | None, findings: JsonFindings) -> None:
    for number, line in lines:
        if not line.strip(BLANK):
            continue
        findings.records += 1
        if len(line) > MAX_RECORD:
            reason = f"has {len(line)} bytes; the most that are read are {MAX_RECORD}. Only its beginning is kept"
            findings.bad.append(BadRecord(number, reason, line[:KEPT_OF_LONG]))
            continue
        row, reason = _parse_strictly(line)
        unknown = [] if reason else _uninferable(row, "") if spec is None else _unknown_keys(row, spec, "")
        if not reason and ESCAPED_NUL in line and _has_nul_name(row, unknown, spec):
            reason = "a key holds a NUL character, which no column's name can"
        if not reason and unknown and spec is not None and findings.refuses_unknown:
            reason = f"key {unknown[0]!r} is not in the schema"
        if reason:
            findings.bad.append(BadRecord(number, reason, line))
            continue
        for path in unknown:
            findings.unknown.setdefault(path, number)


def _parse_strictly(line: bytes) -> tuple[object, str]:
    """The decoded line, and why it must not be loaded ("" if it may)."""
    try:
        row = msgspec.json.decode(line)
        repeated = _repeated_key(line) if type(row) is dict and not _conserves(line, row) else None
    except UnicodeDecodeError as error:
        return None, f"not valid UTF-8: {error.reason} at byte {error.start + 1}"
    except RecursionError:
        return None, "nested too deeply"
    except msgspec.DecodeError as error:
        return None, f"not valid JSON: {_plain(str(error))}"
    return row, _why_refused(row, repeated)


def _conserves(line: bytes, row: object) -> bool:
    """`_conserves_keys` for one line."""
    spaced = b'" :' in line or b'"\t:' in line
    return not spaced and line.count(b'":') == _count_keys(row)


def _why_refused(row: object, repeated: str | None) -> str:
    if type(row) is not dict:
        return f"not a JSON object but {_kind(row)}"
    if repeated is not None:
        return f"key {repeated!r} stands more than once in one object"
    return ""


def _has_nul_name(row: object, unknown: Iterable[str], spec: Spec | None) -> bool:
    """True where a NUL character would come into a column's name; a map's keys are no names."""
    return _has_nul_key(row) if spec is None else any("\0" in path for path in unknown)


def _has_nul_key(value: object) -> bool:
    if isinstance(value, list):
        return any(_has_nul_key(inner) for inner in value)
    return isinstance(value, dict) and any("\0" in key or _has_nul_key(inner) for key, inner in value.items())


def _plain(message: str) -> str:
    return message.replace("JSON is malformed: ", "")


def _kind(value: object) -> str:
    kinds: list[tuple[type, str]] = [
        (list, "an array"),
        (str, "a string"),
        (bool, "a boolean"),
        (int, "a number"),
        (float, "a number"),
    ]
    return next((name for kind, name in kinds if isinstance(value, kind)), "null")


def _repeated_key(line: bytes) -> str | None:
    repeated: list[str] = []

    def note(pairs: list[tuple[str, object]]) -> dict[str, object]:
        seen: dict[str, object] = {}
        for key, value in pairs:
            if key in seen:
                repeated.append(key)
            seen[key] = value
        return seen

    hook: Callable[[list[tuple[str, object]]], dict[str, object]] = note
    json.loads(line, object_pairs_hook=hook, parse_int=str)
    return repeated[0] if repeated else None
