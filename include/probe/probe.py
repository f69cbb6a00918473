"""One look at each file of a batch before Spark reads it: can it be read, how many records, which must not be loaded.

Runs in worker processes beside the driver (or in Spark's Python workers on a cluster), so that a file which hangs or
crashes a reader takes nothing else with it. Imports neither Spark nor Arrow for JSON, CSV and text: a worker starts
in a tenth of a second.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from include.probe.records import BadRecord, JsonFindings, Spec, check_block
from include.probe.streams import BrokenFileError, Planned, SupersededError, blocks, open_planned, whole_lines

Verdict = Literal["ok", "broken", "superseded"]
MAX_HEADER = 1 << 20  # bytes: a longer first line is no header


@dataclass(frozen=True)
class ProbeTask:
    """What a worker needs to look at one file. `spec` holds the keys that the schema knows (JSON), None before there
    is a schema. `keep` asks for the content of a clean JSON file.
    """

    path: str
    planned: Planned
    format: str
    spec: Spec | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    keep: bool = False


@dataclass(frozen=True)
class FileReport:
    """What the look found.

    `records` is the independent count (None where the format gives none without parsing); `bad` are records that must
    not be loaded although Spark's reader might accept them; `unknown` maps a key that the schema does not have to the
    first record with it; `shape` tells files apart that need a reader of their own (CSV: the header; Parquet: the
    Arrow schema); `content` is the file's text, as it was looked at, where the task asked to keep it.
    """

    path: str
    verdict: Verdict
    reason: str = ""
    records: int | None = None
    bad: tuple[BadRecord, ...] = ()
    unknown: Mapping[str, int] = field(default_factory=dict)
    shape: tuple[str, ...] = ()
    content: bytes | None = None


def probe(task: ProbeTask) -> FileReport:
    """Look at one file. Never raises for what is wrong with the file itself."""
    try:
        return _PROBES[task.format](task)
    except SupersededError as error:
        return FileReport(task.path, "superseded", str(error))
    except BrokenFileError as error:
        return FileReport(task.path, "broken", str(error))
    except MemoryError:
        return FileReport(task.path, "broken", "looking at the file needs more memory than a probe may use")


def _probe_json(task: ProbeTask) -> FileReport:
    findings = JsonFindings()
    kept: list[bytes] = []
    for block in whole_lines(blocks(task.planned)):
        check_block(block, task.spec, findings)
        if task.keep:
            kept.append(block)
    content = b"".join(kept) if task.keep and not findings.bad else None
    return FileReport(task.path, "ok", "", findings.records, tuple(findings.bad), findings.unknown, content=content)


def _probe_text(task: ProbeTask) -> FileReport:
    count = sum(len(block.splitlines()) for block in whole_lines(blocks(task.planned)))
    return FileReport(task.path, "ok", "", count)


def _probe_csv(task: ProbeTask) -> FileReport:
    source = whole_lines(blocks(task.planned))
    has_header = task.options.get("header", "false").lower() == "true"
    if task.options.get("multiLine", "false").lower() == "true":
        return _probe_multiline_csv(task, source, has_header)
    comment = task.options.get("comment", "").encode()
    records = 0
    header: tuple[str, ...] = ()
    for block in source:
        if b"\0" in block:
            raise BrokenFileError("NUL bytes in a text file: is it UTF-16? Set the option `encoding`.")
        lines = [line for line in block.splitlines() if line.strip() and not (comment and line.startswith(comment))]
        if lines and not header:
            header = _header(lines[0][:MAX_HEADER], task.options)
        records += len(lines)
    return FileReport(
        task.path, "ok", "", max(records - has_header, 0), shape=header if has_header else _positions(header)
    )


def _probe_multiline_csv(task: ProbeTask, source: Iterator[bytes], has_header: bool) -> FileReport:
    first = next(source, b"")
    text = first.decode(task.options.get("encoding", "utf-8"), "replace")
    header = _fields(text.splitlines(keepends=True), task.options)
    for _ in source:  # to the end: a truncated archive must be seen here, not by Spark
        pass
    return FileReport(task.path, "ok", "", None, shape=header if has_header else _positions(header))


def _header(line: bytes, options: Mapping[str, str]) -> tuple[str, ...]:
    try:
        text = line.decode(options.get("encoding", "utf-8"))
    except (UnicodeDecodeError, LookupError) as error:
        raise BrokenFileError(f"the header is not text in the file's encoding: {error}") from None
    return _fields([text], options)


def _fields(lines: Sequence[str], options: Mapping[str, str]) -> tuple[str, ...]:
    delimiter = options.get("sep", options.get("delimiter", ","))
    quote = options.get("quote", '"')
    try:
        reader = csv.reader(
            lines,
            delimiter=delimiter,
            quotechar=quote or None,
            escapechar=options.get("escape", "\\"),
            quoting=csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE,
        )
        return tuple(name.strip() for name in next(reader, []))
    except (csv.Error, TypeError) as error:
        raise BrokenFileError(f"the first line cannot be read as CSV: {error}") from None


def _positions(header: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"_c{i}" for i in range(len(header)))


def _probe_parquet(task: ProbeTask) -> FileReport:
    import pyarrow as pa  # noqa: PLC0415  0.3 s of import that JSON, CSV and text do without
    import pyarrow.parquet as pq  # noqa: PLC0415

    with open_planned(task.planned) as raw:
        try:
            footer = pq.ParquetFile(raw)
            arrow = footer.schema_arrow
            shape = tuple(f"{f.name}: {f.type}" for f in arrow)
            return FileReport(task.path, "ok", "", footer.metadata.num_rows, shape=shape)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise BrokenFileError(f"not a readable Parquet file: {str(error).splitlines()[0]}") from None


_PROBES = {"json": _probe_json, "csv": _probe_csv, "text": _probe_text, "parquet": _probe_parquet}
