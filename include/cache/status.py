"""What `sluice status` says of caching: the snapshots that stand, and the figures of the last runs. No Spark."""

from collections.abc import Iterable, Mapping
from typing import Any

from include.cache.dimension import current_version
from include.cache.refresh import dimension_of
from include.cache.store import SnapshotStore
from include.config.pipeline import Pipeline
from include.config.settings import Settings
from include.ledger.files import last_failure
from include.ledger.state_files import list_documents, read_document

RECENT = 50  # runs whose figures are summed up
_SUMS = (
    "hits",
    "misses",
    "stale_hits_avoided",
    "table_reads",
    "table_bytes",
    "build_seconds",
    "look_up_seconds",
    "fallbacks",
    "pressure",
    "frugal",
)


def status(settings: Settings, pipeline: Pipeline) -> dict[str, Any]:
    """A cache pipeline: what its table is at, what the newest snapshot has, and what its runs did.

    Raises:
        StorageError: the table's log or the state folder cannot be read.
    """
    dimension = dimension_of(pipeline.caching(), settings)
    store = SnapshotStore.of(settings.home, dimension)
    now = current_version(dimension.root)
    standing = [meta for meta in store.metas() if now is not None and meta.table_id == now.table_id]
    newest = standing[-1] if standing else None
    return {
        "pipeline": pipeline.name,
        "table": dimension.table,
        "table_version": None if now is None else now.version,
        "snapshot_version": None if newest is None else newest.version,
        "snapshot_rows": None if newest is None else newest.rows,
        "snapshot_bytes": None if newest is None else newest.bytes,
        "snapshot_made": None if newest is None else newest.made,
        "snapshots": len(store.metas()),
        "uses": len(store.uses()),
        "cache": sums(settings, pipeline.name),
        "last_failure": last_failure(settings, pipeline.name),
    }


def sums(settings: Settings, pipeline: str) -> list[dict[str, Any]]:
    """The figures of the pipeline's last runs, added up for each dimension."""
    folder = settings.state_root(pipeline, "cache")
    names = sorted(list_documents(folder), key=lambda name: name.rpartition("__")[2])[-RECENT:]
    documents = [document for name in names if (document := read_document(f"{folder}/{name}")) is not None]
    return summed(item for document in documents for item in document["dimensions"])


def summed(items: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Figures of runs, added up for each table; `refreshes` by how they were made."""
    found: dict[str, dict[str, Any]] = {}
    for item in items:
        table = str(item["table"])
        sum_ = found.setdefault(table, {"table": table, "runs": 0, **dict.fromkeys(_SUMS, 0), "refreshes": {}})
        sum_["runs"] += 1
        for name in _SUMS:
            sum_[name] = round(sum_[name] + item.get(name, 0), 3)
        for made, count in item.get("refreshes", {}).items():
            sum_["refreshes"][made] = sum_["refreshes"].get(made, 0) + count
    return list(found.values())
