"""Discovery: what landed since the last run is planned, what is left out is named. No Spark; in a task or in the CLI.

Steps, and what a kill after each of them leaves:
  1. rebuild outcomes that a killed load left out           some batches' outcomes; the next run goes on
  2. pin the ledger's version, then list the source         nothing
  3. name the skipped files (`skipped/`, one commit)        they are named; the next run makes the same plan
  4. create the ledger, the first time                      an empty ledger; the next run makes the same plan
  5. plan the new versions (`ledger/`, one commit)          pending batches; the next run loads them
  6. merge small data files of the ledger                   data files that no commit names

A plan is committed only on the version pinned in step 2. When two discoveries race, one of them finds the ledger moved
and starts again at step 2, with a new listing: by the old one, a file that the other saw in a newer state would seem
changed back.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from include.config.pipeline import Pipeline
from include.config.settings import Settings
from include.ledger import skips
from include.ledger.accounting import rebuild_missing
from include.ledger.compaction import compact_loaded
from include.ledger.contention import contention, pauses
from include.ledger.ledger import Ledger, LedgerMoved
from include.ledger.packing import in_load_order, pack
from include.ledger.pending import pending_above
from include.ledger.plan import Plan, make_plan
from include.ledger.planning import planning
from include.ledger.skips import Skip
from include.ledger.target import app_id, committed_batch
from include.ledger.versions import FileVersion, file_versions, total_size


@dataclass(frozen=True)
class Discovery:
    """What a discovery found, and what there is to load now.

    `discovered` file versions of `discovered_bytes` were planned by this run; `skipped` were named by a rule for the
    first time; `waiting` are younger than `settle`, or changed again before their planned version was loaded: a later
    run takes them. The pending figures are about all batches that the target does not hold yet, from earlier runs too:
    `first_pending` (None: none) to `last_planned` (0: no batch was ever planned). A dry run writes nothing, counts
    what it would plan as planned, and lists it in `new_files` and `new_skips`.
    """

    run_id: str
    discovered: int
    discovered_bytes: int
    skipped: int
    waiting: int
    pending_batches: int
    pending_files: int
    pending_bytes: int
    first_pending: int | None
    last_planned: int
    new_files: tuple[FileVersion, ...] = ()
    new_skips: tuple[Skip, ...] = ()

    @property
    def has_work(self) -> bool:
        """True when a load has something to do."""
        return self.pending_batches > 0

    def to_dict(self) -> dict[str, object]:
        """As JSON types, for XCom and for `--json`."""
        values = asdict(self)
        values["new_files"] = [asdict(file) for file in self.new_files]
        values["new_skips"] = [skip._asdict() for skip in self.new_skips]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Discovery":
        """The inverse of `to_dict`."""
        files = tuple(FileVersion(**file) for file in values["new_files"])
        left_out = tuple(Skip(**skip) for skip in values["new_skips"])
        return cls(**{**values, "new_files": files, "new_skips": left_out})


def discover(pipeline: Pipeline, settings: Settings, run_id: str, *, dry_run: bool = False) -> Discovery:
    """Plan what landed since the last discovery.

    Raises:
        SourceNotFound: the source is not there.
        StateLost: the target holds batches that this ledger never planned.
        DataRefused: a file changed and `changed_files` is `error`.
        LedgerContention: other discoveries kept winning the race.
        StorageError: the source, the state or the target cannot be read or written.
    """
    ingest = pipeline.ingestion()
    if dry_run:
        return _preview(pipeline, settings, run_id)
    rebuild_missing(settings, pipeline, run_id)
    plan = _commit_plan(pipeline, settings, run_id)
    ledger = Ledger(settings, pipeline.name)
    committed = committed_batch(settings, ingest.table, app_id(pipeline.name))
    compact_loaded(ledger, committed)
    due = pending_above(ledger, committed)
    return Discovery(
        run_id=run_id,
        discovered=plan.planned.num_rows,
        discovered_bytes=total_size(plan.planned),
        skipped=len(plan.skips),
        waiting=plan.waiting,
        pending_batches=due.batches,
        pending_files=due.files,
        pending_bytes=due.size,
        first_pending=due.first,
        last_planned=ledger.last_batch,
    )


def _commit_plan(pipeline: Pipeline, settings: Settings, run_id: str) -> Plan:
    for pause in pauses():
        try:
            with planning(settings, pipeline.ingestion().table, alone=False):
                plan = make_plan(pipeline, settings, time.time_ns() // 1000)
                _write(plan, pipeline, settings, run_id)
        except LedgerMoved:
            time.sleep(pause)
        else:
            return plan
    raise contention(pipeline.name)


def _write(plan: Plan, pipeline: Pipeline, settings: Settings, run_id: str) -> None:
    options = pipeline.ingestion().options
    now = datetime.now(UTC)
    skips.record(settings, pipeline.name, plan.skips, run_id, now)
    if not (plan.ledger.exists or options.include_existing_files):
        plan.ledger.create()  # the mark that the first run is over, also where it found nothing
    if plan.planned.num_rows:
        plan.ledger.append(plan.planned, options.max_files_per_trigger, options.max_bytes_per_trigger, run_id, now)


def _preview(pipeline: Pipeline, settings: Settings, run_id: str) -> Discovery:
    plan = make_plan(pipeline, settings, time.time_ns() // 1000)
    options = pipeline.ingestion().options
    planned = in_load_order(plan.planned)
    batches = sum(
        1 for _ in pack(planned["size"].to_pylist(), options.max_files_per_trigger, options.max_bytes_per_trigger)
    )
    due = pending_above(plan.ledger, plan.committed)
    last = plan.ledger.last_batch + batches
    return Discovery(
        run_id=run_id,
        discovered=planned.num_rows,
        discovered_bytes=total_size(planned),
        skipped=len(plan.skips),
        waiting=plan.waiting,
        pending_batches=due.batches + batches,
        pending_files=due.files + planned.num_rows,
        pending_bytes=due.size + total_size(planned),
        first_pending=plan.committed + 1 if last > plan.committed else None,
        last_planned=last,
        new_files=file_versions(planned),
        new_skips=plan.skips,
    )
