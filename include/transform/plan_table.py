"""The plan of a transformation: a Delta table, one row for each planned micro-batch, read and written by delta-rs.

All batches of one planning are ONE commit on the version that the planning had read; whoever finds the table moved
plans again. So no version of the source is planned twice or passed over, and a kill leaves all of a plan or nothing.
"""

from collections.abc import Mapping, Sequence

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import DeltaError

from include.config.errors import LedgerContention, StateLost
from include.config.settings import Settings
from include.ledger.tables import OFTEN_WRITTEN, open_table, read, storage_errors
from include.transform.ranges import PlannedRange, VersionRange, pins_of, tables_of

PLAN_APP_ID = "sluice-plan"
TIMESTAMP = pa.timestamp("us", "UTC")
PLAN = pa.schema(
    [
        pa.field("batch", pa.int64(), nullable=False),
        pa.field("table_id", pa.string()),
        pa.field("kind", pa.string()),
        pa.field("first_version", pa.int64()),
        pa.field("last_version", pa.int64()),
        pa.field("rows", pa.int64()),
        pa.field("size", pa.int64()),
        pa.field("feed", pa.bool_()),
        pa.field("pinned", pa.string()),
        pa.field("planned_at", TIMESTAMP),
        pa.field("run_id", pa.string()),
        pa.field("tables", pa.string()),  # later than the others: tables that were made before do not have it
    ]
)

_CONFIGURATION: Mapping[str, str | None] = {"delta.appendOnly": "true", **OFTEN_WRITTEN}


class PlanMoved(LedgerContention):
    """Raised when another process planned meanwhile; to be planned again."""


class PlanTable:
    """A pipeline's plan, as it was at one moment."""

    def __init__(self, settings: Settings, pipeline: str) -> None:
        self.location = settings.state_root(pipeline, "plan")
        self._pipeline = pipeline
        self._table = open_table(self.location)

    @property
    def last_batch(self) -> int:
        """The number of the last planned batch, 0 when none is. Batches are numbered from 1 without gaps."""
        if self._table is None:
            return 0
        with storage_errors("Reading the last batch of the plan", self.location):
            return self._table.transaction_version(PLAN_APP_ID) or 0

    def refuse_lost_state(self, committed: int) -> None:
        """Stop when the target holds a batch that this plan never had.

        Raises:
            StateLost: always then: planning anew would read the whole source a second time.
        """
        if committed > self.last_batch:
            raise StateLost(
                f"The target of pipeline {self._pipeline} holds its batches up to {committed}, but its plan ends at "
                f"{self.last_batch}: {self.location}.",
                remedy="Restore the plan's folder from a backup. To start over, give the pipeline another name and "
                "another table.",
                location=self.location,
            )

    def ranges(self, first: int, last: int) -> list[PlannedRange]:
        """The batches `first` to `last`, in order. Of a batch that was planned again the newest plan holds."""
        if self._table is None or last < first:
            return []
        rows = read(self._table, _columns(self._table), f"batch >= {first} AND batch <= {last}")
        rows = rows.set_column(PLAN.names.index("planned_at"), "planned_at", rows["planned_at"].cast(pa.int64()))
        rows = rows.sort_by([("batch", "ascending"), ("planned_at", "ascending")])
        return list({planned.batch: planned for planned in map(_planned, rows.to_pylist())}.values())

    def append(self, planned: Sequence[PlannedRange]) -> None:
        """Commit batches: some that are planned again, and those whose numbers follow the last one.

        Raises:
            PlanMoved: the plan is not what it was when this object was made. Nothing is planned.
            StorageError: nothing is planned.
        """
        table = self._table if self._table is not None else self._create()
        seen = table.version()
        properties = CommitProperties(
            max_commit_retries=0,
            app_transactions=[Transaction(PLAN_APP_ID, max(self.last_batch, *(item.batch for item in planned)))],
        )
        with storage_errors("Writing the plan", self.location):
            try:
                rows = _rows(planned)
                if "tables" not in _columns(table) and rows["tables"].null_count == len(rows):
                    rows = rows.drop_columns("tables")
                write_deltalake(table, rows, mode="append", schema_mode="merge", commit_properties=properties)
            except (DeltaError, OSError):
                if DeltaTable(self.location).version() == seen:
                    raise
                raise PlanMoved(f"Another process planned first at {self.location}.") from None

    def _create(self) -> DeltaTable:
        with storage_errors("Creating the plan", self.location):
            try:
                return DeltaTable.create(self.location, PLAN, mode="error", configuration=_CONFIGURATION)
            except (DeltaError, OSError):
                if open_table(self.location) is None:
                    raise
                raise PlanMoved(f"Another process made the plan at {self.location} first.") from None


def _planned(row: dict[str, object]) -> PlannedRange:
    versions = VersionRange(
        kind=row["kind"],  # type: ignore[arg-type]
        first=int(str(row["first_version"])),
        last=int(str(row["last_version"])),
        rows=None if row["rows"] is None else int(str(row["rows"])),
        size=int(str(row["size"])),
        feed=bool(row["feed"]),
    )
    return PlannedRange(
        batch=int(str(row["batch"])),
        table_id=str(row["table_id"]),
        versions=versions,
        pinned=pins_of(str(row["pinned"])),
        planned_at=int(str(row["planned_at"])),
        run_id=str(row["run_id"]),
        tables=tables_of(row.get("tables")),  # type: ignore[arg-type]
    )


def _columns(table: DeltaTable) -> list[str]:
    standing = {field.name for field in table.schema().fields}
    return [name for name in PLAN.names if name in standing]


def _rows(planned: Sequence[PlannedRange]) -> pa.Table:
    rows = [
        {
            "batch": item.batch,
            "table_id": item.table_id,
            "kind": item.versions.kind,
            "first_version": item.versions.first,
            "last_version": item.versions.last,
            "rows": item.versions.rows,
            "size": item.versions.size,
            "feed": item.versions.feed,
            "pinned": item.pinned_json(),
            "planned_at": item.planned_at,
            "run_id": item.run_id,
            "tables": item.tables_json(),
        }
        for item in planned
    ]
    return pa.Table.from_pylist(rows, schema=PLAN)
