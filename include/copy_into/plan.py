"""The plan of COPY INTO statements: what each is to load, committed as an intent to the target's ledger. No Spark.

Steps for each statement, and what a kill after each of them leaves:
  1. rebuild what a killed run left out (recovery.py)          some of it; the next statement goes on
  2. write the statement down                                  a document that nothing names
  3. commit its files as one batch of the ledger: the intent   a pending batch: the next statement on the table loads it
                                                               first, by its own rules

The first intent in the ledger owns a file; a later statement finds it known, and leaves it alone.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from include.config.settings import Settings
from include.copy_into import errors
from include.copy_into.errors import LoadRefused, TargetMissing
from include.copy_into.memory import ingested_paths, known_files
from include.copy_into.recovery import ONE_BATCH, put_in_order_if_free
from include.copy_into.selection import named_files
from include.copy_into.state import STATE, Intent, TableState
from include.copy_into.statement import CopyInto
from include.copy_into.target import target_exists
from include.ledger import skips
from include.ledger.changes import compare, planned_versions
from include.ledger.contention import contention, pauses
from include.ledger.fates import Fates
from include.ledger.ledger import Ledger, LedgerMoved
from include.ledger.planning import planning
from include.ledger.versions import FileVersion, column, file_versions, total_size

SHOWN = 5


@dataclass(frozen=True)
class PlannedStatement:
    """What a statement has to do: its own new batch, and `batches` all of its text that are not over, this one too.

    `discovered` files of `discovered_bytes` were planned now; `skipped` were named by a rule for the first time.
    """

    table: str
    batch: int | None
    batches: tuple[int, ...]
    discovered: int
    discovered_bytes: int
    skipped: int


@dataclass(frozen=True)
class CopyPlan:
    """What a run of COPY INTO statements has to do. `pending_bytes` are those of all batches that are not over, others'
    too: they are loaded first.
    """

    run_id: str
    statements: tuple[PlannedStatement, ...]
    pending_bytes: int
    pending_files: int
    pending_batches: int
    new_files: tuple[FileVersion, ...] = field(default=())

    @property
    def has_work(self) -> bool:
        """True when there is a batch that is not over."""
        return self.pending_batches > 0

    def to_dict(self) -> dict[str, object]:
        """As JSON types, for XCom and for `--json`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "CopyPlan":
        """The inverse of `to_dict`."""
        statements = tuple(
            PlannedStatement(**{**one, "batches": tuple(one["batches"])}) for one in values["statements"]
        )
        files = tuple(FileVersion(**file) for file in values["new_files"])
        return cls(**{**values, "statements": statements, "new_files": files})


def plan_statements(
    settings: Settings, statements: Sequence[CopyInto], run_id: str, *, dry_run: bool = False
) -> CopyPlan:
    """Plan statements, one after the other; a dry run writes nothing and lists what it would load in `new_files`.

    Raises:
        TargetMissing: the table is not there and the statement does not make it; a file of FILES is not there.
        SourceNotFound: a source is not there.
        LoadRefused: a loaded file changed, and changedFiles is error.
        LedgerContention, StorageError: it may work later.
    """
    planned: list[PlannedStatement] = []
    new: list[FileVersion] = []
    for statement in statements:
        refuse_missing_table(settings, statement)
        state = TableState(settings, statement.table)
        if dry_run:
            candidate = _candidate(settings, state, statement, state.ledger())
            new += file_versions(candidate.files)
            planned.append(_planned(statement, candidate, None, ()))
        else:
            planned.append(_plan(settings, state, statement, run_id))
    return _with_pending(settings, run_id, planned, tuple(new))


def refuse_missing_table(settings: Settings, statement: CopyInto) -> None:
    """Refuse a table that is not there, unless the statement may make it.

    Raises:
        TargetMissing: always then.
    """
    if statement.options.merge_schema or target_exists(settings.table_root(statement.table)):
        return
    raise TargetMissing(
        errors.MISSING_TABLE,
        f"There is no Delta table {statement.table} at {settings.table_root(statement.table)}.",
        remedy="Create it first, or let the files make it: COPY_OPTIONS ('mergeSchema' = 'true').",
        table=statement.table,
        **statement.at("target"),
    )


@dataclass(frozen=True)
class _Candidate:
    """File versions that a statement would load (columns of PLANNED), and what a rule leaves out."""

    files: pa.Table
    skips: tuple[skips.Skip, ...]


def _plan(settings: Settings, state: TableState, statement: CopyInto, run_id: str) -> PlannedStatement:
    intent = Intent.of(statement, run_id)
    for pause in pauses():
        put_in_order_if_free(settings, state, run_id)
        with planning(settings, statement.table, alone=True), suppress(LedgerMoved):
            return _planned_on(settings, state, statement, intent)
        time.sleep(pause)
    raise contention(statement.table)


def _planned_on(settings: Settings, state: TableState, statement: CopyInto, intent: Intent) -> PlannedStatement:
    """The plan on top of the ledger as it is now.

    Raises:
        LedgerMoved: the ledger is another one by the time of the commit, or was lost since it was put in order.
    """
    committed = state.committed()  # before the ledger: it never holds more than was planned then
    ledger = state.ledger()
    if ledger.last_batch < committed:
        raise LedgerMoved(f"The ledger of {state.table} is gone.")
    waiting = _waiting(state, ledger, statement)
    if statement.options.force and (repeated := _planned_before(state, ledger, intent.id)) is not None:
        return PlannedStatement(statement.table, repeated, tuple(sorted({*waiting, repeated})), 0, 0, 0)
    candidate = _candidate(settings, state, statement, ledger, without=waiting)
    return _planned(statement, candidate, _commit(state, ledger, candidate, intent), waiting)


def _planned(statement: CopyInto, candidate: _Candidate, batch: int | None, waiting: Sequence[int]) -> PlannedStatement:
    return PlannedStatement(
        table=statement.table,
        batch=batch,
        batches=(*waiting, *(() if batch is None else (batch,))),
        discovered=candidate.files.num_rows,
        discovered_bytes=total_size(candidate.files),
        skipped=len(candidate.skips),
    )


def _waiting(state: TableState, ledger: Ledger, statement: CopyInto) -> list[int]:
    """The batches of the same statement, of a run that was killed or still runs, that are not over."""
    pending = range(state.done() + 1, ledger.last_batch + 1)
    intents = {batch: state.intent_of(batch) for batch in pending}
    return [batch for batch, intent in intents.items() if intent and intent.identity == statement.identity]


def _planned_before(state: TableState, ledger: Ledger, identifier: str) -> int | None:
    """The batch that this very run planned already: a task that is tried again must not force its files twice.

    None where that batch was rejected: nothing of it was loaded.
    """
    rows = ledger.rows(("batch", "run_id"), 1, ledger.last_batch)
    found = rows.filter(pc.equal(rows["run_id"], identifier))["batch"]
    batch = max(found.to_pylist(), default=None)
    return None if batch is None or state.rejection(batch) is not None else int(batch)


def _candidate(
    settings: Settings, state: TableState, statement: CopyInto, ledger: Ledger, without: Sequence[int] = ()
) -> _Candidate:
    options = statement.options
    listing = named_files(settings, statement, time.time_ns() // 1000)
    known = known_files(state, ledger, force=options.force)
    changes = compare(listing.files, known)
    if changes.changed.num_rows and options.changed_files == "error":
        raise _changed(statement, changes.changed["path"].to_pylist())
    planned, ignored = planned_versions(changes, options.changed_files, Fates())
    planned = _appended(planned)
    if options.force:
        planned = _without(planned, _paths_of(ledger, without))
    elif planned.num_rows:
        planned = _without(planned, ingested_paths(settings, statement.table))
    fresh = skips.unrecorded(state.settings, STATE, [*listing.skips, *ignored])
    return _Candidate(planned, tuple(fresh))


def _appended(planned: pa.Table) -> pa.Table:
    """COPY INTO adds rows, and never takes any away."""
    at = planned.schema.get_field_index
    rows = planned.num_rows
    planned = planned.set_column(at("action"), planned.field("action"), column(["append"] * rows, pa.string()))
    return planned.set_column(at("replaces"), planned.field("replaces"), column([None] * rows, pa.int32()))


def _without(planned: pa.Table, paths: pa.Array) -> pa.Table:
    return planned.filter(pc.invert(pc.is_in(planned["path"], value_set=paths)))


def _paths_of(ledger: Ledger, batches: Sequence[int]) -> pa.Array:
    paths = [path for batch in batches for path in ledger.rows(("path",), batch, batch)["path"].to_pylist()]
    return column(paths, pa.string())


def _commit(state: TableState, ledger: Ledger, candidate: _Candidate, intent: Intent) -> int | None:
    now = datetime.now(UTC)
    skips.record(state.settings, STATE, candidate.skips, intent.run_id, now)
    if not candidate.files.num_rows:
        return None
    state.keep_intent(intent)
    # Read after the ledger, which a batch is planned in before it is done. A ledger that was rebuilt ends before the
    # batches that loaded nothing; their numbers are used up.
    first = max(ledger.last_batch, state.done()) + 1
    return ledger.append(candidate.files, ONE_BATCH, None, intent.id, now, first=first)[0]


def _changed(statement: CopyInto, paths: Sequence[str]) -> LoadRefused:
    shown = ", ".join(sorted(paths)[:SHOWN]) + (", ..." if len(paths) > SHOWN else "")
    return LoadRefused(
        errors.DUPLICATED_FILES,
        f"{len(paths)} loaded file(s) came again with other content, and changedFiles is error: {shown}. "
        "Nothing was planned.",
        remedy="Put the old files back, or set changedFiles to ignore (Databricks' rule) or append.",
        paths=sorted(paths),
        **statement.at("source"),
    )


def _with_pending(
    settings: Settings, run_id: str, planned: Sequence[PlannedStatement], new: tuple[FileVersion, ...]
) -> CopyPlan:
    size, files, batches = sum(file.size for file in new), len(new), sum(1 for one in planned if new and one.discovered)
    for table in dict.fromkeys(one.table for one in planned):
        state = TableState(settings, table)
        for batch in state.batches(state.done() + 1, state.ledger().last_batch):
            size, files, batches = size + batch.size, files + len(batch.files), batches + 1
    return CopyPlan(run_id, tuple(planned), size, files, batches, new)
