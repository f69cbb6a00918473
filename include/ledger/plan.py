"""One attempt at a plan: what the source holds, what the ledger does not know, what is left out. Writes nothing."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from include.config.pipeline import Pipeline
from include.config.settings import Settings, is_remote
from include.ledger import skips
from include.ledger.changes import Changes, compare, defer, forget, latest, planned_versions, unknown_skips
from include.ledger.copied import copied_files
from include.ledger.fates import Fates, fates
from include.ledger.forgotten import forgotten_versions
from include.ledger.ledger import Ledger
from include.ledger.listing import list_source
from include.ledger.outcomes import last_outcome_batch
from include.ledger.skips import Skip
from include.ledger.target import app_id, committed_batch
from include.ledger.versions import column


@dataclass(frozen=True)
class Plan:
    """File versions to load (`planned`, columns of PLANNED) and files to be named as skipped for the first time.

    Valid on top of `ledger` as it was when the plan was made. `committed` is the target's last batch then.
    """

    ledger: Ledger
    committed: int
    planned: pa.Table
    skips: tuple[Skip, ...]
    waiting: int


def make_plan(pipeline: Pipeline, settings: Settings, now: int) -> Plan:
    """Look at the ledger, then at the source: what came between is in the listing at worst, never in the ledger only.

    `now` is in microseconds since the epoch. Errors as `discover`.
    """
    ingest, name = pipeline.ingestion(), pipeline.name
    ledger = Ledger(settings, name)
    committed = committed_batch(settings, ingest.table, app_id(name))
    ledger.refuse_lost_state(committed)
    listing = list_source(settings, ingest, now)
    everything = known_files(settings, pipeline, ledger)
    known = forget(_with_copied(settings, ingest.table, everything), forgotten_versions(settings, name))
    changes = compare(listing.files, known)
    found = unknown_skips(listing.skips, known)
    if not (ingest.options.include_existing_files or ledger.exists or everything.num_rows):
        found += skips.named(changes.new, "existing_at_start", "cloudFiles.includeExistingFiles is false")
        changes = Changes(changes.new.slice(0, 0), changes.changed, changes.forgotten)
    changes, waiting = defer(changes, last_outcome_batch(settings, name))
    history = fates(settings, name, ledger, changes.changed) if changes.changed.num_rows else Fates()
    planned, ignored = planned_versions(changes, ingest.changed_files, history)
    planned, unreadable = _readable(settings, ingest.source, planned)
    fresh = skips.unrecorded(settings, name, [*found, *ignored, *unreadable])
    return Plan(ledger, committed, planned, tuple(fresh), listing.waiting + waiting)


def known_files(settings: Settings, pipeline: Pipeline, ledger: Ledger) -> pa.Table:
    """The latest version of each planned path, with the columns of KNOWN.

    Where only files that came after the first run are to be loaded, also those that were there before it, as version 0.
    """
    known = latest(ledger.known())
    if pipeline.ingestion().options.include_existing_files:
        return known
    at_start = skips.existing_at_start(settings, pipeline.name)
    unplanned = pc.invert(pc.is_in(at_start["path"], value_set=known["path"].combine_chunks()))
    return pa.concat_tables([known, at_start.filter(unplanned)])


def _with_copied(settings: Settings, table: str, known: pa.Table) -> pa.Table:
    """Known files, and those that COPY INTO loaded into the same table."""
    copied = copied_files(settings, table)
    if not copied.num_rows:
        return known
    unplanned = pc.invert(pc.is_in(copied["path"], value_set=known["path"].combine_chunks()))
    return pa.concat_tables([known, latest(copied.filter(unplanned))])


def _readable(settings: Settings, source: str, planned: pa.Table) -> tuple[pa.Table, list[Skip]]:
    """Only those versions that can be opened, and a skip for each of the others."""
    if not planned.num_rows:
        return planned, []
    # Imported here: runs with nothing new do not come to this point.
    if is_remote(root := settings.source_root(source)):
        from include.ledger.remote_files import refuse_markers  # noqa: PLC0415

        empty_files = planned.filter(pc.equal(planned["size"], 0))
        refused = refuse_markers(root, settings.ledger_path(root + "/"), empty_files["path"].to_pylist())
    else:
        from include.ledger.local_files import refuse_unreadable  # noqa: PLC0415

        refused = refuse_unreadable(settings, planned["path"].to_pylist())
    paths = column([skip.path for skip in refused], pa.string())
    return planned.filter(pc.invert(pc.is_in(planned["path"], value_set=paths))), refused
