"""What a kill, or a lost file, leaves of COPY INTO's state is put in order from the target's own log. No Spark.

Each commit of a statement carries in its user metadata which batch it is and what it loaded of which file, so that the
outcomes, and even the ledger, can be written again from the history of the table.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from deltalake import DeltaTable

from include.config.errors import Defect, StateLost, TableLocked
from include.config.settings import Settings
from include.copy_into.notes import Named, unpacked
from include.copy_into.state import STATE, TableState
from include.copy_into.target import open_target
from include.ledger.ledger import LedgerMoved
from include.ledger.outcomes import FileOutcome, write_outcomes
from include.ledger.table_lock import table_lock
from include.ledger.tables import storage_errors
from include.ledger.versions import PLANNED, PlannedBatch, table

NOTE = "copy_into"
HISTORY_SEARCHED = 200
ONE_BATCH = 1 << 62  # files: a statement is one batch, and so one commit


@dataclass(frozen=True)
class Commit:
    """A commit of the target that a statement made: its version, its note, and the rows it says that it wrote."""

    version: int
    note: Mapping[str, Any]
    rows: int | None

    @property
    def batch(self) -> int:
        """The batch that it brought."""
        return int(self.note["batch"])

    @property
    def files(self) -> list[Named] | None:
        """What became of each file; None where the note does not say."""
        return unpacked(self.note)


def commits(target: DeltaTable, limit: int | None) -> Iterator[Commit]:
    """The commits of COPY INTO in the table's history, the newest first."""
    with storage_errors("Reading the history of the target", target.table_uri):
        history = target.history(limit)
    for entry in history:
        try:
            note = json.loads(entry.get("userMetadata") or "{}")
        except ValueError:
            continue
        if isinstance(note, dict) and isinstance(note.get(NOTE), dict):
            rows = entry.get("operationMetrics", {}).get("numOutputRows")
            yield Commit(int(entry["version"]), note[NOTE], None if rows is None else int(rows))


def commit_of(state: TableState, batch: int) -> Commit | None:
    """The target's commit of a batch; None where the history does not reach back to it."""
    target = open_target(state.location)
    if target is None:
        return None
    for limit in (HISTORY_SEARCHED, None):
        found = next((commit for commit in commits(target, limit) if commit.batch == batch), None)
        if found is not None:
            return found
    return None


def put_in_order_if_free(settings: Settings, state: TableState, run_id: str) -> None:
    """Put the state in order, unless a load holds the table: it is about to do that itself.

    Raises:
        StateLost, StorageError: see `put_in_order`.
        TableLocked: the ledger is gone, and the load that holds the table has not rebuilt it.
    """
    committed = state.committed()
    if state.ledger().last_batch >= committed <= state.accounted():
        return
    with suppress(TableLocked), table_lock(settings, state.table, 0):
        put_in_order(state, run_id)
    if state.ledger().last_batch < state.committed():
        raise TableLocked(
            f"The ledger of {state.table} is gone, and another run that writes the table must end first.",
            remedy="Run again.",
        )


def put_in_order(state: TableState, run_id: str) -> None:
    """Rebuild the ledger where it is gone, and the outcomes of batches that the target holds without them.

    The caller holds the table's lock: two processes that wrote the same outcomes at once would fail.

    Raises:
        StateLost: the ledger is gone, and the table's history does not say all that was in it.
    """
    committed = state.committed()
    if state.ledger().last_batch < committed:
        _rebuild_ledger(state, committed)
    for planned in state.batches(state.accounted() + 1, committed):
        account(state, planned, run_id)


def account(state: TableState, planned: PlannedBatch, run_id: str) -> list[FileOutcome]:
    """Write the outcomes of a batch that is over: as decided, or as its commit's note says."""
    commit = commit_of(state, planned.batch)
    decided = state.decided(planned.batch).get("outcomes")
    if decided is None:
        decided = None if commit is None else commit.files
    if decided is None:
        decided = [_unknown(planned, path.path, path.version) for path in planned.files]
    version = None if commit is None else commit.version
    outcomes = [_outcome(planned.batch, one, version, run_id) for one in decided]
    write_outcomes(state.settings, STATE, planned.batch, outcomes)
    state.forget_decision(planned.batch)
    return outcomes


def _outcome(batch: int, one: Mapping[str, Any], version: int | None, run_id: str) -> FileOutcome:
    return FileOutcome(
        batch=batch,
        path=one["path"],
        version=one["version"],
        status=one["status"],
        records=one["records"],
        rows_loaded=one["rows_loaded"],
        rows_quarantined=one["rows_quarantined"],
        error=one["error"],
        torn=one.get("torn", False),
        table_version=version if one["status"] == "loaded" else None,
        schema_version=None,
        run_id=run_id,
    )


def _unknown(planned: PlannedBatch, path: str, version: int) -> dict[str, Any]:
    """Of a batch that the target holds: its files are loaded, and how many rows each brought is not known any more."""
    return {
        "path": path,
        "version": version,
        "status": "loaded",
        "records": None,
        "rows_loaded": 0,
        "rows_quarantined": 0,
        "error": f"the row counts of batch {planned.batch} are lost; the table's history has their sum",
    }


def _rebuild_ledger(state: TableState, committed: int) -> None:
    """Write the ledger again from the notes of the table's commits.

    Batches that loaded nothing are not in the table's history; their files were never remembered.
    """
    target = open_target(state.location)
    if target is None:
        raise Defect(f"{state.location} holds batches and is no table.")
    found = {commit.batch: commit for commit in commits(target, None)}
    last = max(found, default=0)
    files = {batch: commit.files or () for batch, commit in found.items()}
    if last < committed or not all(files.values()) or state.ledger().exists:
        raise StateLost(
            f"The table {state.table} holds statements up to batch {committed}, but the ledger of its files "
            f"({state.location}/{STATE}/ledger) ends before, and the table's history does not name them all.",
            remedy="Restore the folder from a backup, or load into a new table.",
            location=state.location,
        )
    ledger = state.ledger()
    for batch in sorted(found):
        rows = [
            [one[name] for name in ("path", "size", "modified_at", "etag", "version")] + ["append", None]
            for one in files[batch]
        ]
        columns = [list(values) for values in zip(*rows, strict=True)]
        try:
            ledger.append(
                table(columns, PLANNED), ONE_BATCH, None, str(found[batch].note["id"]), datetime.now(UTC), first=batch
            )
        except LedgerMoved:
            return
        ledger = state.ledger()
