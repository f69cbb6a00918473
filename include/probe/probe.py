"""One look at each file of a batch before Spark reads it: can it be read, how many records, which must not be loaded.

Runs in worker processes beside the driver (or in Spark's Python workers on a cluster), so that a file which hangs or
crashes a reader takes nothing else with it. Imports neither Spark nor Arrow for JSON, CSV and text: a worker starts
in a tenth of a second.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from itertools import compress, islice

import msgspec

from include.probe.csv_files import csv_misfits, probe_csv
from include.probe.documents import probe_binary, probe_json_document, probe_whole_text, probe_xml
from include.probe.lenient import is_lenient, records_of, strict_json
from include.probe.records import BLANK, BadRecord, JsonFindings, check_block
from include.probe.report import FileReport, ProbeTask, Verdict
from include.probe.spool import write_spool
from include.probe.streams import (
    MAX_RECORD,
    BrokenFileError,
    SupersededError,
    blocks,
    is_plain,
    text_blocks,
    whole_lines,
)
from include.probe.values import json_misfit

_exact = msgspec.json.Decoder(float_hook=Decimal)  # every digit
NO_TEXT = "holds bytes that are not text in UTF-8"
MAX_MISFITS = 10_000  # that a plan names of one file
__all__ = ["FileReport", "ProbeTask", "Verdict", "probe"]


def probe(task: ProbeTask) -> FileReport:
    """Look at one file. Never raises for what is wrong with the file itself."""
    try:
        report = _PROBES[task.format](task)
        asked = task.columns is not None and task.format in ("json", "csv")
        return replace(report, misfits=tuple(_misfits(task, report))) if asked else report
    except SupersededError as error:
        return FileReport(task.path, "superseded", str(error))
    except BrokenFileError as error:
        return FileReport(task.path, "broken", str(error))
    except MemoryError:
        return FileReport(task.path, "broken", "looking at the file needs more memory than a probe may use")


def _probe_json(task: ProbeTask) -> FileReport:
    if task.options.get("multiLine") == "true":
        return probe_json_document(task)
    if is_lenient(task.options):
        return _probe_lenient_json(task)
    findings = JsonFindings(refuses_unknown=task.refuse_unknown)
    kept: list[bytes] = []
    for block in whole_lines(_as_utf8(task)):
        check_block(block, task.spec, findings)
        if task.keep:
            kept.append(block)
    refused = {bad.record for bad in findings.bad}
    content = b"".join(_other_lines(kept, refused)) if task.keep else None
    spool = ""
    if content is None and task.spool is not None and refused:
        spool = write_spool(task.spool, ".json", _other_lines(whole_lines(_as_utf8(task)), refused))
    elif content is None:
        spool = _plain_copy(task, ".json")
    bad, unknown = tuple(findings.bad), {} if task.any_keys else findings.unknown
    return FileReport(task.path, "ok", "", findings.records, bad, unknown, content=content, spool=spool)


def _probe_lenient_json(task: ProbeTask) -> FileReport:
    """Records that are made strict one by one, and copied so."""
    findings = JsonFindings(refuses_unknown=task.refuse_unknown)
    good = _strict_lines(task, findings)
    spool = write_spool(task.spool, ".json", good) if task.spool else ""
    for _ in good:  # what is not copied is looked at all the same
        pass
    unknown = {} if task.any_keys else findings.unknown
    return FileReport(task.path, "ok", "", findings.records, tuple(findings.bad), unknown, spool=spool)


def _strict_lines(task: ProbeTask, findings: JsonFindings) -> Iterator[bytes]:
    """The records that may be loaded, a line each; what is refused is in `findings`, as it stands in the file."""
    for record in _json_records(task):
        line = strict_json(record, task.options)
        before = len(findings.bad)
        if b"\n" in line or b"\r" in line:
            findings.records, findings.lines = findings.records + 1, findings.lines + 1
            reason = "not valid JSON: it goes on after a line's end"
            findings.bad.append(BadRecord(findings.lines, reason, record))
            continue
        check_block(line + b"\n", task.spec, findings)
        if len(findings.bad) > before:
            findings.bad[-1] = replace(findings.bad[-1], raw=record)
        elif line.strip(BLANK):
            yield line + b"\n"


def _json_records(task: ProbeTask) -> Iterator[bytes]:
    separator = task.options.get("lineSep")
    if separator is not None:
        return records_of(_as_utf8(task), separator.encode())
    return (line for block in whole_lines(_as_utf8(task)) for line in block.splitlines())


def _misfits(task: ProbeTask, report: FileReport) -> Iterator[BadRecord]:
    """The records with a value of another type (lines only: a JSON document has none)."""
    found = _json_misfits(task, report) if task.format == "json" else csv_misfits(task, report)
    if report.verdict == "ok" and task.options.get("multiLine") != "true":
        yield from islice(found, MAX_MISFITS)


def _json_misfits(task: ProbeTask, report: FileReport) -> Iterator[BadRecord]:
    refused, lenient = {bad.record for bad in report.bad}, is_lenient(task.options)
    for number, line in enumerate(_json_records(task), 1):
        if line.strip(BLANK) and number not in refused:
            record = strict_json(line, task.options) if lenient else line
            reason = json_misfit(_exact.decode(record), task.columns or {})
            if reason:
                yield BadRecord(number, reason, line)


def _other_lines(source: Iterable[bytes], refused: Collection[int]) -> Iterator[bytes]:
    """The lines less those with the refused numbers; blocks as they are where none is refused."""
    if not refused:
        yield from source
        return
    number = 1
    for block in source:
        lines = block.splitlines(keepends=True)
        following = number + len(lines)
        yield from compress(lines, [line not in refused for line in range(number, following)])
        number = following


def _probe_text(task: ProbeTask) -> FileReport:
    if task.options.get("wholetext") == "true":
        return probe_whole_text(task)
    bad: list[BadRecord] = []
    count = 0
    for lines in _text_lines(task):
        if not all(map(bytes.isascii, lines)):
            bad += [BadRecord(count + at, NO_TEXT, line) for at, line in enumerate(lines, 1) if not is_utf8(line)]
        count += len(lines)
    if bad and task.spool:
        ending, refused = task.options.get("lineSep", "\n").encode(), {record.record for record in bad}
        good = (line + ending for line in _numbered_out(_text_lines(task), refused))
        return FileReport(task.path, "ok", "", count, tuple(bad), spool=write_spool(task.spool, ".txt", good))
    return FileReport(task.path, "ok", "", count, tuple(bad), spool=_plain_copy(task, ".txt"))


def _text_lines(task: ProbeTask) -> Iterator[list[bytes]]:
    """The records of a text file, some at a time.

    Raises:
        BrokenFileError: one of them is too long.
    """
    if separator := task.options.get("lineSep"):
        yield from ([record] for record in records_of(_as_utf8(task), separator.encode()))
        return
    for block in whole_lines(_as_utf8(task)):
        lines = block.splitlines()
        if len(block) > MAX_RECORD and max(map(len, lines)) > MAX_RECORD:
            raise BrokenFileError(f"a line of more than {MAX_RECORD >> 20} MB")
        yield lines


def _numbered_out(parts: Iterable[list[bytes]], refused: Collection[int]) -> Iterator[bytes]:
    lines = (line for part in parts for line in part)
    return (line for number, line in enumerate(lines, 1) if number not in refused)


def is_utf8(text: bytes) -> bool:
    """True for bytes that are text."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _as_utf8(task: ProbeTask) -> Iterator[bytes]:
    encoding = task.options.get("encoding", "UTF-8")
    if encoding == "UTF-8":
        return blocks(task.planned)
    return (text.encode("utf-8", "surrogateescape") for text in text_blocks(task.planned, encoding))


def _plain_copy(task: ProbeTask, suffix: str) -> str:
    """A decompressed copy in UTF-8, where Spark cannot read the file itself."""
    plain = is_plain(task.planned) and task.options.get("encoding", "UTF-8") == "UTF-8"
    return "" if plain or task.spool is None else write_spool(task.spool, suffix, _as_utf8(task))


def _probe_parquet(task: ProbeTask) -> FileReport:
    from include.probe.columnar import probe_parquet  # noqa: PLC0415  Arrow: 0.3 s that text does without

    return probe_parquet(task)


def _probe_orc(task: ProbeTask) -> FileReport:
    from include.probe.columnar import probe_orc  # noqa: PLC0415

    return probe_orc(task)


def _probe_avro(task: ProbeTask) -> FileReport:
    from include.probe.avro_files import probe_avro  # noqa: PLC0415

    return probe_avro(task)


_PROBES: Mapping[str, Callable[[ProbeTask], FileReport]] = {
    "json": _probe_json,
    "csv": probe_csv,
    "text": _probe_text,
    "parquet": _probe_parquet,
    "orc": _probe_orc,
    "avro": _probe_avro,
    "xml": probe_xml,
    "binaryFile": probe_binary,
}
