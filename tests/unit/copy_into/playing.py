"""A home whose COPY INTO statements are planned by the real code and loaded by delta-rs, without Spark."""

import json
import uuid
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import CommitProperties, Transaction, write_deltalake

from include.config.settings import Settings, load_settings
from include.copy_into.plan import CopyPlan, plan_statements
from include.copy_into.recovery import NOTE
from include.copy_into.state import APP_ID, STATE, TableState
from include.copy_into.statement import read_statement
from include.ledger.outcomes import FileOutcome, OutcomeStatus, write_outcomes
from include.ledger.versions import PlannedBatch

SQL = "COPY INTO bronze.t FROM 'in' FILEFORMAT = CSV COPY_OPTIONS ('mergeSchema' = 'true')"


def home(folder: Path) -> Settings:
    """The settings of an empty home."""
    (folder / "landing" / "in").mkdir(parents=True)
    return load_settings({"SLUICE_HOME": str(folder)}, folder / "no-settings.yaml")


def land(settings: Settings, *names: str) -> None:
    """Put files of one record into landing/in."""
    for name in names:
        path = Path(settings.landing) / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("1\n")


def plan(settings: Settings, sql: str = SQL, run_id: str | None = None, **options: Any) -> CopyPlan:
    """Plan one statement."""
    return plan_statements(settings, [read_statement(sql)], run_id or uuid.uuid4().hex, **options)


def load(settings: Settings, status: OutcomeStatus = "loaded", *, noted: bool = False, outcomes: bool = True) -> None:
    """Play the load of all pending batches: a commit of the target where rows come, `noted` with what it brought, then
    the outcomes.
    """
    state = TableState(settings, "bronze.t")
    for planned in state.batches(state.done() + 1, state.ledger().last_batch):
        if status == "loaded":
            rows = pa.table({"id": pa.array([1] * len(planned.files))})
            done = CommitProperties(
                app_transactions=[Transaction(APP_ID, planned.batch)],
                custom_metadata={"userMetadata": json.dumps({NOTE: note(planned)})} if noted else None,
            )
            write_deltalake(settings.table_root("bronze.t"), rows, mode="append", commit_properties=done)
        if outcomes:
            came = int(status == "loaded")
            became = [
                FileOutcome(planned.batch, file.path, file.version, status, 1, came, 0, None, False, 0, None, "run")
                for file in planned.files
            ]
            write_outcomes(state.settings, STATE, planned.batch, became)


def note(planned: PlannedBatch) -> dict[str, Any]:
    """What the commit of a batch says of it."""
    figures = {"status": "loaded", "records": 1, "rows_loaded": 1, "rows_quarantined": 0, "error": None}
    return {"batch": planned.batch, "id": "played", "files": [{**asdict(file), **figures} for file in planned.files]}


def files_of(settings: Settings, found: CopyPlan) -> list[tuple[str, int]]:
    """The files of a statement's own batch, with their versions."""
    state = TableState(settings, "bronze.t")
    batch = found.statements[0].batch
    return [] if batch is None else [(f.path, f.version) for p in state.batches(batch, batch) for f in p.files]
