"""What a kill, or a lost file, leaves of COPY INTO's state is put in order from the target's own log. No Spark.

Each commit of a statement carries in its user metadata which batch it is and what it loaded of which file, so that the
outcomes, and even the ledger, can be written again from the history of the table.
"""

import json
from collections.abc import Mapping
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
from include.ledger.outcomes import FileOutcome, read_outcomes, write_outcomes
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


@dataclass(frozen=True)
class History:
    """The target's commits that its log still has: those of COPY INTO, the newest first. `whole` says that none before
    them was cleaned away.
    """

    commits: tuple[Commit, ...]
    whole: bool

    @property
    def first_batch(self) -> int:
        """The lowest batch that it has; those above it that are not there never were in the target."""
        return 1 if self.whole else min((commit.batch for commit in self.commits), default=1 << 62)


def history(target: DeltaTable, limit: int | None = None) -> History:
    """The history of a table, or its newest `limit` commits."""
    with storage_errors("Reading the history of the target", target.table_uri):
        entries = target.history(limit)
    whole = min((int(entry["version"]) for entry in entries), default=1) == 0
    return History(tuple(commit for entry in entries if (commit := _commit(entry)) is not None), whole)


def _commit(entry: Mapping[str, Any]) -> Commit | None:
    try:
        note = json.loads(entry.get("userMetadata") or "{}")
    except ValueError:
        return None  # another writer's own words
    if not isinstance(note, dict) or not isinstance(note.get(NOTE), dict):
        return None
    rows = entry.get("operationMetrics", {}).get("numOutputRows")
    return Commit(int(entry["version"]), note[NOTE], None if rows is None else int(rows))


def commit_of(state: TableState, batch: int) -> Commit | None:
    """The target's commit of a batch; None where there is none, or the history does not reach back to it."""
    if state.committed() < batch or (target := open_target(state.location)) is None:
        return None
    for limit in (HISTORY_SEARCHED, None):
        found = history(target, limit)
        for commit in found.commits:
            if commit.batch == batch:
                return commit
        if found.first_batch <= batch:
            return None
    return None


def put_in_order_if_free(settings: Settings, state: TableState, run_id: str) -> None:
    """Put the state in order, unless a load holds the table: it is about to do that itself.

    Raises:
        StateLost, StorageError: see `put_in_order`.
        TableLocked: the ledger is gone, and the load that holds the table has not rebuilt it.
    """
    if _in_order(state):
        return
    with suppress(TableLocked), table_lock(settings, state.table, 0):
        put_in_order(state, run_id)
    committed = state.committed()  # before the ledger: it never holds more than was planned then
    if state.ledger().last_batch < committed:
        raise TableLocked(
            f"The ledger of {state.table} is gone, and another run that writes the table must end first.",
            remedy="Run again.",
        )


def _in_order(state: TableState) -> bool:
    accounted, committed = state.accounted(), state.committed()  # in this order: who accounts has committed
    _refuse_another_table(state, accounted, committed)
    return state.ledger().last_batch >= committed <= accounted


def put_in_order(state: TableState, run_id: str) -> None:
    """Rebuild the ledger where it is gone, and the outcomes of batches that the target holds without them.

    The caller holds the table's lock: two processes that wrote the same outcomes at once would fail.

    Raises:
        StateLost: the ledger is gone, and the table's history does not say all that was in it; or the table is not the
            one that the state is of.
    """
    accounted, committed = state.accounted(), state.committed()
    _refuse_another_table(state, accounted, committed)
    if state.ledger().last_batch < committed:
        _rebuild_ledger(state, committed)
    for planned in state.batches(accounted + 1, committed):
        account(state, planned, run_id)


def _refuse_another_table(state: TableState, accounted: int, committed: int) -> None:
    """A table that was made anew beside the old one's state would never be given the files that the old one had."""
    if accounted <= committed:
        return
    lost = f"batch > {committed} AND rows_loaded > 0"
    rows = read_outcomes(state.settings, STATE, ("batch",), lost)
    if rows.num_rows:
        raise StateLost(
            f"Statements loaded files into {state.table} up to batch {accounted}, but the table that is there now "
            f"holds them up to {committed} only.",
            remedy=f"If the table was made anew, remove {state.location}/{STATE}: all files are loaded again then. "
            "Else restore the table.",
            location=state.location,
            committed=committed,
        )


def account(state: TableState, planned: PlannedBatch, run_id: str) -> list[FileOutcome]:
    """Write the outcomes of a batch that is over: as its commit says, or as decided where it has none."""
    commit = commit_of(state, planned.batch)
    found = None if commit is None else commit.files
    if found is None:
        found = state.decided(planned.batch).get("outcomes")
    if found is None:
        found = _guessed(state, planned)
    version = None if commit is None else commit.version
    outcomes = [_outcome(planned.batch, one, version, run_id) for one in found]
    write_outcomes(state.settings, STATE, planned.batch, outcomes)
    state.forget_decision(planned.batch)
    return outcomes


def _guessed(state: TableState, planned: PlannedBatch) -> list[Named]:
    """What became of a batch whose decision and commit are both not there: nothing was loaded where it was rejected, or
    the table's history reaches back to it and does not have it. Else its files are taken for loaded.
    """
    if state.rejection(planned.batch) is not None:
        return no_outcomes(planned, "rejected", "the statement was rejected")
    target = open_target(state.location)
    if target is not None and history(target).first_batch <= planned.batch:
        return no_outcomes(planned, "rejected", "the table's history has no commit of it: nothing of it was loaded")
    lost = f"the row counts of batch {planned.batch} are lost; the table's history had their sum"
    return no_outcomes(planned, "loaded", lost)


def no_outcomes(planned: PlannedBatch, status: str, error: str) -> list[Named]:
    """The same for each file of a batch, without figures."""
    rest = {"records": None, "rows_loaded": 0, "rows_quarantined": 0, "status": status, "error": error}
    return [{"path": file.path, "version": file.version, **rest} for file in planned.files]


def _outcome(batch: int, one: Named, version: int | None, run_id: str) -> FileOutcome:
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


def _rebuild_ledger(state: TableState, committed: int) -> None:
    """Write what the ledger lacks again, from the notes of the table's commits. Killed on the way, it is gone on with.

    Batches that loaded nothing are not in the table's history; their files were never remembered.
    """
    target = open_target(state.location)
    if target is None:
        raise Defect(f"{state.location} holds batches and is no table.")
    ledger = state.ledger()
    known = history(target)
    lacking = {commit.batch: commit for commit in known.commits if commit.batch > ledger.last_batch}
    named = all(commit.files for commit in lacking.values())
    if known.first_batch > ledger.last_batch + 1 or max(lacking, default=0) < committed or not named:
        raise StateLost(
            f"The table {state.table} holds statements up to batch {committed}, but the ledger of its files "
            f"({state.location}/{STATE}/ledger) ends at {ledger.last_batch}, and the table's history does not name all "
            "files in between.",
            remedy="Restore the folder from a backup, or load into a new table.",
            location=state.location,
        )
    for batch, commit in sorted(lacking.items()):
        rows = [
            [one[name] for name in ("path", "size", "modified_at", "etag", "version")] + ["append", None]
            for one in commit.files or ()
        ]
        columns = [list(values) for values in zip(*rows, strict=True)]
        try:
            ledger.append(
                table(columns, PLANNED), ONE_BATCH, None, str(commit.note["id"]), datetime.now(UTC), first=batch
            )
        except LedgerMoved:
            return
        ledger = state.ledger()
