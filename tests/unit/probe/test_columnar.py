"""Parquet, ORC and Avro as the probe sees them: whole or named."""

import io
from pathlib import Path

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import orc

from include.probe.probe import ProbeTask, probe
from include.probe.report import FileReport
from include.probe.streams import Planned

ROWS = [{"id": number, "name": f"n{number}", "tags": ["a", "b"]} for number in range(100)]
SCHEMA = {
    "type": "record",
    "name": "row",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "name", "type": ["null", "string"]},
        {"name": "tags", "type": {"type": "array", "items": "string"}},
        {"name": "at", "type": ["null", {"type": "long", "logicalType": "timestamp-micros"}], "default": None},
    ],
}


def avro(codec: str) -> bytes:
    out = io.BytesIO()
    fastavro.writer(out, SCHEMA, ROWS, codec=codec, sync_interval=500)
    return out.getvalue()


def parquet() -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), out, compression="none")
    return out.getvalue()


def orc_file() -> bytes:
    out = io.BytesIO()
    orc.write_table(pa.Table.from_pylist(ROWS), out)
    return out.getvalue()


def look(folder: Path, kind: str, content: bytes) -> FileReport:
    """The report on a file with that content."""
    file = folder / f"a.{kind}"
    file.write_bytes(content)
    status = file.stat()
    planned = Planned(str(file), status.st_size, status.st_mtime_ns // 1000)
    return probe(ProbeTask(file.name, planned, kind, spool=str(folder / "spool")))


@pytest.mark.parametrize("codec", ["null", "deflate", "snappy", "zstandard", "bzip2"])
def test_avro_is_copied_record_by_record(tmp_path: Path, codec: str) -> None:
    report = look(tmp_path, "avro", avro(codec))
    assert (report.verdict, report.records, report.reads_as) == ("ok", 100, "parquet")
    assert pq.read_table(report.spool).to_pylist() == [{**row, "at": None} for row in ROWS]


@pytest.mark.parametrize(("kind", "content"), [("avro", avro("null")), ("parquet", parquet()), ("orc", orc_file())])
def test_a_file_that_is_cut_off_anywhere_is_never_read_as_whole(tmp_path: Path, kind: str, content: bytes) -> None:
    assert look(tmp_path, kind, content).records == len(ROWS)
    for end in range(0, len(content), max(1, len(content) // 60)):
        report = look(tmp_path, kind, content[:end])
        assert report.verdict == "broken" or (report.records or 0) < len(ROWS), end
        assert kind == "avro" or report.verdict == "broken", end


def test_a_union_that_no_column_can_hold_is_named(tmp_path: Path) -> None:
    out = io.BytesIO()
    schema = {"type": "record", "name": "r", "fields": [{"name": "x", "type": ["int", "string"]}]}
    fastavro.writer(out, schema, [{"x": 1}, {"x": "a"}])
    assert "union of int32 and string" in look(tmp_path, "avro", out.getvalue()).reason


def test_records_without_fields_are_named(tmp_path: Path) -> None:
    out = io.BytesIO()
    fastavro.writer(out, {"type": "record", "name": "r", "fields": []}, [{}])
    assert "no fields" in look(tmp_path, "avro", out.getvalue()).reason


@pytest.mark.parametrize("kind", ["parquet", "orc"])
def test_a_text_that_is_no_utf_8_is_never_a_value(tmp_path: Path, kind: str) -> None:
    ends = pa.py_buffer(b"\0\0\0\0\1\0\0\0\3\0\0\0")  # of "a" and of two bytes that are none
    texts = pa.Array.from_buffers(pa.string(), 2, [None, ends, pa.py_buffer(b"a\xe7x")])
    out = io.BytesIO()
    (pq if kind == "parquet" else orc).write_table(pa.table({"s": texts}), out)
    report = look(tmp_path, kind, out.getvalue())
    assert (report.verdict, "UTF8" in report.reason) == ("broken", True)


@pytest.mark.parametrize("codec", ["snappy", "zstandard", "xz", "bzip2", "deflate"])
def test_avro_whose_compressed_bytes_are_damaged_is_named(tmp_path: Path, codec: str) -> None:
    whole = avro(codec)
    header = whole.index(whole[-16:]) + 16  # what marks the end of a block ends the header, too
    for at in range(header + 4, len(whole) - 16, 11):
        content = whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :]
        report = look(tmp_path, "avro", content)
        assert report.verdict == "broken" or codec in ("deflate", "zstandard"), at  # these two may have no checksum


def test_avro_with_something_after_its_blocks_is_named(tmp_path: Path) -> None:
    report = look(tmp_path, "avro", avro("null") + b"\x80")
    assert report.verdict == "broken"
