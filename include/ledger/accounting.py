"""Accounting of committed batches: for each planned file, the rows that the target and the quarantine table hold of it.

The load calls `account` after each commit of the target; discovery calls `rebuild_missing`, which does the same for
batches that a kill left without outcomes. Both count what was committed, by delta-rs, without Spark.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder

from include.config.errors import Defect
from include.config.pipeline import Pipeline
from include.config.settings import Settings, is_remote
from include.ledger.attempts import Attempt, AttemptStore, Decision, Fate
from include.ledger.ledger import read_batches
from include.ledger.loaded_rows import Key, rows_loaded
from include.ledger.outcomes import (
    FileOutcome,
    OutcomeStatus,
    last_outcome_batch,
    write_outcomes,
)
from include.ledger.tables import open_table, storage_errors
from include.ledger.target import app_id, committed_batch
from include.ledger.versions import FileVersion, PlannedBatch

HISTORY_SEARCHED = 200  # commits of the target, newest first, in which a batch's own commit is looked for
STATUS: Mapping[Fate, OutcomeStatus] = {"load": "loaded", "quarantine": "quarantined", "superseded": "superseded"}


@dataclass(frozen=True)
class Refused:
    """What the quarantine holds of a file: the first reason, how many records, and whether it was refused whole."""

    error: str | None = None
    records: int = 0
    whole: bool = False


class RecordsUnaccounted(Defect):
    """Raised when a file's records are not what was loaded and quarantined of it."""


def account(
    settings: Settings,
    pipeline: Pipeline,
    planned: PlannedBatch,
    attempt: Attempt,
    run_id: str,
    *,
    late: bool = False,
) -> list[FileOutcome]:
    """The outcome of each file of a committed batch, written once.

    A file that is not the planned version any more may have changed while it was read. `late` says that the load is
    long over, so that it may as well have changed since: then it is whole if its records are all there.

    Raises:
        StorageError: the target, the quarantine or the outcomes cannot be read or written.
    """
    table = _target(settings, pipeline)
    outcomes = _outcomes(settings, pipeline, planned, attempt, run_id, table, late=late)
    write_outcomes(settings, pipeline.name, planned.batch, outcomes)
    AttemptStore(settings, pipeline.name).end(planned.batch)
    return outcomes


def rebuild_missing(settings: Settings, pipeline: Pipeline, run_id: str) -> int:
    """Write the outcomes of batches that the target holds and the outcomes table does not; returns how many."""
    if pipeline.ingest is None:
        return 0
    committed = committed_batch(settings, pipeline.ingest.table, app_id(pipeline.name))
    first = last_outcome_batch(settings, pipeline.name) + 1
    if first > committed:
        return 0
    store = AttemptStore(settings, pipeline.name)
    for planned in read_batches(settings, pipeline.name, first, committed):
        account(settings, pipeline, planned, store.read(planned.batch) or Attempt(), run_id, late=True)
    return committed - first + 1


def refuse_unaccounted(outcomes: Sequence[FileOutcome]) -> None:
    """Compare the independent count of each file with what was committed of it.

    Raises:
        RecordsUnaccounted: they differ; the outcomes are written all the same, and say so.
    """
    wrong = [outcome for outcome in outcomes if _unaccounted(outcome)]
    if wrong:
        first = wrong[0]
        raise RecordsUnaccounted(
            f"{len(wrong)} files are not accounted for; first: {first.path} has {first.records} records, "
            f"{first.rows_loaded} were loaded and {first.rows_quarantined} quarantined.",
            remedy="The table holds what is counted as loaded. Please report this with the file.",
        )


def _unaccounted(outcome: FileOutcome) -> bool:
    return (
        outcome.status != "superseded"
        and not outcome.torn
        and outcome.records is not None
        and outcome.records != outcome.rows_loaded + outcome.rows_quarantined
    )


def _target(settings: Settings, pipeline: Pipeline) -> DeltaTable:
    if pipeline.ingest is None:
        raise Defect(f"Pipeline {pipeline.name} has no ingest section.")
    location = settings.table_root(pipeline.ingest.table)
    table = open_table(location)
    if table is None:
        raise Defect(f"{location} is not there although a batch was committed to it.")
    return table


def _outcomes(
    settings: Settings,
    pipeline: Pipeline,
    planned: PlannedBatch,
    attempt: Attempt,
    run_id: str,
    table: DeltaTable,
    *,
    late: bool,
) -> list[FileOutcome]:
    loaded = rows_loaded(table, pipeline.ingestion().rescued_column, planned.batch)
    refused = _rows_refused(settings, pipeline.name, planned.batch)
    version = _version_of(table, pipeline.name, planned.batch)
    outcomes = []
    for file in planned.files:
        key = (file.path, file.version)
        refusal = refused.get(key, Refused())
        error, quarantined = refusal.error, refusal.records
        rows, rescued = loaded.get(key, (0, 0))
        decision = attempt.files.get(file.path) or _decision_seen(settings, file, rows, refusal)
        whole = late and decision.records == rows + quarantined
        outcomes.append(
            FileOutcome(
                batch=planned.batch,
                path=file.path,
                version=file.version,
                status=STATUS[decision.fate],
                records=rows + quarantined if decision.records is None else decision.records,
                rows_loaded=rows,
                rows_rescued=rescued,
                rows_quarantined=quarantined,
                error=error,
                torn=decision.fate == "load" and not whole and not _unchanged(settings, file),
                table_version=version,
                schema_version=attempt.schema_version,
                run_id=run_id,
            )
        )
    return outcomes


def _decision_seen(settings: Settings, file: FileVersion, rows: int, refusal: Refused) -> Decision:
    """What must have been decided, where the batch's document is gone: the outcomes were deleted long after it."""
    if refusal.whole:
        return Decision("quarantine")
    unread = file.size > 0 and rows == 0 and refusal.records == 0
    return Decision("superseded" if unread and not _unchanged(settings, file) else "load")


def _rows_refused(settings: Settings, pipeline: str, batch: int) -> Mapping[Key, Refused]:
    """What was refused of each file with refusals."""
    table = open_table(settings.state_root(pipeline, "quarantine"))
    if table is None:
        return {}
    query = (
        "SELECT path, version, sum(records) AS records, "
        "first_value(reason ORDER BY record NULLS FIRST) AS reason, min(record) AS record, "
        "count(*) - count(raw) AS without_raw "
        f"FROM quarantine WHERE batch = {batch} GROUP BY path, version"
    )
    return {
        (row["path"], row["version"]): Refused(_first_error(row), row["records"], whole=row["without_raw"] > 0)
        for row in _query(table, "quarantine", query)
    }


def _first_error(row: Mapping[str, Any]) -> str:
    return str(row["reason"]) if row["record"] is None else f"line {row['record']}: {row['reason']}"


def _query(table: DeltaTable, name: str, query: str) -> list[dict[str, Any]]:
    with storage_errors("Counting rows", table.table_uri):
        rows: list[dict[str, Any]] = pa.table(QueryBuilder().register(name, table).execute(query)).to_pylist()
        return rows


def _version_of(table: DeltaTable, pipeline: str, batch: int) -> int:
    """The version of the target whose commit brought the batch; its newest one if that commit is out of the history."""
    for commit in table.history(HISTORY_SEARCHED):
        try:
            note = json.loads(commit.get("userMetadata") or "{}")
        except ValueError:
            continue
        if isinstance(note, dict) and note.get("pipeline") == pipeline and note.get("batch") == batch:
            return int(commit["version"])
    return table.version()


def _unchanged(settings: Settings, file: FileVersion) -> bool:
    """False where the file on local disk is no longer the planned version; object stores replace objects whole."""
    uri = settings.file_uri(file.path)
    if is_remote(uri):
        return True
    try:
        status = os.stat(uri)  # noqa: PTH116
    except FileNotFoundError:
        return True  # taken away after it was read: nothing will follow that could replace it
    return status.st_size == file.size and status.st_mtime_ns // 1000 == file.modified_at
