"""Planning of a transformation: the versions of the source that no micro-batch has yet. No Spark, no JVM.

Steps, and what a kill after each of them leaves:
  1. rebuild outcomes that a killed job left out        some batches' outcomes; the next run goes on
  2. read the plan, the target, the source's log        nothing
  3. commit the new batches (`plan/`, one commit)       pending batches; the next run does them
Pending batches whose joined table is gone at the pinned version are planned again, in 3 (include.transform.repin).
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from deltalake import DeltaTable

from include.config.pipeline import Pipeline
from include.config.settings import Settings
from include.ledger.contention import contention, pauses
from include.ledger.target import app_id, committed_batch
from include.transform.commits import read_commits
from include.transform.outcomes import write_missing
from include.transform.plan_table import PlanMoved, PlanTable
from include.transform.ranges import Pin, PlannedRange, VersionRange
from include.transform.reads import Reads, open_source, opened, table_id
from include.transform.repin import repinned

UNREAD = VersionRange("none", 0, 0, 0, 0, feed=True)


@dataclass(frozen=True)
class TransformPlan:
    """What there is to do now: batches above the target's last one, planned by this run or by earlier ones.

    `pending_rows` and `pending_bytes` are what they read of the source, as far as its log says; `first_pending` is None
    when there is nothing to do. A dry run writes nothing and counts what it would plan as planned. `reads` is the
    source in words; `source_version` is None where it is not one table.
    """

    run_id: str
    planned_batches: int
    pending_batches: int
    pending_rows: int
    pending_bytes: int
    first_pending: int | None
    last_planned: int
    source_version: int | None
    reads: str = ""

    @property
    def has_work(self) -> bool:
        """False where no JVM is needed."""
        return self.pending_batches > 0

    def to_dict(self) -> dict[str, object]:
        """As JSON types, for XCom and for `--json`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> "TransformPlan":
        """The inverse of `to_dict`."""
        return cls(**found)


def plan_transform(pipeline: Pipeline, settings: Settings, run_id: str, *, dry_run: bool = False) -> TransformPlan:
    """Plan the versions of the source that came since the last planning.

    Raises:
        TableNotFound: the source, or a table that is joined, is not there.
        HistoryLost: versions that were not read yet are gone, or the source was made anew.
        StateLost: the target holds batches that this plan never had.
        LedgerContention: other processes kept winning the race.
        StorageError: a table cannot be read or written.
    """
    if not dry_run:
        write_missing(settings, pipeline)
    for pause in pauses():
        table = PlanTable(settings, pipeline.name)
        committed = committed_batch(settings, pipeline.transformation().table, app_id(pipeline.name))
        table.refuse_lost_state(committed)
        source = open_source(pipeline.transformation(), settings, pipeline.name)
        pinned = {
            name: _pin(opened(name, settings, "a joined table")) for name in pipeline.transformation().pinned_tables
        }
        fresh = _new_ranges(pipeline, settings, table, source, pinned, run_id)
        again = repinned(pipeline, settings, table.ranges(committed + 1, table.last_batch), pinned, run_id)
        try:
            if (fresh or again) and not dry_run:
                table.append([*again, *fresh])
        except PlanMoved:
            time.sleep(pause)
            continue
        waiting = [*table.ranges(committed + 1, table.last_batch), *fresh]
        return _summary(run_id, waiting, len(fresh), max(table.last_batch, committed) + len(fresh), source)
    raise contention(pipeline.name)


def _summary(run_id: str, waiting: list[PlannedRange], planned: int, last_planned: int, source: Reads) -> TransformPlan:
    return TransformPlan(
        run_id=run_id,
        planned_batches=planned,
        pending_batches=len(waiting),
        pending_rows=sum(item.versions.rows or 0 for item in waiting),
        pending_bytes=sum(item.versions.size for item in waiting),
        first_pending=waiting[0].batch if waiting else None,
        last_planned=last_planned,
        source_version=source.version,
        reads=source.words,
    )


def _new_ranges(
    pipeline: Pipeline, settings: Settings, table: PlanTable, source: Reads, pinned: Mapping[str, Pin], run_id: str
) -> list[PlannedRange]:
    found = table.ranges(table.last_batch, table.last_batch)
    last = found[0] if found else None
    base = PlannedRange(0, "", UNREAD, pinned, time.time_ns() // 1000, run_id)
    fresh = source.new(last, base)
    if not fresh and last is not None and _other_grew(pipeline, settings, last, pinned):
        nothing = source.nothing(last)
        fresh = [replace(nothing, pinned=pinned, planned_at=base.planned_at, run_id=run_id)]
    return [replace(item, batch=table.last_batch + offset) for offset, item in enumerate(fresh, 1)]


def _other_grew(pipeline: Pipeline, settings: Settings, last: PlannedRange, pinned: Mapping[str, Pin]) -> bool:
    """True where the other table of a stream join has rows that no batch has read."""
    step = pipeline.transformation().last
    if step is None or step.stream_join is None:
        return False
    name = step.stream_join.table
    past, now = last.pinned[name], pinned[name]
    commits = read_commits(settings.table_root(name), past.version + 1, now.version)
    return past.table_id != now.table_id or any(not commit.empty for commit in commits)


def _pin(table: DeltaTable) -> Pin:
    return Pin(table_id(table), table.version())
