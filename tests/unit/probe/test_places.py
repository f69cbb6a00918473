"""Where records stand: the line and the text of each record that a reader is given."""

import gzip
from pathlib import Path

import pytest

from include.probe.places import places
from include.probe.records import BadRecord
from include.probe.report import FileReport
from include.probe.streams import Planned

CSV = b'a,b\n\n1,x\n2,"y\nz"\n# no\n3,\n'


@pytest.mark.parametrize(
    ("kind", "content", "options", "bad", "found"),
    [
        ("csv", CSV, {"header": "true", "comment": "#"}, [], [(3, "1,x"), (4, '2,"y\nz"'), (7, "3,")]),
        ("csv", CSV, {"header": "true", "comment": "#"}, [4], [(3, "1,x"), (7, "3,")]),
        ("csv", b"1;x\r\n2;y\r\n", {"sep": ";"}, [], [(1, "1;x"), (2, "2;y")]),
        ("json", b'\n{"a":1}\n  \n{"a":\n{"a":3}', {}, [4], [(2, '{"a":1}'), (5, '{"a":3}')]),
        ("json", b'[{"a":1},\n{"a":2}]', {"multiLine": "true"}, [1], [(2, '{"a":2}')]),
        ("json", '{"a":"\u00e4"}\n'.encode("utf-16"), {"encoding": "UTF-16"}, [], [(1, '{"a":"\u00e4"}')]),
        ("text", b"one\n\nthree", {}, [], [(1, "one"), (2, ""), (3, "three")]),
        ("text", b"one\ntwo", {"wholetext": "true"}, [], None),
        ("parquet", b"", {}, [], None),
    ],
)
def test_records_have_their_lines(
    tmp_path: Path,
    kind: str,
    content: bytes,
    options: dict[str, str],
    bad: list[int],
    found: list[tuple[int, str]] | None,
) -> None:
    report = FileReport("f", "ok", bad=tuple(BadRecord(number, "", b"") for number in bad))
    for name, written in (("f", content), ("f.gz", gzip.compress(content))):
        path = tmp_path / name
        path.write_bytes(written)
        status = path.stat()
        planned = Planned(str(path), status.st_size, status.st_mtime_ns // 1000)
        known = places(kind, planned, options, report)
        assert (None if known is None else list(known)) == found
