"""Files as the probe sees them: the planned version or not, whole or broken, hanging or crashing."""

import io
import os
import pickle
import signal
import zlib
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.probe import workers
from include.probe.probe import ProbeTask, probe
from include.probe.streams import Planned, whole_lines


def planned(path: Path) -> Planned:
    status = path.stat()
    return Planned(str(path), status.st_size, status.st_mtime_ns // 1000)


def task(path: Path, file_format: str = "json", **options: str) -> ProbeTask:
    return ProbeTask(path.name, planned(path), file_format, None, options)


@given(st.lists(st.sampled_from([b"a", b"\n", b"\r", b"\r\n", b"bc"]), max_size=30), st.integers(1, 7))
def test_blocks_of_whole_lines_have_the_lines_of_the_whole(parts: list[bytes], size: int) -> None:
    text = b"".join(parts)
    blocks = [text[at : at + size] for at in range(0, len(text), size)]
    cut = list(whole_lines(iter(blocks)))
    assert b"".join(cut) == text
    assert [line for block in cut for line in block.splitlines()] == text.splitlines()


def test_a_file_that_changed_after_the_plan_is_superseded(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text('{"id": 1}\n')
    before = task(file)
    file.write_text('{"id": 1}\n{"id": 2}\n')
    assert probe(before).verdict == "superseded"


def test_a_file_that_vanished_is_named(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text("{}\n")
    before = task(file)
    file.unlink()
    assert (probe(before).verdict, probe(before).reason) == ("broken", "the file vanished after it was planned")


def test_a_fifo_in_the_files_place_never_blocks(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text("{}\n")
    before = task(file)
    file.unlink()
    os.mkfifo(file)
    assert (probe(before).verdict, probe(before).reason) == ("broken", "no longer a regular file")


def test_line_ends_and_blank_lines_do_not_count_as_csv_records(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_bytes(b"\xef\xbb\xbfid,v\r\n1,x\r\n\r\n2,y\r\n# not me\r\n")
    report = probe(task(file, "csv", header="true", comment="#"))
    assert (report.records, report.shape) == (2, ("id", "v"))


def test_utf16_is_named_and_not_read_as_garbage(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("id,v\n1,x\n", encoding="utf-16")
    assert probe(task(file, "csv", header="true")).verdict == "broken"


def test_a_worker_that_hangs_is_ended_and_its_file_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "BASE_SECONDS", 4.0)
    files = [tmp_path / f"{n}.json" for n in range(2)]
    for file in files:
        file.write_text('{"id": 1}\n')
    pool = workers.ProbePool(1)
    try:
        os.kill(pool.pids()[0], signal.SIGSTOP)
        reports = pool.map([task(file) for file in files])
    finally:
        pool.close()
    assert [report.verdict for report in reports] == ["broken", "ok"]
    assert reports[0].reason == "looking at the file took longer than 4 s"


def test_a_worker_that_dies_costs_its_file_and_no_other(tmp_path: Path) -> None:
    files = [tmp_path / f"{n}.json" for n in range(3)]
    for file in files:
        file.write_text('{"id": 1}\n')
    pool = workers.ProbePool(1)
    try:
        os.kill(pool.pids()[0], signal.SIGKILL)
        reports = pool.map([task(file) for file in files])
    finally:
        pool.close()
    assert [report.verdict for report in reports] == ["broken", "ok", "ok"]
    assert "signal 9" in reports[0].reason


@pytest.mark.parametrize(("error", "verdict"), [(KeyError("x"), "broken"), (OSError("no route to host"), None)])
def test_what_the_probe_did_not_foresee_costs_its_file_unless_it_may_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, verdict: str | None
) -> None:
    (tmp_path / "f.json").write_text('{"id": 1}\n')
    monkeypatch.setattr("include.probe.probe.probe", Mock(side_effect=error))
    answers = io.BytesIO()
    workers.serve(io.BytesIO(pickle.dumps(task(tmp_path / "f.json"))), answers)
    answer = pickle.loads(answers.getvalue())
    assert getattr(answer, "verdict", None) == verdict
    assert str(error) in (answer.reason if verdict else str(answer))


LINES = b"".join(b'{"id": %d}\n' % number for number in range(2000))


@pytest.mark.parametrize(
    ("content", "records"),
    [
        (zlib.compress(LINES), 2000),
        (zlib.compress(LINES) + zlib.compress(LINES), 4000),
        (zlib.compress(LINES)[:-4], None),
        (zlib.compress(LINES) + b"garbage", None),
        (zlib.compress(LINES)[:40] + b"\xff" * 40 + zlib.compress(LINES)[80:], None),
        (b"", None),
    ],
)
def test_deflated_files_are_whole_or_named(tmp_path: Path, content: bytes, records: int | None) -> None:
    file = tmp_path / "a.json.deflate"
    file.write_bytes(content)
    report = probe(task(file))
    assert (report.records, report.verdict) == (records, "broken" if records is None else "ok")


@pytest.mark.parametrize("kind", ["json", "csv", "text"])
def test_utf16_without_a_byte_order_mark_is_named(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "a"
    file.write_bytes('{"id": 1}\n'.encode("utf-16-le"))
    report = probe(task(file, kind, encoding="UTF-16"))
    assert report.verdict == "broken"
    assert report.reason.endswith("Is it UTF-16LE or UTF-16BE?")


XML = '<?xml version="1.0" encoding="{}"?>\n<rows><row><s>{}</s></row></rows>'


@pytest.mark.parametrize("encoding", ["Shift_JIS", "EUC-JP", "Big5", "GB18030", "ISO-8859-1", "UTF-16"])
def test_xml_in_any_encoding_is_copied_as_utf8(tmp_path: Path, encoding: str) -> None:
    text = XML.format(
        encoding, "caf\N{LATIN SMALL LETTER E WITH ACUTE}" if encoding == "ISO-8859-1" else "\u65e5\u672c"
    )
    file = tmp_path / "a.xml"
    file.write_bytes(text.encode(encoding))
    report = probe(replace(task(file, "xml", rowTag="row"), spool=str(tmp_path / "spool")))
    assert (report.verdict, report.records) == ("ok", 1)
    assert Path(report.spool).read_text(encoding="utf-8").strip() == text.partition("\n")[2]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (XML.format("x-unheard-of", "a").encode(), "declares the encoding x-unheard-of, which nobody knows"),
        (XML.format("Shift_JIS", "a").encode() + b"\x81", "holds bytes that are not text in the encoding Shift_JIS"),
    ],
)
def test_xml_in_an_encoding_that_it_is_not_in_is_named(tmp_path: Path, content: bytes, reason: str) -> None:
    file = tmp_path / "a.xml"
    file.write_bytes(content)
    assert probe(task(file, "xml", rowTag="row")).reason == reason
