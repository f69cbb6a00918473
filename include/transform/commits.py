"""What the commits of a Delta table did, read from its log: rows and bytes added, rows changed, change feed on or off.

delta-rs has no call for the actions of one commit, and its history has only what the writer said about itself.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from include.config.errors import SluiceError, StorageError
from include.config.exit_codes import ExitCode
from include.config.settings import is_remote, join

CHANGE_FEED = "delta.enableChangeDataFeed"


class HistoryLost(SluiceError):
    """Raised when commits of a source that were not read yet are gone from its log."""

    exit_code = ExitCode.CONFIG


@dataclass(frozen=True)
class Commit:
    """One version of a table.

    `rows` and `size` (bytes) are those of the data files it added; `rows` is None where a file does not say.
    `changes` is true where it took rows away. `feed` says whether it turned the change feed on or off, None if neither;
    `table_id` is set where it made the table anew.
    """

    version: int
    rows: int | None
    size: int
    files: int
    changes: bool
    feed: bool | None = None
    table_id: str | None = None

    @property
    def empty(self) -> bool:
        """True where it changed no data: OPTIMIZE, a property, a schema."""
        return self.files == 0 and not self.changes


def read_commits(location: str, first: int, last: int) -> Iterator[Commit]:
    """The commits of the table at an absolute path or URI, from version `first` to `last`.

    Raises:
        HistoryLost: one of them is not in the log any more.
        StorageError: the log cannot be read.
    """
    for version in range(first, last + 1):
        yield parse_commit(version, log_entry(location, version))


def parse_commit(version: int, text: str) -> Commit:
    """A commit from the lines of its log entry; pure."""
    actions = [json.loads(line) for line in text.splitlines() if line.strip()]
    added = [action["add"] for action in actions if "add" in action and action["add"].get("dataChange", True)]
    removed = any("remove" in action and action["remove"].get("dataChange", True) for action in actions)
    feeds = any("cdc" in action for action in actions)
    metadata = next((action["metaData"] for action in actions if "metaData" in action), None)
    counts = [_records(add) for add in added]
    return Commit(
        version=version,
        rows=None if None in counts else sum(count or 0 for count in counts),
        size=sum(int(add["size"]) for add in added),
        files=len(added),
        changes=removed or feeds,
        feed=None if metadata is None else _feed(metadata),
        table_id=None if metadata is None else str(metadata["id"]),
    )


def _feed(metadata: Mapping[str, Any]) -> bool:
    return str(metadata.get("configuration", {}).get(CHANGE_FEED, "false")).lower() == "true"


def _records(add: Mapping[str, Any]) -> int | None:
    stats = json.loads(add.get("stats") or "{}")
    count = stats.get("numRecords")
    return None if count is None else int(count)


def log_entry(location: str, version: int) -> str:
    """The text of a version's entry in the log.

    Raises:
        HistoryLost: it is gone.
        StorageError: it cannot be read.
    """
    name = f"{version:020d}.json"
    try:
        return _remote(location, name) if is_remote(location) else Path(location, "_delta_log", name).read_text()
    except FileNotFoundError:
        raise HistoryLost(
            f"Version {version} of {location} was not read yet and is gone from the table's log.",
            remedy="Read the table more often than its log is cleaned (delta.logRetentionDuration), or rebuild: give "
            "the pipeline another name and another table.",
            location=location,
        ) from None
    except OSError as error:
        raise StorageError(f"{location}/_delta_log/{name} cannot be read: {error}", remedy="Run again.") from error


def _remote(location: str, name: str) -> str:
    import obstore  # noqa: PLC0415  0.1 s of import that local tables do without
    from obstore.store import from_url  # noqa: PLC0415

    return bytes(obstore.get(from_url(location), f"_delta_log/{name}").bytes()).decode()


def added_files(location: str, first: int, last: int) -> list[str] | None:
    """The absolute addresses of the data files that the versions `first` to `last` added.

    None where rows cannot be read from the files alone: partition columns, column mapping, deletion vectors.
    """
    paths = []
    for version in range(first, last + 1):
        for line in log_entry(location, version).splitlines():
            action = json.loads(line) if line.strip() else {}
            if _maps_columns(action.get("metaData", {})):
                return None
            add = action.get("add")
            if add is None or not add.get("dataChange", True):
                continue
            if add.get("partitionValues") or add.get("deletionVector"):
                return None
            paths.append(join(location, unquote(add["path"])))
    return paths


def _maps_columns(metadata: Mapping[str, Any]) -> bool:
    return str(metadata.get("configuration", {}).get("delta.columnMapping.mode", "none")) != "none"
