"""What must become of a file, by models in plain Python that know neither Spark nor the probe."""

import io
import json
import math
import re
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

LONG = range(-(1 << 63), 1 << 63)
LINE_END = re.compile(rb"\r\n|\r|\n")


class Refused(Exception):
    """A record that must not be loaded."""


@dataclass
class Expected:
    """The rows (id, s, d) of a file and how many of its records are refused."""

    rows: list[tuple[Any, ...]] = field(default_factory=list)
    refused: int = 0


def expected_json(content: bytes) -> Expected:
    """Lines of `{"id": bigint, "s": string, "d": double}`: anything else is refused, line by line."""
    found = Expected()
    for line in LINE_END.split(content.removeprefix(b"\xef\xbb\xbf")):
        if not line.strip(b" \t\r\n"):
            continue
        try:
            found.rows.append(_json_row(line))
        except (Refused, ValueError, RecursionError):
            found.refused += 1
    return found


def _json_row(line: bytes) -> tuple[Any, ...]:
    record = json.loads(line.decode(), object_pairs_hook=_once, parse_constant=_constant, parse_float=_real)
    if not isinstance(record, dict) or not record.keys() <= {"id", "s", "d"}:
        raise Refused
    number, text, real = record.get("id"), record.get("s"), record.get("d")
    if number is not None and (type(number) is not int or number not in LONG):
        raise Refused
    if real is not None and type(real) not in (int, float):
        raise Refused
    if text is not None and not isinstance(text, str):
        text = re.sub(r"\s", "", json.dumps(text))  # Spark's own: a STRING takes any value as JSON
    elif text is not None:
        text.encode()  # lone surrogates
    return number, text, None if real is None else float(real)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) < len(pairs):
        raise Refused
    for key, _ in pairs:
        key.encode()
    return dict(pairs)


def _constant(_text: str) -> None:
    raise Refused


def _real(text: str) -> float:
    if math.isinf(float(text)):
        raise Refused
    return float(text)


def expected_parquet(content: bytes) -> Expected | None:
    """What another reader makes of the file; None where it makes nothing of it."""
    try:
        rows = pq.ParquetFile(io.BytesIO(content)).read().to_pylist()
        return Expected([(row.get("id"), row.get("s"), row.get("d")) for row in rows])
    except (pa.ArrowException, OSError, ValueError):
        return None
