"""The ledger: a Delta table, one row for each file version that is to be loaded, one data file for each planned batch.

All batches of a discovery are ONE commit, and the commit succeeds only on top of the version that the plan was made
from: whoever finds the table moved plans again. So no batch number and no file version is planned twice, and a kill
leaves either the whole plan or, at worst, data files that no commit names.

The load streams this table, one data file at a time; rows are added, never changed. Written by delta-rs, without a JVM.
"""

import json
import time
import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import DeltaError
from deltalake.transaction import AddAction, RemoveAction

from include.config.errors import Defect, LedgerContention, StateLost
from include.config.settings import Settings
from include.ledger.packing import in_load_order, pack
from include.ledger.tables import open_table, read, storage_errors, write_parquet
from include.ledger.versions import KNOWN, PLANNED, TIMESTAMP, PlannedBatch, column, empty, file_versions, micros

# Transaction under which the ledger's own log keeps the number of the last planned batch.
LEDGER_APP_ID = "sluice-ledger"

FIRST_BATCH_KEY = "sluice.firstBatch"
LAST_BATCH_KEY = "sluice.lastBatch"
RUN_ID_KEY = "sluice.runId"

LEDGER = pa.schema(
    [
        pa.field("batch", pa.int64(), nullable=False),
        *PLANNED,
        pa.field("planned_at", TIMESTAMP),
        pa.field("run_id", pa.string()),
    ]
)

# Rows are only ever added. The commits stay readable: a load that starts without a checkpoint begins at the one that
# planned its first batch, however long ago that was.
_CONFIGURATION = {"delta.appendOnly": "true", "delta.enableExpiredLogCleanup": "false"}

_HISTORY_PAGE = 64


class LedgerMoved(LedgerContention):
    """Raised when another process wrote to the ledger after this plan had read it; to be planned again."""


class DataFile(NamedTuple):
    """A data file of the ledger: the batches `first` to `last`, which are in no other one; `size` in bytes."""

    first: int
    last: int
    rows: int
    name: str
    size: int


class Ledger:
    """A pipeline's ledger, as it was at one moment: what is read later by others' commits does not show."""

    def __init__(self, settings: Settings, pipeline: str) -> None:
        self.location = settings.state_root(pipeline, "ledger")
        self._pipeline = pipeline
        self._table = open_table(self.location)

    @property
    def exists(self) -> bool:
        """False before the first plan."""
        return self._table is not None

    @property
    def last_batch(self) -> int:
        """The number of the last planned batch, 0 when none is. Batches are numbered from 1 without gaps."""
        if self._table is None:
            return 0
        with storage_errors("Reading the last batch of the ledger", self.location):
            return self._table.transaction_version(LEDGER_APP_ID) or 0

    def refuse_lost_state(self, committed: int) -> None:
        """Stop when the target holds a batch that this ledger never planned: its next batches would be taken for done.

        Raises:
            StateLost: always then; planning anew would load everything a second time, or nothing at all.
        """
        if committed <= self.last_batch:
            return
        found = f"ends at batch {self.last_batch}" if self.exists else "is gone"
        raise StateLost(
            f"The target of pipeline {self._pipeline} holds its batches up to {committed}, but the ledger {found}: "
            f"{self.location}.",
            remedy="Restore the ledger's folder from a backup. To start over, give the pipeline another name and "
            "another table: all files are loaded again then.",
            location=self.location,
            committed=committed,
        )

    def known(self) -> pa.Table:
        """All versions ever planned, with the columns of KNOWN."""
        return empty(KNOWN) if self._table is None else read(self._table, KNOWN.names)

    def rows(self, columns: Sequence[str], first: int, last: int) -> pa.Table:
        """Columns of the rows of the batches `first` to `last`; other batches' data files are not read."""
        if self._table is None:
            return empty(pa.schema([LEDGER.field(name) for name in columns]))
        return read(self._table, columns, f"batch >= {first} AND batch <= {last}")

    def create(self) -> None:
        """Make the empty table.

        Raises:
            LedgerMoved: another process has just made it.
        """
        with storage_errors("Creating the ledger", self.location):
            try:
                self._table = DeltaTable.create(self.location, LEDGER, mode="error", configuration=_CONFIGURATION)
            except (DeltaError, OSError):
                if open_table(self.location) is None:
                    raise
                raise LedgerMoved(f"Another process made the ledger at {self.location} first.") from None

    def append(
        self,
        planned: pa.Table,
        max_files: int,
        max_bytes: int | None,
        run_id: str,
        planned_at: datetime,
        *,
        first: int | None = None,
    ) -> tuple[int, int]:
        """Pack file versions (columns of PLANNED) into batches and commit them; returns the first and the last number.

        `first` is the first batch's number where a lost ledger is written again; it leaves out what loaded nothing.

        Raises:
            LedgerMoved: the ledger is not what it was when this object was made. Nothing is planned.
            StorageError: nothing is planned.
        """
        if self._table is None:
            self.create()
        table = self._existing()
        first = self.last_batch + 1 if first is None else first
        planned = in_load_order(planned)
        runs = pack(planned["size"].to_pylist(), max_files, max_bytes)
        batches = [(first + offset, planned.slice(start, end - start)) for offset, (start, end) in enumerate(runs)]
        last = batches[-1][0]
        with storage_errors("Writing the ledger", self.location):
            adds = [self._write(batch, rows, run_id, planned_at) for batch, rows in batches]
            properties = CommitProperties(
                custom_metadata={FIRST_BATCH_KEY: first, LAST_BATCH_KEY: last, RUN_ID_KEY: run_id},
                # delta-rs would otherwise put an append on top of whatever came in between.
                max_commit_retries=0,
                app_transactions=[Transaction(LEDGER_APP_ID, last)],
            )
            self._commit(table, adds, properties)
        return first, last

    def data_files(self) -> list[DataFile]:
        """The data files that make up the table."""
        if self._table is None:
            return []
        with storage_errors("Reading the ledger's log", self.location):
            files = pa.RecordBatchReader.from_stream(self._table.get_add_actions(flatten=True)).read_all()
        columns = ("min.batch", "max.batch", "num_records", "path", "size_bytes")
        return [DataFile(*values) for values in zip(*(files[name].to_pylist() for name in columns), strict=True)]

    def merge(self, groups: Sequence[Sequence[DataFile]]) -> None:
        """Put each group of data files, which must be neighbours, into one; all in one commit that changes no data.

        Raises:
            LedgerMoved: another process wrote to the ledger; nothing is merged.
            StorageError: nothing is merged.
        """
        table = self._existing()
        actions: list[AddAction | RemoveAction] = []
        with storage_errors("Merging data files of the ledger", self.location):
            for group in groups:
                rows = self.rows(LEDGER.names, group[0].first, group[-1].last).sort_by("batch").cast(LEDGER)
                name = f"merged-{group[-1].last:08d}-{uuid.uuid4().hex}.parquet"
                merged = DataFile(
                    group[0].first, group[-1].last, rows.num_rows, name, write_parquet(self.location, name, rows)
                )
                now = int(time.time() * 1000)
                actions += [RemoveAction(file.name, data_change=False, deletion_timestamp=now) for file in group]
                actions.append(_add_action(merged, data_change=False))
            self._commit(table, actions, CommitProperties(max_commit_retries=0))

    def _existing(self) -> DeltaTable:
        if self._table is None:
            raise Defect(f"The ledger at {self.location} is written to before it was made.")
        return self._table

    def _write(self, batch: int, rows: pa.Table, run_id: str, planned_at: datetime) -> AddAction:
        count = rows.num_rows
        columns = [column([batch] * count, pa.int64()), *rows.select(PLANNED.names).columns]
        columns += [column([micros(planned_at)] * count, TIMESTAMP), column([run_id] * count, pa.string())]
        name = f"batch-{batch:08d}-{uuid.uuid4().hex}.parquet"
        size = write_parquet(self.location, name, pa.Table.from_arrays(columns, schema=LEDGER))
        return _add_action(DataFile(batch, batch, count, name, size), data_change=True)

    def _commit(
        self, table: DeltaTable, actions: Sequence[AddAction | RemoveAction], properties: CommitProperties
    ) -> None:
        """Commit on top of the pinned version, or not at all."""
        planned_on = table.version()
        try:
            table.create_write_transaction(list(actions), "append", table.schema(), commit_properties=properties)
        except (DeltaError, OSError):
            if DeltaTable(self.location).version() == planned_on:
                raise
            raise LedgerMoved(f"Another process wrote to the ledger at {self.location} first.") from None


def _add_action(file: DataFile, *, data_change: bool) -> AddAction:
    """The log entry of a data file, with the figures that let readers pass it over."""
    stats = {
        "numRecords": file.rows,
        "minValues": {"batch": file.first},
        "maxValues": {"batch": file.last},
        "nullCount": {"batch": 0},
    }
    return AddAction(file.name, file.size, {}, int(time.time() * 1000), data_change, json.dumps(stats))


def read_batches(settings: Settings, pipeline: str, first: int, last: int) -> list[PlannedBatch]:
    """The planned batches `first` to `last`, in their order, each with its files in load order."""
    rows = Ledger(settings, pipeline).rows(("batch", "planned_at", *PLANNED.names), first, last)
    rows = rows.take(pc.sort_indices(rows, [(name, "ascending") for name in ("batch", "modified_at", "path")]))
    files: dict[int, list[int]] = {}
    for position, batch in enumerate(rows["batch"].to_pylist()):
        files.setdefault(batch, []).append(position)
    versions = file_versions(rows)
    planned_at = rows["planned_at"].cast(pa.int64()).to_pylist()
    return [
        PlannedBatch(batch, tuple(versions[at] for at in positions), planned_at[positions[0]])
        for batch, positions in files.items()
    ]


def ledger_version_of(settings: Settings, pipeline: str, batch: int) -> int | None:
    """The ledger's Delta version whose commit planned a batch: where a stream without a checkpoint starts.

    None when there is no such batch.
    """
    table = open_table(settings.state_root(pipeline, "ledger"))
    if table is None:
        return None
    with storage_errors("Reading the history of the ledger", table.table_uri):
        limit = _HISTORY_PAGE
        while True:
            commits = table.history(limit)
            for commit in commits:
                if int(commit.get(FIRST_BATCH_KEY, batch + 1)) <= batch <= int(commit.get(LAST_BATCH_KEY, 0)):
                    return int(commit["version"])
            if len(commits) < limit:
                return None
            limit *= 8
