"""The strict look at JSON lines against a slow, plain model of it, on valid lines and on lines with bytes changed."""

import json
import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from include.probe.complete_rows import complete_rows
from include.probe.records import BadRecord, JsonFindings, Spec, check_block, spec_of

X = {"name": "x", "type": "long"}
KNOWN = {
    "type": "struct",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "s", "type": "string"},
        {"name": "o", "type": {"type": "struct", "fields": [X]}},
        {"name": "l", "type": {"type": "array", "elementType": {"type": "struct", "fields": [X]}}},
        {"name": "m", "type": {"type": "map", "keyType": "string", "valueType": "long"}},
    ],
}  # fmt: skip
SPEC = spec_of(KNOWN)

scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=6)
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)
inner = st.dictionaries(st.sampled_from(["x", "y"]), scalars, max_size=2)
records = st.fixed_dictionaries(
    {},
    optional={
        "id": scalars,
        "s": values,
        "o": inner | scalars,
        "l": st.lists(inner, max_size=2),
        "m": st.dictionaries(st.text(max_size=3), scalars, max_size=2),
        "ID": scalars,
    },
)
json_lines = st.lists(records, max_size=5).map(lambda rows: [json.dumps(row, ensure_ascii=False) for row in rows])


class Refused(Exception):
    pass


def model(line: bytes) -> set[str]:
    """Paths of the unknown keys of a line; raises Refused where it must not be loaded."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) < len(pairs):
            raise Refused
        return dict(pairs)

    def constant(_: str) -> None:
        raise Refused

    def real(text: str) -> float:
        if math.isinf(float(text)):
            raise Refused
        return float(text)

    try:
        record = json.loads(line.decode(), object_pairs_hook=once, parse_constant=constant, parse_float=real)
    except (ValueError, RecursionError):
        raise Refused from None
    if not isinstance(record, dict):
        raise Refused
    if any("\0" in path for path in unknown(record)):
        raise Refused
    return unknown(record)


def unknown(record: dict[str, Any]) -> set[str]:
    found = {key for key in record if key not in {"id", "s", "o", "l", "m"}}
    below = record.get("o")
    if isinstance(below, dict):
        found |= {f"o.{key}" for key in below if key != "x"}
    for item in record.get("l") or [] if isinstance(record.get("l"), list) else []:
        if isinstance(item, dict):
            found |= {f"l[].{key}" for key in item if key != "x"}
    return found


def expected(block: bytes) -> tuple[int, list[int], set[str]]:
    count, bad, drift = 0, [], set()
    for number, line in enumerate(block.splitlines(), 1):
        if not line.strip(b" \t\r"):
            continue
        count += 1
        try:
            drift |= model(line)
        except Refused:
            bad.append(number)
    return count, bad, drift


def found(block: bytes, spec: Spec | None = SPEC) -> tuple[int, list[int], set[str]]:
    findings = JsonFindings()
    check_block(block, spec, findings)
    return findings.records, [bad.record for bad in findings.bad], set(findings.unknown)


@given(json_lines, st.sampled_from(["\n", "\r\n", "\r"]))
def test_valid_lines_are_judged_as_the_model_judges_them(lines: list[str], ending: str) -> None:
    block = ending.join(lines).encode()
    assert found(block) == expected(block)


@given(json_lines, st.lists(st.tuples(st.integers(0, 400), st.binary(max_size=2), st.integers(0, 3)), max_size=3))
@example(['{"id":1}'], [(0, b'{"id" :1,"id":2}', 8)])
@example(['{"id":1}', '{"s":"\\":"}'], [(1, b'"id":0,', 0)])
def test_lines_with_changed_bytes_are_judged_as_the_model_judges_them(
    lines: list[str], changes: list[tuple[int, bytes, int]]
) -> None:
    block = bytearray("\n".join(lines).encode())
    for at, insert, remove in changes:
        block[at : at + remove] = insert
    assert found(bytes(block)) == expected(bytes(block))


FLAT: Spec = {"id": None, "s": None}
PIECES = [b"", b"\n", b'"id":0,', b"}{", b"{", b"}", b"\r\n", b" ", b'"k":1,', b'"', b"\\u0000", b"\xff"]
complete = st.fixed_dictionaries({"id": scalars, "s": scalars})
complete_lines = st.lists(
    complete.map(lambda row: json.dumps(row, separators=(",", ":"), ensure_ascii=False)), min_size=1, max_size=5
)


@given(
    complete_lines,
    st.lists(
        st.tuples(
            st.integers(0, 400),
            st.sampled_from(PIECES),
            st.integers(0, 9),
        ),
        max_size=3,
    ),
)  # fmt: skip
@example(['{"id":1,"s":2}', '{"id":1,"s":2}'], [(14, b"", 1), (7, b"\n", 0)])  # two on a line, one on two
@example(['{"id":1,"s":2}', '{"id":1,"s":2}'], [(8, b'"id":1', 5)])  # one key twice, another one not
@example(['{"id":1,"s":{"id":2}}', '{"id":1,"s":2}'], [])
def test_complete_records_with_changed_bytes_are_judged_as_the_model_judges_them(
    lines: list[str], changes: list[tuple[int, bytes, int]]
) -> None:
    block = bytearray("\n".join(lines).encode())
    for at, insert, remove in changes:
        block[at : at + remove] = insert
    assert found(bytes(block), FLAT) == expected(bytes(block))


def test_machine_written_blocks_are_told_without_a_look_at_each_line() -> None:
    block = b"".join(b'{"id": %d, "s": "a"}\n' % number for number in range(5))
    assert complete_rows(block, FLAT) == 5
    assert complete_rows(block.rstrip(), FLAT) == 5
    assert complete_rows(block + b"\n", FLAT) == 0
    assert complete_rows(block, {"id": None, "s": {"x": None}}) == 0


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"id":1,"id":2}', "key 'id' stands more than once in one object"),
        (b'{"id" :1,"id":2}', "key 'id' stands more than once in one object"),
        (b'{"s":{"k":1,"k":2}}', "key 'k' stands more than once in one object"),
        (b'{"":1,"":2}', "key '' stands more than once in one object"),
        (b"[1]", "not a JSON object but an array"),
        (b"null", "not a JSON object but null"),
        (b"1", "not a JSON object but a number"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_reason_says_what_is_wrong(line: bytes, reason: str) -> None:
    findings = JsonFindings()
    check_block(line, SPEC, findings)
    assert findings.bad == [BadRecord(1, reason, line)]


def test_a_repeated_key_is_found_beside_text_that_looks_like_a_key() -> None:
    findings = JsonFindings()
    check_block(b'{"s":"a\\":b","id":1}\n{"id":1,"id":2}\n', SPEC, findings)
    assert [bad.record for bad in findings.bad] == [2]


def test_line_numbers_go_on_across_blocks() -> None:
    findings = JsonFindings()
    check_block(b'{"id":1}\n\n', SPEC, findings)
    check_block(b'{"id":\n', SPEC, findings)
    assert (findings.records, findings.bad[0].record) == (2, 3)
