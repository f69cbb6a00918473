"""Paths that `sluice forget` took out of the ledger's memory: a small table beside the ledger.

The ledger itself only grows (the load streams it), so forgetting is a mark of its own: versions of the path up to
`version` count as never seen. The next version of the path, once planned, is above the mark, and the mark is spent.
"""

from collections.abc import Mapping
from datetime import datetime

import pyarrow as pa

from include.config.settings import Settings
from include.ledger.tables import append, open_table, read
from include.ledger.versions import TIMESTAMP, micros, table

FORGOTTEN = pa.schema(
    [("path", pa.string()), ("version", pa.int32()), ("forgotten_at", TIMESTAMP), ("run_id", pa.string())]
)


def forgotten_versions(settings: Settings, pipeline: str) -> dict[str, int]:
    """For each path that was ever forgotten, the highest version that is."""
    marks = open_table(_location(settings, pipeline))
    if marks is None:
        return {}
    rows = read(marks, ("path", "version"))
    versions: dict[str, int] = {}
    for path, version in zip(rows["path"].to_pylist(), rows["version"].to_pylist(), strict=True):
        versions[path] = max(version, versions.get(path, 0))
    return versions


def record(settings: Settings, pipeline: str, versions: Mapping[str, int], run_id: str, forgotten_at: datetime) -> None:
    """Mark the versions of each path up to the given one as forgotten, in one commit."""
    count = len(versions)
    columns: list[list[object]] = [
        list(versions),
        list(versions.values()),
        [micros(forgotten_at)] * count,
        [run_id] * count,
    ]
    append(_location(settings, pipeline), table(columns, FORGOTTEN))


def _location(settings: Settings, pipeline: str) -> str:
    return settings.state_root(pipeline, "forgotten")
