"""A CSV column is called plain only if each of its values is."""

import csv
import io
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.probe.plain_values import Look, exact_columns
from include.probe.probe import probe
from include.probe.report import ProbeTask
from include.probe.streams import Planned

SCHEMA = {
    "fields": [
        {"name": "d", "type": "double"}, {"name": "m", "type": "decimal(5,2)"}, {"name": "t", "type": "timestamp"},
        {"name": "i", "type": "integer"}, {"name": "s", "type": "string"},
        {"name": "f_", "type": "float", "metadata": {"sluice.source": "f"}},
    ]
}  # fmt: skip


def looks_of(folder: Path, text: str, **options: str) -> dict[int, Look]:
    file = folder / "a.csv"
    file.write_bytes(text.encode())
    status = file.stat()
    planned = Planned(str(file), status.st_size, status.st_mtime_ns // 1000)
    task = ProbeTask("a.csv", planned, "csv", None, {"header": "true", **options}, exact=exact_columns(SCHEMA))
    return dict(probe(task).looks)


def test_numbers_and_times_of_one_shape(tmp_path: Path) -> None:
    text = 'd,s,m,t,i\n1.5,"a,b",+10.25,2024-05-01T12:00:00Z,7\r\n,,-3,,\n0000.125,x,.5,2024-05-02T12:00:00Z,8'
    assert looks_of(tmp_path, text) == {0: 3, 2: 2, 3: "dddd-dd-ddTdd:dd:ddZ"}
    assert looks_of(tmp_path, "s,d\na,1.25\r\nb,2\r\n") == {1: 2}
    assert looks_of(tmp_path, "d\n1.25\n2") == {0: 2}


@pytest.mark.parametrize(
    "value",
    ["1e5", "12F", "0x1p3", "NaN", "Infinity", " 1", "1 ", '"1.5"', "1,2", "1" * 33, "\u0661", "1_0", "-1-"],
)
def test_what_is_no_plain_number(tmp_path: Path, value: str) -> None:
    assert looks_of(tmp_path, f"s,d\na,1.5\nb,{value}\n") == {}


@pytest.mark.parametrize("value", ["2024", "12:00", "2024-05-01", "2024-05-01T12:00:00", "2024-05-01T12:00:00z", "now"])
def test_times_of_two_shapes(tmp_path: Path, value: str) -> None:
    assert looks_of(tmp_path, f"s,t\na,2024-05-01T12:00:00Z\nb,{value}\n") == {}


def test_no_column_where_options_say_what_a_value_is(tmp_path: Path) -> None:
    assert looks_of(tmp_path, "d\n1.5\n", nullValue="1.5") == {}
    assert looks_of(tmp_path, "d,s\n1.5\n2.5,b\n") == {}, "a record lacks a field"


def test_columns_are_known_by_their_names_in_the_files() -> None:
    assert exact_columns(SCHEMA) == {"d": 0, "m": 0, "t": "", "f": 0}
    assert exact_columns(None) == {}


@given(st.lists(st.sampled_from(["1", ".", "-", ",", '"', "\n", "\r\n", "e", "25", '"a,b"', ",1.5\n"]), max_size=30))
@settings(max_examples=300, deadline=None)
def test_each_value_of_a_plain_column_is_one(tmp_path_factory: pytest.TempPathFactory, parts: list[str]) -> None:
    text = "s,d\n" + "".join(parts)
    looks = looks_of(tmp_path_factory.getbasetemp(), text)
    if not looks:
        return
    rows = list(csv.reader(io.StringIO(text, newline="")))[1:]
    assert looks.keys() == {1}
    for row in filter(None, rows):
        assert re.fullmatch(r"[+-]?[0-9.]*", row[1])
        assert len(row[1].rpartition(".")[2]) <= int(looks[1]) or "." not in row[1]
