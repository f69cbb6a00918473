"""What became of each planned file version, counted in what was committed.

An outcome is written after the target's commit, by the load; a kill in between leaves a committed batch without
outcomes, which `rebuild_missing` fills in from the target's rows and the quarantine table, without a JVM. Both write
through `append_once`, so a batch's outcomes stand there once whoever writes them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

import pyarrow as pa
from deltalake import CommitProperties, Transaction, write_deltalake

from include.config.settings import Settings
from include.ledger.tables import OFTEN_WRITTEN, open_table, read, storage_errors

# `rejected`: nothing of the file's COPY INTO statement was loaded.
OutcomeStatus = Literal["loaded", "quarantined", "superseded", "rejected"]

OUTCOME_SCHEMA = pa.schema(
    [
        pa.field("batch", pa.int64(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        pa.field("version", pa.int32(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("records", pa.int64()),
        pa.field("rows_loaded", pa.int64(), nullable=False),
        pa.field("rows_rescued", pa.int64(), nullable=False),
        pa.field("rows_quarantined", pa.int64(), nullable=False),
        pa.field("rows_late", pa.int64(), nullable=False),
        pa.field("error", pa.string()),
        pa.field("torn", pa.bool_(), nullable=False),
        pa.field("table_version", pa.int64()),
        pa.field("schema_version", pa.int32()),
        pa.field("run_id", pa.string(), nullable=False),
        pa.field("loaded_at", pa.timestamp("us", "UTC"), nullable=False),
    ]
)

QUARANTINE_SCHEMA = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("version", pa.int32(), nullable=False),
        pa.field("record", pa.int64()),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("raw", pa.string()),
        pa.field("records", pa.int64(), nullable=False),
        pa.field("batch", pa.int64(), nullable=False),
        pa.field("run_id", pa.string(), nullable=False),
        pa.field("quarantined_at", pa.timestamp("us", "UTC"), nullable=False),
    ]
)

SOURCE_FILE = "_source_file"
SOURCE_VERSION = "_source_file_version"
INGESTED_AT = "_ingested_at"
BATCH = "_batch"


@dataclass(frozen=True)
class FileOutcome:
    """What became of one planned file version.

    `records` is the independent count of the file's records (None where only the reader could count them); `torn` is
    true when the file changed while it was read, so that its next version replaces these rows whatever the policy.
    """

    batch: int
    path: str
    version: int
    status: OutcomeStatus
    records: int | None
    rows_loaded: int
    rows_quarantined: int
    error: str | None
    torn: bool
    table_version: int | None
    schema_version: int | None
    run_id: str
    loaded_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    rows_rescued: int = 0
    rows_late: int = 0


@dataclass(frozen=True)
class RunFigures:
    """The sums of a run's outcomes: file versions, rows and planned micro-batches that it brought to an end."""

    files_loaded: int = 0
    files_quarantined: int = 0
    files_superseded: int = 0
    rows_loaded: int = 0
    rows_rescued: int = 0
    rows_quarantined: int = 0
    rows_late: int = 0
    batches: int = 0
    table_version: int | None = None
    schema_version: int | None = None


def append_once(location: str, rows: pa.Table, app_id: str, batch: int) -> bool:
    """Append `rows` as transaction `batch` of `app_id`; False when that transaction is in already.

    Safe at kill -9: the rows and the transaction number are one commit. Batches of one `app_id` come in rising order.

    Raises:
        StorageError: the table cannot be read or written.
    """
    table = open_table(location)
    if table is not None and (table.transaction_version(app_id) or 0) >= batch:
        return False
    with storage_errors("Writing the Delta table", location):
        properties = CommitProperties(app_transactions=[Transaction(app_id, batch)])
        into = location if table is None else table
        write_deltalake(into, rows, mode="append", commit_properties=properties, configuration=OFTEN_WRITTEN)
    return True


def outcome_rows(outcomes: Sequence[FileOutcome]) -> pa.Table:
    """The outcomes as rows of the outcomes table."""
    return pa.Table.from_pylist([vars(outcome) for outcome in outcomes], schema=OUTCOME_SCHEMA)


def write_outcomes(settings: Settings, pipeline: str, batch: int, outcomes: Sequence[FileOutcome]) -> bool:
    """Write a batch's outcomes once; False when they are there already."""
    location = settings.state_root(pipeline, "outcomes")
    return append_once(location, outcome_rows(outcomes), f"sluice:{pipeline}:outcomes", batch)


def last_outcome_batch(settings: Settings, pipeline: str) -> int:
    """The newest batch whose outcomes are written; 0 when there is none."""
    table = open_table(settings.state_root(pipeline, "outcomes"))
    return 0 if table is None else table.transaction_version(f"sluice:{pipeline}:outcomes") or 0


def read_outcomes(
    settings: Settings, pipeline: str, columns: Sequence[str] | None = None, where: str | None = None
) -> pa.Table:
    """The outcomes table (all of its columns, or those named), filtered by an SQL predicate."""
    table = open_table(settings.state_root(pipeline, "outcomes"))
    if table is None:
        names = columns or OUTCOME_SCHEMA.names
        return pa.schema([OUTCOME_SCHEMA.field(name) for name in names]).empty_table()
    # Not by a pyarrow dataset: its threads call into Python, and abort a process that ends meanwhile (SIGABRT).
    return read(table, columns or [field.name for field in table.schema().fields], where)


def _literal(text: str) -> str:
    """As delta-rs takes it: its SQL knows no escapes but the doubled quote."""
    return "'" + text.replace("'", "''") + "'"


def run_figures(settings: Settings, pipeline: str, run_id: str) -> RunFigures:
    """The figures of one run, from its outcomes."""
    rows = read_outcomes(settings, pipeline, where=f"run_id = {_literal(run_id)}").to_pylist()

    def files(status: OutcomeStatus) -> int:
        return sum(row["status"] == status for row in rows)

    def total(column: str) -> int:
        return sum(row[column] for row in rows)

    return RunFigures(
        files_loaded=files("loaded"),
        files_quarantined=files("quarantined"),
        files_superseded=files("superseded"),
        rows_loaded=total("rows_loaded"),
        rows_rescued=total("rows_rescued"),
        rows_quarantined=total("rows_quarantined"),
        rows_late=total("rows_late"),
        batches=len({row["batch"] for row in rows}),
        table_version=max((row["table_version"] for row in rows if row["table_version"] is not None), default=None),
        schema_version=max((row["schema_version"] for row in rows if row["schema_version"] is not None), default=None),
    )
