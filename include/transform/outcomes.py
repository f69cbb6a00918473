"""What became of each micro-batch of a transformation: the figures that its commit carries, kept in a small table.

The figures are part of the target's commit (its userMetadata), so that they say what that commit holds. The outcomes
table is written after it; where a kill left it out, the next planning reads the commit again.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable

from include.config.errors import Defect
from include.config.pipeline import Pipeline
from include.config.result import Figures, RowCounts
from include.config.settings import Settings
from include.ledger.outcomes import append_once
from include.ledger.tables import open_table, read, storage_errors
from include.ledger.target import app_id, committed_batch, table_version

OUTCOMES = pa.schema(
    [
        pa.field("batch", pa.int64(), nullable=False),
        pa.field("rows_read", pa.int64(), nullable=False),
        pa.field("rows_loaded", pa.int64(), nullable=False),
        pa.field("rows_late", pa.int64(), nullable=False),
        pa.field("rows_quarantined", pa.int64(), nullable=False),
        pa.field("table_version", pa.int64(), nullable=False),
        pa.field("run_id", pa.string(), nullable=False),
        pa.field("finished_at", pa.timestamp("us", "UTC"), nullable=False),
    ]
)
_PAGE = 64


@dataclass(frozen=True)
class BatchFigures:
    """Rows of one micro-batch: read from the source, brought into the target, diverted as late, refused by a check.

    Rows that reach the window step are `loaded` when they are aggregated, so there loaded + late is what came to it.
    """

    rows_read: int = 0
    rows_loaded: int | None = 0
    rows_late: int = 0
    rows_quarantined: int = 0


@dataclass(frozen=True)
class Note:
    """What a commit of the target says of itself. Where `figures.rows_loaded` is None, Delta counted the rows."""

    pipeline: str
    batch: int
    run_id: str
    figures: BatchFigures

    def to_json(self) -> str:
        """The text of the commit's userMetadata."""
        return json.dumps(asdict(self))


def write_missing(settings: Settings, pipeline: Pipeline) -> int:
    """Write the outcomes of all batches that the target holds and the outcomes table does not; returns how many.

    Called after each commit, before a planning and before the figures are published: whatever was killed in between.
    """
    name, target = pipeline.name, pipeline.transformation().table
    committed = committed_batch(settings, target, app_id(name))
    first = last_outcome(settings, name) + 1
    table = open_table(settings.table_root(target))
    if first > committed or table is None:
        return 0
    notes = _notes(table, name, first, committed)
    for batch in range(first, committed + 1):
        if batch not in notes:
            raise Defect(f"The commit of batch {batch} of {name} is not in the history of {target}.")
        version, note, at = notes[batch]
        row = {"batch": batch, **asdict(note.figures), "table_version": version, "run_id": note.run_id}
        rows = pa.Table.from_pylist([{**row, "finished_at": at}], schema=OUTCOMES)
        append_once(_location(settings, name), rows, _app_id(name), batch)
    return committed - first + 1


def last_outcome(settings: Settings, pipeline: str) -> int:
    """The newest batch whose outcome is written; 0 when there is none."""
    table = open_table(_location(settings, pipeline))
    return 0 if table is None else table.transaction_version(_app_id(pipeline)) or 0


def run_figures(settings: Settings, pipeline: Pipeline, run_id: str) -> Figures:
    """The sums of one run's batches."""
    rows = [row for row in outcome_rows(settings, pipeline.name) if row["run_id"] == run_id]

    def total(column: str) -> int:
        return sum(int(row[column]) for row in rows)

    return Figures(
        rows=RowCounts(loaded=total("rows_loaded"), quarantined=total("rows_quarantined"), late=total("rows_late")),
        batches=len(rows),
        table_version=table_version(settings, pipeline.transformation().table),
    )


def outcome_rows(settings: Settings, pipeline: str) -> list[dict[str, Any]]:
    """All outcomes, in the order of their batches."""
    table = open_table(_location(settings, pipeline))
    if table is None:
        return []
    rows: list[dict[str, Any]] = read(table, OUTCOMES.names).sort_by("batch").to_pylist()
    return rows


def _notes(table: DeltaTable, pipeline: str, first: int, last: int) -> dict[int, tuple[int, Note, datetime]]:
    """Version, note and time of the commits of the batches `first` to `last`, looked for from the newest on."""
    limit = _PAGE
    with storage_errors("Reading the history of the target", table.table_uri):
        while True:
            commits = table.history(limit)
            found = {
                note.batch: (version, note, at)
                for version, note, at in map(_noted, commits)
                if note is not None and note.pipeline == pipeline and first <= note.batch <= last
            }
            if len(found) > last - first or len(commits) < limit:
                return found
            limit *= 8


def _noted(commit: Mapping[str, Any]) -> tuple[int, Note | None, datetime]:
    at = datetime.fromtimestamp(int(commit["timestamp"]) / 1000, UTC)
    try:
        written = json.loads(commit.get("userMetadata") or "null")
        note = Note(**{**written, "figures": BatchFigures(**written["figures"])}) if written else None
        if note is not None and note.figures.rows_loaded is None:
            counted = int(commit["operationMetrics"]["numOutputRows"])
            note = replace(note, figures=replace(note.figures, rows_loaded=counted))
    except (ValueError, TypeError, KeyError):
        note = None  # somebody else's commit, with metadata of their own
    return int(commit["version"]), note, at


def _location(settings: Settings, pipeline: str) -> str:
    return settings.state_root(pipeline, "outcomes")


def _app_id(pipeline: str) -> str:
    return f"sluice:{pipeline}:outcomes"
