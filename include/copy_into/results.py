"""What became of statements: the figures that Databricks returns, and one row for each file. Read by delta-rs."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from include.config.exit_codes import ExitCode
from include.config.pipeline import Pipeline
from include.config.settings import Settings
from include.copy_into.errors import LoadRefused
from include.copy_into.plan import CopyPlan
from include.copy_into.state import STATE, Intent, TableState
from include.copy_into.statement import CopyInto
from include.ledger.files import FILE_KEYS as INGEST_KEYS
from include.ledger.files import STATUSES as INGEST_STATUSES
from include.ledger.files import iter_skipped, last_failure
from include.ledger.outcomes import read_outcomes
from include.ledger.tables import open_table, read
from include.ledger.target import table_version

FILE_KEYS = (*INGEST_KEYS, "statement", "run_id", "loaded_at")
SHOWN = ("path", "version", "status", "rows_loaded", "rows_quarantined", "error", "table_version")
STATUSES = (*INGEST_STATUSES, "rejected")
QUARANTINE_KEYS = ("path", "record", "reason", "raw", "batch")


@dataclass(frozen=True)
class CopyResult:
    """What a statement did, in Databricks' words. COPY INTO only inserts, so affected and inserted rows are the same.

    `files` has one entry for each file that it looked at, also those that were skipped as corrupt.
    """

    num_affected_rows: int
    num_inserted_rows: int
    num_skipped_corrupt_files: int
    files: tuple[Mapping[str, Any], ...]

    def to_dict(self) -> dict[str, object]:
        """The contract's JSON object."""
        return asdict(self)


def results(settings: Settings, plan: CopyPlan) -> list[CopyResult]:
    """The result of each statement of a plan, counted from the outcomes of its batches; none where it was rejected."""
    found = []
    for planned in plan.statements:
        state = TableState(settings, planned.table)
        rows = _outcomes(state, planned.batches)
        loaded = sum(row["rows_loaded"] for row in rows)
        corrupt = sum(row["status"] == "quarantined" for row in rows)
        files = tuple({name: row[name] for name in SHOWN} for row in rows)
        found.append(CopyResult(loaded, loaded, corrupt, files))
    return found


def over(settings: Settings, plan: CopyPlan) -> bool:
    """True when every batch of the plan's statements has its outcomes, whoever did it.

    That the target holds it is not enough: another statement's job may be between that commit and the outcomes, and
    this one would be told that nothing was loaded.
    """
    return all(
        not one.batches or TableState(settings, one.table).accounted() >= max(one.batches) for one in plan.statements
    )


class Rejected(LoadRefused):
    """Raised when a statement was rejected, with the class, the message and the exit code of the cause."""

    def __init__(self, failure: Mapping[str, Any]) -> None:
        super().__init__(failure["error_class"], failure["message"], remedy=failure["remedy"])
        self.exit_code = ExitCode(failure["exit_code"])  # type: ignore[misc]


def refuse_rejected(settings: Settings, plan: CopyPlan) -> None:
    """Say why nothing of a statement of the plan was loaded, if that is so.

    Raises:
        Rejected: for the first such statement.
    """
    for one in plan.statements:
        for batch in one.batches:
            if (failure := TableState(settings, one.table).rejection(batch)) is not None:
                raise Rejected(failure)


def rejection_of(settings: Settings, statements: Sequence[CopyInto], run_id: str, since: Mapping[str, int]) -> None:
    """Say why nothing of a run's statement was loaded, if that is so: of the last batch that the run planned for it, or
    of one of the same text above the batch `since` of its table.

    Raises:
        Rejected: for the first such statement.
    """
    for table in dict.fromkeys(statement.table for statement in statements):
        state = TableState(settings, table)
        ledger = state.ledger()
        of_table = [statement for statement in statements if statement.table == table]
        identities = {statement.identity for statement in of_table}
        rows = ledger.rows(("batch", "run_id"), 1, ledger.last_batch)
        own = {_last_of(rows, Intent.of(statement, run_id)) for statement in of_table} - {0}
        for batch in sorted({*own, *range(since[table] + 1, state.accounted() + 1)}):
            failure, intent = state.rejection(batch), state.intent_of(batch)
            if failure and (batch in own or (intent and intent.identity in identities)):
                raise Rejected(failure)


def _last_of(rows: pa.Table, intent: Intent) -> int:
    """The last batch that a run planned for a statement, 0 where there is none."""
    return pc.max(rows.filter(pc.equal(rows["run_id"], intent.id))["batch"]).as_py() or 0


def iter_files(settings: Settings, table: str) -> Iterator[dict[str, Any]]:
    """One dictionary with FILE_KEYS for each file version that statements on the table ever planned, in order."""
    state = TableState(settings, table)
    ledger = state.ledger()
    planned = ledger.rows(("batch", "path", "version", "size", "modified_at", "run_id"), 1, ledger.last_batch)
    done = state.done()
    became = {(row["batch"], row["path"]): row for row in read_outcomes(state.settings, STATE).to_pylist()}
    statements: dict[int, str | None] = {}
    order = [(name, "ascending") for name in ("batch", "path")]
    for row in planned.sort_by(order).to_pylist():
        batch = row["batch"]
        if batch not in statements:
            intent = state.intent_of(batch)
            statements[batch] = None if intent is None else intent.sql
        outcome = became.get((batch, row["path"])) if batch <= done else None
        figures = outcome or {**dict.fromkeys(FILE_KEYS), "status": "pending", "run_id": row["run_id"]}
        whole = {**figures, **row, "run_id": figures["run_id"], "statement": statements[batch]}
        yield {key: whole.get(key) for key in FILE_KEYS}
    for row in iter_skipped(state.settings, STATE):
        yield {key: row.get(key) for key in FILE_KEYS}


def status(settings: Settings, pipeline: Pipeline) -> dict[str, Any]:
    """The sums over the pipeline's tables: files by status, rows, what is pending, the last failure (or None)."""
    files = [row for table in pipeline.targets for row in iter_files(settings, table)]
    counts = Counter(row["status"] for row in files)
    pending = {(row["batch"], row["statement"]) for row in files if row["status"] == "pending"}
    return {
        "pipeline": pipeline.name,
        "table": ", ".join(pipeline.targets),
        **{f"files_{name}": counts[name] for name in STATUSES},
        **{name: sum(row[name] or 0 for row in files) for name in ("rows_loaded", "rows_rescued", "rows_quarantined")},
        "pending_batches": len(pending),
        "pending_bytes": sum(row["size"] for row in files if row["status"] == "pending"),
        "table_version": table_version(settings, pipeline.targets[0]),
        "last_failure": last_failure(settings, pipeline.name),
    }


def iter_quarantine(settings: Settings, table: str) -> Iterator[dict[str, Any]]:
    """One dictionary with QUARANTINE_KEYS for each record, or whole file, that a statement on the table refused."""
    state = TableState(settings, table)
    refused = open_table(state.settings.state_root(STATE, "quarantine"))
    if refused is None:
        return
    done = state.done()
    rows = read(refused, QUARANTINE_KEYS, f"batch <= {done}")
    yield from sorted(rows.to_pylist(), key=lambda row: (row["batch"], row["path"], row["record"] or 0))


def _outcomes(state: TableState, batches: Sequence[int]) -> list[dict[str, Any]]:
    if not batches:
        return []
    wanted = f"batch IN ({', '.join(map(str, sorted(batches)))})"
    rows: list[dict[str, Any]] = read_outcomes(state.settings, STATE, where=wanted).to_pylist()
    return sorted(rows, key=lambda row: (row["batch"], row["path"]))
