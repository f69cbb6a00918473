"""Exactly once, by a reckoning of its own: what lies in landing/ against what stands in the tables and the reports.

Nothing of Sluice is imported here: records are read by Python's json, the target by delta-rs, the reports from what the
commands print.
"""

import gzip
import json
import zlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from deltalake import DeltaTable

from tests.e2e.fault.home import Home

Loaded = Counter[tuple[str, int | None, str]]  # path, id, s
Refused = Counter[tuple[str, int | None]]  # path, line (None: the whole file)


class Expected(NamedTuple):
    """What one file is to become."""

    loaded: Loaded
    refused: Refused
    lines: int | None  # None where the file is broken as a whole


def problems(home: Home) -> list[str]:
    """Everything that is lost, doubled or wrongly reported; empty when each record is accounted for once."""
    files = {f"in/{file.name}": _expected(file) for file in sorted(home.landing.iterdir())}
    loaded = sum((file.loaded for file in files.values()), Loaded())
    refused = sum((file.refused for file in files.values()), Refused())
    found = _differences("loaded", loaded, _in_target(home))
    quarantine = Refused((row["path"], row["record"]) for row in home.report("quarantine"))
    return found + _differences("quarantined", refused, quarantine) + _misreported(home, files)


def _expected(file: Path) -> Expected:
    path = f"in/{file.name}"
    try:
        content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    except (OSError, EOFError, zlib.error):
        return Expected(Loaded(), Refused([(path, None)]), None)
    loaded, refused = Loaded(), Refused()
    lines = content.splitlines()
    for number, line in enumerate(lines, start=1):
        record = _record(line)
        if record is None:
            refused[path, number] += 1
        else:
            loaded[path, *record] += 1
    return Expected(loaded, refused, len(lines))


def _record(line: bytes) -> tuple[int | None, str] | None:
    """What of a line is to be in the columns; a text in place of the number is rescued. None: it is quarantined."""
    try:
        record = json.loads(line)
        ident, text = record["id"], record["s"]
    except (ValueError, TypeError, KeyError):
        return None
    if type(text) is not str or type(ident) not in (int, str):
        return None
    return (ident if type(ident) is int else None, text)


def _in_target(home: Home) -> Loaded:
    rows = DeltaTable(str(home.target)).to_pyarrow_table(columns=["_source_file", "id", "s"]).to_pylist()
    return Loaded((row["_source_file"], row["id"], row["s"]) for row in rows)


def _differences(what: str, due: Counter[Any], found: Counter[Any]) -> list[str]:
    lost = [f"{count} x {key} is not {what}" for key, count in (due - found).items()]
    return lost + [f"{count} x {key} is {what} too often" for key, count in (found - due).items()]


def _misreported(home: Home, files: Mapping[str, Expected]) -> list[str]:
    """Each file's newest version against its own lines: records = loaded + quarantined."""
    reports = home.report("files")
    keys = Counter((report["path"], report["version"]) for report in reports)
    found = [f"{key} is reported {count} times" for key, count in keys.items() if count > 1]
    newest = {report["path"]: report for report in sorted(reports, key=lambda report: report["version"])}
    found += [f"{path} is reported and not there" for path in sorted(newest.keys() - files.keys())]
    for path, file in files.items():
        report = newest.get(path)
        due = ("quarantined", 0) if file.lines is None else ("loaded", file.loaded.total())
        if report is None or (report["status"], report["rows_loaded"]) != due:
            found.append(f"{path} should be reported as {due}: {report}")
        elif file.lines is not None and file.lines != report["rows_loaded"] + report["rows_quarantined"]:
            found.append(f"{path} has {file.lines} records: {report}")
    return found
