"""The `cache` section: whether its snapshot is to be made now, and what came of it. No Spark.

Steps, and what a kill after each of them leaves: 1. look at the log: nothing. 2. write the snapshot beside its place:
a half folder, which the next build removes. 3. move it into place: a good snapshot without this run's figures; the next
run finds nothing to do. 4. write the figures: done.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from deltalake import DeltaTable

from include.cache.adaptive import Bounds, Observed, decide
from include.cache.cache import DimensionCache
from include.cache.dimension import Dimension, version_of
from include.cache.figures import write_figures
from include.cache.store import SnapshotStore
from include.config.pipeline import Pipeline
from include.config.sections import Cache
from include.config.settings import Settings
from include.ledger.tables import open_table, storage_errors

QUIET_OPERATIONS = ("OPTIMIZE", "VACUUM START", "VACUUM END", "SET TBLPROPERTIES", "CREATE TABLE")
_HISTORY = 50


@dataclass(frozen=True)
class CachePlan:
    """What there is to do now: `table_version` is what the table is at, `snapshot_version` what the snapshot has.

    `interval` is the adaptive one in seconds, None without one; `why` says what was decided.
    """

    run_id: str
    table_id: str | None
    table_version: int | None
    snapshot_version: int | None
    has_work: bool
    why: str
    interval: float | None
    pending_bytes: int

    def to_dict(self) -> dict[str, object]:
        """As JSON types, for XCom."""
        return asdict(self)

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> "CachePlan":
        """The inverse of `to_dict`."""
        return cls(**found)


def dimension_of(cache: Cache, settings: Settings) -> Dimension:
    """The dimension that a `cache` section names."""
    root = settings.table_root(cache.table)
    return Dimension(cache.table, root, tuple(cache.keys), tuple(cache.columns), cache.latest_by)


def plan_refresh(pipeline: Pipeline, settings: Settings, run_id: str) -> CachePlan:
    """Look at the table's log, and decide whether a snapshot is to be made now.

    Raises:
        StorageError: the table cannot be read.
    """
    cache = pipeline.caching()
    dimension = dimension_of(cache, settings)
    store = SnapshotStore.of(settings.home, dimension)
    table = open_table(dimension.root)
    if table is None:
        return CachePlan(run_id, None, None, None, has_work=False, why="no table yet", interval=None, pending_bytes=0)
    version = version_of(table)
    standing = [meta for meta in store.metas() if meta.table_id == version.table_id]
    ready = any(meta.version == version.version for meta in standing)
    due, why, interval = True, "the table has changed", None
    if cache.refresh is not None:
        last = max(standing, key=lambda meta: meta.made_at, default=None)
        seen = Observed(
            changes=_changes(table),
            uses=store.uses(),
            made_at=None if last is None else last.made_at,
            made_in=0.0 if last is None else last.seconds,
        )
        decision = decide(time.time(), seen, Bounds(cache.refresh.least, cache.refresh.most))
        due, why, interval = decision.due, decision.why, decision.interval
    return CachePlan(
        run_id=run_id,
        table_id=version.table_id,
        table_version=version.version,
        snapshot_version=max((meta.version for meta in standing), default=None),
        has_work=due and not ready,
        why="the snapshot is that of the newest version" if ready else why,
        interval=interval,
        pending_bytes=0,  # read by this process, not by the JVM
    )


def refresh(pipeline: Pipeline, settings: Settings, run_id: str) -> None:
    """Make the snapshot of the newest version, and count.

    Raises:
        MemoryPressure: the host has no memory for it now; joins go on uncached.
        SluiceError: the table cannot be cached as the section says, or storage failed.
    """
    cache = DimensionCache(settings.home, dimension_of(pipeline.caching(), settings))
    version = cache.newest()
    if version is not None:
        cache.hold(version).lease.close()
    write_figures(settings, pipeline.name, run_id, [cache.figures])


def _changes(table: DeltaTable) -> list[float]:
    """When the last commits that changed data were made."""
    with storage_errors("Reading the history of the dimension", table.table_uri):
        history = table.history(_HISTORY)
    return [int(commit["timestamp"]) / 1000 for commit in history if commit.get("operation") not in QUIET_OPERATIONS]
