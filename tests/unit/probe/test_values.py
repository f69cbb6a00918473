"""Values of other types, as `sluice plan` names them."""

from pathlib import Path
from typing import Any

import pytest

from include.probe.probe import ProbeTask, probe
from include.probe.streams import Planned

COLUMNS: dict[str, Any] = {
    "id": "long",
    "d": "double",
    "b": "boolean",
    "t": "timestamp",
    "day": "date",
    "m": "decimal(5,2)",
    "s": "string",
    "o": {"type": "struct", "fields": [{"name": "x", "type": "integer"}]},
    "l": {"type": "array", "elementType": "long"},
}


def misfits(folder: Path, content: str, kind: str, options: dict[str, str] | None = None) -> list[tuple[int, str]]:
    path = folder / f"a.{kind}"
    path.write_text(content)
    status = path.stat()
    planned = Planned(str(path), status.st_size, status.st_mtime_ns // 1000)
    report = probe(ProbeTask("a", planned, kind, options=options or {}, columns=COLUMNS))
    return [(found.record, found.reason) for found in report.misfits]


@pytest.mark.parametrize(
    "value",
    [
        '"id": "xyz"', '"id": 1.0', '"id": 9223372036854775808', '"id": true', '"d": "1.5"', '"b": 1', '"t": "never"',
        '"day": "2024-01-01T10:00:00"', '"day": 20000', '"m": 1234.5', '"o": {"x": 1.5}', '"o": [1]', '"l": [1, "z"]',
        '"m": 1.005', '"m": 1.00000000000000000000001', '"m": "1,5"', '"t": "12:00"', '"t": "2024"', '"t": "2024-05"',
        '"t": "2024-05-01T10:00:00.1234567"', '"t": 10000000000000', '"day": "2024"', '"day": "2024-05"',
    ],
)  # fmt: skip
def test_json_value_of_another_type_is_named_with_its_line(tmp_path: Path, value: str) -> None:
    column = value.split('"')[1]
    found = misfits(tmp_path, '{"id": 1}\n\n{' + value + '}\n{"id": 2}\n', "json")
    assert [record for record, _ in found] == [3]
    assert found[0][1].startswith(f"column '{column}': ")


@pytest.mark.parametrize(
    "value",
    [
        '"id": -5', '"d": 1', '"b": null', '"t": "2024-05-01 10:00:00"', '"t": 1700000000', '"day": "2024-5-1"',
        '"m": 1.500', '"m": 1e2', '"t": "2024-05-01"', '"t": "2024-05-01 10:00:00.1234560Z"',
        '"m": 123.5', '"m": "1.5"', '"s": {"any": [1]}', '"o": {"x": 1}', '"o": {}', '"l": [1, null]', '"other": 1',
    ],
)  # fmt: skip
def test_json_value_of_the_type_is_not_named(tmp_path: Path, value: str) -> None:
    assert misfits(tmp_path, "{" + value + "}\n", "json") == []


def test_csv_records_that_do_not_fit_are_named_with_their_lines(tmp_path: Path) -> None:
    content = 'id,d,s\n1,2.5,"two\nlines"\nx,2.5,q\n1,2\n3,1e5,\n4,,\n'
    assert misfits(tmp_path, content, "csv", {"header": "true"}) == [
        (4, "column 'id': 'x' is not bigint"),
        (5, "has 2 fields, the header has 3"),
    ]
