"""Reports on a pipeline's files: what each became, what was refused, and the sums. Read only, without Spark."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from include.config.pipeline import Pipeline
from include.config.settings import Settings
from include.ledger import skips
from include.ledger.ledger import Ledger
from include.ledger.pending import pending
from include.ledger.state_files import list_documents, read_document
from include.ledger.states import FileStates
from include.ledger.tables import open_table, read
from include.ledger.target import table_version
from include.ledger.versions import column

CHUNK_ROWS = 10_000

FILE_KEYS = (
    "path",
    "version",
    "size",
    "modified_at",
    "batch",
    "status",
    "rows_loaded",
    "rows_rescued",
    "rows_quarantined",
    "error",
    "table_version",
)
QUARANTINE_KEYS = ("path", "record", "reason", "raw", "batch")
STATUSES = ("pending", "loaded", "quarantined", "skipped", "superseded")


def iter_files(settings: Settings, pipeline: Pipeline) -> Iterator[dict[str, Any]]:
    """One dictionary with FILE_KEYS for each file version ever seen, planned ones first, in the order of their batches.

    `status` is one of STATUSES. `pending` ones have no figures yet; of one that is in the target already, the next
    run writes them. `skipped` ones were never planned: no version, no batch, and `error` names the rule.
    """
    states = FileStates(settings, pipeline)
    yield from _dictionaries(states.table.select(list(FILE_KEYS)))
    yield from iter_skipped(settings, pipeline.name)


def iter_quarantine(settings: Settings, pipeline: Pipeline) -> Iterator[dict[str, Any]]:
    """One dictionary with QUARANTINE_KEYS for each refused record; `record` and `raw` are None for a whole file.

    Only of what the target's commits stand for: not of pending batches, nor of versions that a later one replaced.
    """
    table = open_table(settings.state_root(pipeline.name, "quarantine"))
    if table is None:
        return
    states = FileStates(settings, pipeline)
    rows = read(table, (*QUARANTINE_KEYS, "version"), f"batch <= {states.committed}")
    order = [(name, "ascending", "at_start") for name in ("batch", "path", "record")]
    for row in _dictionaries(rows.take(pc.sort_indices(rows, order))):
        if not states.is_replaced(row["path"], row.pop("version")):
            yield row


def status(settings: Settings, pipeline: Pipeline) -> dict[str, Any]:
    """The sums: files by status, rows, batches, what is pending, the target's version and the last failure (or None).

    Raises:
        StateLost: the target holds batches that the ledger never planned.
    """
    states = FileStates(settings, pipeline)
    due = pending(settings, pipeline)
    counts = Counter(
        {entry["values"]: entry["counts"] for entry in pc.value_counts(states.table["status"]).to_pylist()}
    )
    counts["skipped"] = sum(1 for _ in iter_skipped(settings, pipeline.name))
    standing = states.table.filter(pc.not_equal(states.table["status"], "superseded"))
    return {
        "pipeline": pipeline.name,
        "table": pipeline.ingestion().table,
        **{f"files_{name}": counts[name] for name in STATUSES},
        **{name: pc.sum(standing[name]).as_py() or 0 for name in ("rows_loaded", "rows_rescued", "rows_quarantined")},
        "last_batch": states.last_batch,
        "pending_batches": due.batches,
        "pending_bytes": due.size,
        "table_version": table_version(settings, pipeline.ingestion().table),
        "last_failure": last_failure(settings, pipeline.name),
    }


def iter_skipped(settings: Settings, pipeline: str) -> Iterator[dict[str, Any]]:
    """The newest skip of each file, without those that were planned after all."""
    table = open_table(skips.location(settings, pipeline))
    if table is None:
        return
    rows = read(table, ("path", "size", "modified_at", "rule", "detail", "seen_at")).sort_by(
        [("seen_at", "ascending"), ("path", "ascending")]
    )
    newest = {(row["path"], row["size"], row["modified_at"]): row for row in rows.to_pylist()}
    planned = _identities(settings, pipeline, rows["path"])
    for (path, size, modified_at), row in newest.items():
        seen = planned.get(path)
        if seen is None or (size is not None and (size, modified_at) not in seen):
            yield {
                **dict.fromkeys(FILE_KEYS),
                "path": path,
                "size": size,
                "modified_at": modified_at,
                "status": "skipped",
                "rows_loaded": 0,
                "rows_rescued": 0,
                "rows_quarantined": 0,
                "error": f"{row['rule']}: {row['detail']}",
            }


def _identities(settings: Settings, pipeline: str, paths: pa.ChunkedArray) -> dict[str, set[tuple[Any, Any]]]:
    """Size and time of each planned version of those paths."""
    known = Ledger(settings, pipeline).known()
    known = known.filter(pc.is_in(known["path"], value_set=column(pc.unique(paths).to_pylist(), pa.string())))
    found: dict[str, set[tuple[Any, Any]]] = {}
    for row in known.select(["path", "size", "modified_at"]).to_pylist():
        found.setdefault(row["path"], set()).add((row["size"], row["modified_at"]))
    return found


def last_failure(settings: Settings, pipeline: str) -> str | None:
    """The newest failure report, None without one: run ids end with the time of the run, after who started it."""
    folder = settings.state_root(pipeline, "failures")
    names = sorted(list_documents(folder), key=lambda name: name.rpartition("__")[2])
    report = read_document(f"{folder}/{names[-1]}") if names else None
    if report is None:
        return None
    return f"{names[-1].removesuffix('.json')}: [{report.get('error_class')}] {report.get('message')}"


def _dictionaries(rows: pa.Table) -> Iterator[dict[str, Any]]:
    """Rows as dictionaries, a part at a time: a million at once would take gigabytes."""
    for batch in rows.to_batches(max_chunksize=CHUNK_ROWS):
        yield from batch.to_pylist()
