"""What the cache did in one run, counted."""

from dataclasses import asdict, dataclass, field

from include.cache.snapshot import SnapshotMeta


@dataclass
class CacheFigures:
    """Counts of one dimension in one run.

    `hits`: a snapshot of the pinned version stood. `misses`: it had to be made. `stale_hits_avoided`: an older one
    stood and was not used as it was. `table_reads` are whole reads of the table, `table_bytes` their bytes.
    `fallbacks`: batches joined without the cache, with the reasons. Seconds are wall time.
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
