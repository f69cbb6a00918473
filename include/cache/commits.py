"""What happened to a table between two of its versions, from its log alone: no data file is opened."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from include.cache.dimension import NoSuchColumn, fields_of
from include.cache.errors import CannotCache
from include.config.settings import is_remote
from include.ledger.tables import storage_errors

CHANGE_FEED = "delta.enableChangeDataFeed"
COLUMN_MAPPING = "delta.columnMapping.mode"
Action = Mapping[str, Any]


@dataclass(frozen=True)
class Commits:
    """The commits of a range, summed up.

    `unreadable` says why they cannot be followed (empty when they can). `added` and `removed` are the data files that
    stand in one of the two versions and not in the other, by path. `odd_files` is true where some file cannot be read
    by itself: deletion vectors. `feed_exact` is true where the change feed gives each change of a row exactly;
    `feed_bytes` are those of the files that it reads.
    """

    unreadable: str = ""
    data_changed: bool = False
    schema_changed: bool = False
    metadata_changed: bool = False
    added: Mapping[str, Action] = field(default_factory=dict)
    removed: Mapping[str, Action] = field(default_factory=dict)
    odd_files: bool = False
    feed_exact: bool = True
    feed_bytes: int = 0

    @property
    def bytes(self) -> int:
        """The size of all files that came or went."""
        return sum(int(action.get("size") or 0) for files in (self.added, self.removed) for action in files.values())


def read_commits(root: str, table_id: str, after: int, until: int, fields: str) -> Commits:
    """Sum up the versions `after` + 1 to `until`; `fields` is the snapshot's schema in JSON.

    Raises:
        StorageError: the log cannot be read.
    """
    summary = _Summary(table_id, fields)
    for version in range(after + 1, until + 1):
        text = _commit_text(root, version)
        if text is None:
            return Commits(unreadable=f"the log no longer holds version {version}")
        why = summary.take(list(_actions(text)))
        if why:
            return Commits(unreadable=why)
    return summary.commits()


class _Summary:
    def __init__(self, table_id: str, fields: str) -> None:
        self._table_id = table_id
        self._fields = fields
        self._added: dict[str, Action] = {}
        self._removed: dict[str, Action] = {}
        self._data = self._schema = self._metadata = self._odd = False
        self._exact = True
        self._feed_bytes = 0

    def take(self, actions: list[tuple[str, Action]]) -> str:
        """Add a commit; returns why it cannot be followed, or an empty text."""
        has_feed = any(kind == "cdc" for kind, _ in actions)
        read = ("cdc",) if has_feed else ("add", "remove")
        self._feed_bytes += sum(int(action.get("size") or 0) for kind, action in actions if kind in read)
        for kind, action in actions:
            if kind == "metaData":
                if action["id"] != self._table_id:
                    return "the table was created anew"
                self._metadata = True
                self._schema |= self._other_fields(action["schemaString"])
            elif kind in ("add", "remove"):
                self._file(kind, action, has_feed=has_feed)
        return ""

    def _other_fields(self, schema: str) -> bool:
        """Whether the snapshot's columns are others, or were gone for a while: one of an old name may be a new one."""
        names = [known["name"] for known in json.loads(self._fields)]
        try:
            return fields_of(schema, names, self._table_id) != self._fields
        except (NoSuchColumn, CannotCache):
            return True

    def _file(self, kind: str, action: Action, *, has_feed: bool) -> None:
        path = action["path"]
        changes = bool(action.get("dataChange", True))
        self._data |= changes
        if action.get("deletionVector"):
            self._odd = True
            self._exact &= has_feed or not changes
        if kind == "add":
            if self._removed.pop(path, None) is None or action.get("deletionVector"):
                self._added[path] = action
        elif self._added.pop(path, None) is None:
            self._removed[path] = action

    def commits(self) -> Commits:
        return Commits(
            data_changed=self._data,
            schema_changed=self._schema,
            metadata_changed=self._metadata,
            added=self._added,
            removed=self._removed,
            odd_files=self._odd,
            feed_exact=self._exact,
            feed_bytes=self._feed_bytes,
        )


def _actions(text: str) -> Iterator[tuple[str, Action]]:
    for line in text.splitlines():
        if line.strip():
            yield from json.loads(line).items()


def _commit_text(root: str, version: int) -> str | None:
    name = f"_delta_log/{version:020d}.json"
    with storage_errors("Reading the Delta log", root):
        if is_remote(root):
            return _remote_text(root, name)
        try:
            return Path(root, name).read_text()
        except FileNotFoundError:
            return None


def _remote_text(root: str, name: str) -> str | None:
    import obstore  # noqa: PLC0415 - not needed for local tables
    from obstore.store import from_url  # noqa: PLC0415

    try:
        return bytes(obstore.get(from_url(root), name).bytes()).decode()
    except FileNotFoundError:
        return None
