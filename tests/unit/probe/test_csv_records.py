"""CSV as the probe cuts it, against Python's own reader."""

import csv
import io
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from include.probe import csv_files
from include.probe.delimited import Dialect, Grammar, non_blank
from include.probe.plain_rows import plain_rows
from include.probe.probe import ProbeTask, probe
from include.probe.report import FileReport
from include.probe.streams import Planned

fields = st.one_of(st.integers(0, 99).map(str), st.text(st.sampled_from('ab",\n é;'), max_size=6), st.just(""))
tables = st.lists(st.tuples(fields, fields, fields), min_size=1, max_size=40)


def look(folder: Path, content: bytes, *, as_rows: bool = False, **options: str) -> FileReport:
    """The report on a file with that content."""
    file = folder / "a.csv"
    file.write_bytes(content)
    status = file.stat()
    planned = Planned(str(file), status.st_size, status.st_mtime_ns // 1000)
    options = {"header": "true", **options}
    return probe(ProbeTask("a.csv", planned, "csv", None, options, spool=str(folder / "spool"), as_rows=as_rows))


def records(report: FileReport, content: bytes) -> list[list[str]]:
    """What a plain reader makes of what Spark is given, without the header."""
    text = Path(report.spool).read_bytes() if report.spool else content
    rows = csv.reader(io.StringIO(text.decode(), newline=""))
    return [row for row in rows if row and any(map(str.strip, row))][1:]


@pytest.mark.parametrize("step", [10, 1 << 14])
@given(tables, st.sampled_from(["\n", "\r\n"]))
@settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=60)
def test_every_valid_file_is_read_whole_whatever_the_blocks(
    tmp_path_factory: pytest.TempPathFactory, step: int, rows: list[tuple[str, str, str]], ending: str
) -> None:
    out = io.StringIO()
    csv.writer(out, lineterminator=ending, quoting=csv.QUOTE_ALL).writerows([("x", "y", "z"), *rows])
    content = out.getvalue().encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_files, "STEP", step)
        report = look(tmp_path_factory.mktemp("csv"), content)
    assert (report.verdict, report.records, report.bad) == ("ok", len(rows), ())
    assert records(report, content) == [list(row) for row in rows if any(map(str.strip, row))]


@given(tables)
@settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=60)
def test_rows_hold_each_field_by_its_name(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str]]
) -> None:
    out = io.StringIO()
    csv.writer(out).writerows([("x", "y", "x"), *rows, ("1", "2")])
    folder = tmp_path_factory.mktemp("csv")
    report = look(folder, out.getvalue().encode(), as_rows=True)
    found = [msgspec.json.decode(line) for line in Path(report.spool).read_bytes().splitlines()]
    assert [line["v"] for line in found] == [
        {name: text for name, text in zip(("x0", "y", "x2"), row, strict=True) if text} for row in rows
    ]
    assert report.records == len(rows) + 1
    assert [(bad.reason, bad.raw) for bad in report.bad] == [("has 2 fields, the header has 3", b"1,2")]
    assert all(line["raw"].encode() in out.getvalue().encode() for line in found)


def test_rows_hold_the_values_of_sparks_own_reader(tmp_path: Path) -> None:
    """What its parser makes of escapes and of nothing within quotes, as measured."""
    text = 'k,v\n1,"a\\"b"\n2,"a\\nb"\n3,"a\\\\"\n4,"a\\\\b"\n5,a\\"b\n6,a\\\\b\n'
    report = look(tmp_path, text.encode(), as_rows=True, escape="\\")
    values = [msgspec.json.decode(line)["v"]["v"] for line in Path(report.spool).read_bytes().splitlines()]
    assert values == ['a"b', "a\\nb", "a\\", "a\\b", 'a\\"b', "a\\\\b"]
    report = look(tmp_path, b'k,v\n1,""\n2,\n3,NA\n4,"NA"\n', as_rows=True, nullValue="NA")
    rows = [msgspec.json.decode(line)["v"] for line in Path(report.spool).read_bytes().splitlines()]
    assert rows == [{"k": "1", "v": ""}, {"k": "2"}, {"k": "3"}, {"k": "4"}]


def test_line_sep_ends_records_and_line_ends_are_characters(tmp_path: Path) -> None:
    content = b'k,v|1,"a\nb"|2,c\nd|3,e|4,"f|5,"g\nh|'
    report = look(tmp_path, content, lineSep="|")
    assert records(report, content) == [["1", "a\nb"], ["2", "c\nd"], ["3", "e"]]
    assert [(bad.record, bad.raw) for bad in report.bad] == [(7, b'4,"f'), (8, b'5,"g h')]
    assert report.records == 5


def test_line_sep_makes_one_record_of_one_with_line_ends_and_too_few_fields(tmp_path: Path) -> None:
    report = look(tmp_path, b'a,b,c|1,"x\ny"|1,2,3|', as_rows=True, lineSep="|")
    assert report.records == 2
    assert [bad.reason for bad in report.bad] == ["has 2 fields, the header has 3"]


def test_copies_have_one_line_end(tmp_path: Path) -> None:
    """Spark takes the first that it sees for that of the file, and loads what is left of others."""
    copied = look(tmp_path, b'k,v\r\n1,a\r\n2,"b\n"\r\n3,c\r\n4,"d\r\n"\r\n')
    assert Path(copied.spool).read_bytes() == b'k,v\n1,a\n2,"b\n"\n3,c\n4,"d\r\n"\n'
    mixed = look(tmp_path, b"k,v\n1,a\r\n2,b\n", multiLine="true")
    assert Path(mixed.spool).read_bytes() == b"k,v\n1,a\n2,b\n"
    assert not look(tmp_path, b"k,v\r\n1,a\r\n", multiLine="true").spool


@given(
    st.lists(st.sampled_from([b'"', b",", b"\n", b"\r", b"a", b"\0", b"\xff", b'""', b"1"]), max_size=40).map(b"".join)
)
@settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=300)
def test_each_record_of_any_bytes_is_either_kept_or_refused(
    tmp_path_factory: pytest.TempPathFactory, body: bytes
) -> None:
    report = look(tmp_path_factory.mktemp("csv"), b"x,y\n" + body + b"\n7,good\n")
    kept = Path(report.spool).read_bytes() if report.spool else b""
    assert report.verdict == "ok"
    assert report.records is not None
    if report.spool:
        assert b"\0" not in kept
        kept.decode()
        assert kept.endswith(b"7,good\n") or report.bad, "a quote that is open may take the last line along"


@given(
    st.lists(st.sampled_from(['"', ",", "\n", "\r\n", "a", "#", "x,y", " ", '""', '"1,2"', '","']), max_size=30).map(
        "".join
    )
)
@settings(max_examples=400)
def test_lines_that_are_told_all_at_once_are_records_each(text: str) -> None:
    dialect, block = Dialect(comment="#", has_header=True), text.encode()
    rows = plain_rows(block, dialect, b"x,y") if block else None
    if rows is not None:
        lines = non_blank(block.splitlines(), b"#")
        assert rows.ends.size == len(lines) == len(block.splitlines())
        assert len(list(csv.reader(io.StringIO(text, newline="")))) == rows.ends.size
        assert all(Grammar(dialect).record.fullmatch(line.decode()) for line in lines)
        assert b"x,y" not in lines


def test_machine_written_lines_are_told_all_at_once() -> None:
    block = b'1,"a, b",2\n"3",,"4"\n'
    for lines, records in ((block * 3, 6), (block.replace(b"\n", b"\r\n").rstrip(), 2)):
        rows = plain_rows(lines, Dialect(), b"x,y,z")
        assert rows is not None
        assert rows.ends.size == records


def test_a_header_that_cannot_be_read_refuses_the_file_with_its_records(tmp_path: Path) -> None:
    report = look(tmp_path, b'x,"y\n1,2\n3,4\n')
    assert (report.verdict, report.records) == ("broken", 2)


def test_wide_encodings_are_copied_to_utf_8(tmp_path: Path) -> None:
    report = look(tmp_path, "x,y\n1,é\n".encode("utf-16"), encoding="UTF-16")
    assert (report.records, Path(report.spool).read_text()) == (1, "x,y\n1,é\n")
    assert report.options["encoding"] == "UTF-8"
