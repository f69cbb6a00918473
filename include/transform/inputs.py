"""The input of a pipeline with a state: `state/<pipeline>/input`, a Delta table, one file and one commit a micro-batch.

The state can be made again from it, so it holds all rows that a state may still need; those of windows that are final
go. Read and pruned by delta-rs; Spark appends to it and streams it.

| killed after | left behind | on the next run |
|---|---|---|
| the commit that takes files away | files that nothing names | go with the next ones that are taken away |
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction

from include.algebra.measures import TIME
from include.config.errors import Defect
from include.config.settings import Settings
from include.ledger.tables import open_table, storage_errors
from include.ledger.target import app_id
from include.transform.commits import log_entry

BATCH = "__sluice_batch"
# Fewer files that are not needed any more are left for later: each time costs a commit.
LEAST_PRUNED = 16
# The bounds of times in a file's statistics are cut to milliseconds.
_SLACK = 1000


@dataclass(frozen=True)
class Staged:
    """A file of the input: the version of its commit, and the planned micro-batch that it holds."""

    version: int
    batch: int


@dataclass(frozen=True)
class Inputs:
    """All files that the input ever had, in the order of their commits; `pruned` of them, the first ones, are gone."""

    location: str
    app: str
    staged: Sequence[Staged]
    pruned: int

    @classmethod
    def of(cls, settings: Settings, pipeline: str) -> "Inputs":
        """The input of a pipeline as it is now.

        Raises:
            Defect: a commit brought other than one file.
        """
        location, app = settings.state_root(pipeline, "input"), f"{app_id(pipeline)}:input"
        table = open_table(location)
        if table is None:
            return cls(location, app, (), 0)
        found = (_staged(location, app, version) for version in range(table.version() + 1))
        staged = tuple(item for item in found if item is not None)
        gone = table.transaction_version(f"{app}:pruned") or 0
        return cls(location, app, staged, sum(item.batch <= gone for item in staged))

    @property
    def last(self) -> int:
        """The newest batch that is there; 0 without one."""
        return self.staged[-1].batch if self.staged else 0

    def first_version(self, skipped: int) -> int:
        """The version from which a stream reads the files after the first `skipped` ones."""
        return self.staged[skipped].version if skipped < len(self.staged) else 0

    def prune(self, watermark: int, reach: int, *, apart: bool, committed: int) -> int:
        """Take away the first files that no state needs any more; returns how many.

        That is: files of batches up to `committed` whose newest time and `reach` (micros: how long a window goes on
        after a row) are not past the `watermark`. With `apart` (sessions) they must also end before all rows that
        stay, so that no session is cut in two.
        """
        table = open_table(self.location)
        if table is None:
            return 0
        files = pa.RecordBatchReader.from_stream(table.get_add_actions(flatten=True)).read_all().to_pylist()
        times = sorted((_times(file) for file in files), key=lambda found: found[0])
        least = [min((low for _, low, _ in times[number:]), default=watermark) for number in range(len(times) + 1)]
        newest, free = 0, 0
        for number, (batch, _, high) in enumerate(times, 1):
            newest = max(newest, high + reach)
            if batch > committed or newest > watermark:
                break
            if not apart or newest < least[number]:
                free = number
        if free < LEAST_PRUNED:
            return 0
        self._take_away(table, times[free - 1][0])
        return free

    def _take_away(self, table: DeltaTable, batch: int) -> None:
        properties = CommitProperties(app_transactions=[Transaction(f"{self.app}:pruned", batch)])
        with storage_errors("Taking away the input that no state needs", self.location):
            table.delete(f"`{BATCH}` <= {batch}", commit_properties=properties)
            table.vacuum(0, dry_run=False, enforce_retention_duration=False)


def _staged(location: str, app: str, version: int) -> Staged | None:
    """What a commit brought, None where it is not one of a micro-batch."""
    actions = [json.loads(line) for line in log_entry(location, version).splitlines() if line.strip()]
    batches = [action["txn"]["version"] for action in actions if action.get("txn", {}).get("appId") == app]
    files = sum("add" in action for action in actions)
    if not batches:
        return None
    if files != 1:
        raise Defect(f"Version {version} of {location} has {files} files, not one.", remedy="Please report this.")
    return Staged(version, int(batches[0]))


def _times(file: dict[str, Any]) -> tuple[int, int, int]:
    """Batch, oldest and newest time (micros) of a file. Where it does not say its times it stays for ever."""
    low, high = file.get(f"min.{TIME}"), file.get(f"max.{TIME}")
    batch = file[f"max.{BATCH}"] if file.get(f"max.{BATCH}") is not None else (1 << 62)
    if low is None or high is None:
        return int(batch), -(1 << 62), 1 << 62
    return int(batch), round(low.timestamp() * 1_000_000), round(high.timestamp() * 1_000_000) + _SLACK
