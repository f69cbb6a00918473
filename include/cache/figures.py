"""What the cache did in one run, counted."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from include.cache.snapshot import SnapshotMeta
from include.config.settings import Settings
from include.ledger.state_files import read_document, write_document

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")


@dataclass
class CacheFigures:
    """Counts of one dimension in one run.

    `hits`: a snapshot of the pinned version stood. `misses`: it had to be made. `stale_hits_avoided`: an older one
    stood and was not used as it was. `table_reads` are whole reads of the table, `table_bytes` their bytes.
    `pressure`: memory was found short; `frugal`: batches served all the same, by look-ups that kept no page of the
    snapshot in memory. `fallbacks`: batches joined without the cache, with the reasons. Seconds are wall time.
    """

    table: str
    hits: int = 0
    misses: int = 0
    stale_hits_avoided: int = 0
    version_checks: int = 0
    refreshes: dict[str, int] = field(default_factory=dict)
    rebuild_reasons: list[str] = field(default_factory=list)
    table_reads: int = 0
    table_bytes: int = 0
    snapshot_bytes: int = 0
    build_seconds: float = 0.0
    look_up_seconds: float = 0.0
    rows_matched: int = 0
    rows_unmatched: int = 0
    pressure: int = 0
    frugal: int = 0
    fallbacks: int = 0
    fallback_reasons: list[str] = field(default_factory=list)

    def note_made(self, meta: SnapshotMeta) -> None:
        """A snapshot was made, in the way it says."""
        self.refreshes[meta.made] = self.refreshes.get(meta.made, 0) + 1
        self.snapshot_bytes = meta.bytes
        self.build_seconds = round(self.build_seconds + meta.seconds, 3)

    def note_rebuild(self, why: str) -> None:
        """An older snapshot could not be brought up to date, and why."""
        if why not in self.rebuild_reasons:
            self.rebuild_reasons.append(why)

    def note_fallback(self, why: str) -> None:
        """A batch is joined without the cache, and why."""
        self.fallbacks += 1
        if why not in self.fallback_reasons:
            self.fallback_reasons.append(why)

    def to_dict(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)


def write_figures(settings: Settings, pipeline: str, run_id: str, figures: Sequence[CacheFigures]) -> None:
    """Leave the figures of a run, in place of those of an earlier attempt; nothing for a run without cached joins."""
    if figures:
        write_document(_location(settings, pipeline, run_id), {"dimensions": [item.to_dict() for item in figures]})


def read_figures(settings: Settings, pipeline: str, run_id: str) -> tuple[Mapping[str, Any], ...]:
    """The figures of a run, one for each dimension; empty where it had none."""
    document = read_document(_location(settings, pipeline, run_id))
    return () if document is None else tuple(document["dimensions"])


def _location(settings: Settings, pipeline: str, run_id: str) -> str:
    return settings.state_root(pipeline, "cache", f"{_UNSAFE.sub('_', run_id)}.json")
