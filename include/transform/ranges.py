"""Ranges of a source's versions: the unit of a transformation's micro-batch. Pure."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from include.transform.commits import Commit

# snapshot: the table as it was at `last`. appends: what the versions added. changes: what they added and took away.
# skipped: changes that were planned before skipChangeCommits was set; never in the plan table.
# none: nothing of the source, only of the table that it is joined with, or of the other source tables.
# generated: the made-up events of the batches `first` to `last`.
Kind = Literal["snapshot", "appends", "changes", "skipped", "none", "generated"]


@dataclass(frozen=True)
class Pin:
    """The version of a table that a micro-batch reads; `table_id` tells it from a table made anew at its place."""

    table_id: str
    version: int


@dataclass(frozen=True)
class VersionRange:
    """The versions `first` to `last` of the source. `rows` (None: unknown) and `size` (bytes) are what they added.

    `feed` says whether the change feed was on in all of them.
    """

    kind: Kind
    first: int
    last: int
    rows: int | None
    size: int
    feed: bool


@dataclass(frozen=True)
class TableRange:
    """What a micro-batch reads of one of several source tables."""

    table_id: str
    versions: VersionRange


@dataclass(frozen=True)
class PlannedRange:
    """One planned micro-batch: one commit of the target, with `batch` as its transaction version.

    `pinned` are the tables that its steps read, by name. `planned_at` (microseconds since the epoch) is the batch's
    time: the same at every replay. Where the source is several tables, `tables` holds the range of each, and `versions`
    their sums: its version numbers are those of none.
    """

    batch: int
    table_id: str
    versions: VersionRange
    pinned: Mapping[str, Pin]
    planned_at: int
    run_id: str
    tables: Mapping[str, TableRange] = field(default_factory=dict)

    def of(self, table: str) -> "PlannedRange":
        """The same batch, of one of the source tables alone."""
        part = self.tables[table]
        return replace(self, table_id=part.table_id, versions=part.versions, tables={})

    def passed_over(self) -> "PlannedRange":
        """The same batch, without the changes that it was planned with."""
        tables = {name: replace(part, versions=_passed_over(part.versions)) for name, part in self.tables.items()}
        return replace(self, versions=_passed_over(self.versions), tables=tables)

    def words(self, source: str) -> str:
        """Which versions are read; `source` is the source's name where it is one table."""
        if self.versions.kind == "generated":
            return f"made-up events {self.versions.first} to {self.versions.last}"
        parts = {name: part.versions for name, part in self.tables.items()} or {source: self.versions}
        return ", ".join(f"versions {part.first} to {part.last} of {name}" for name, part in parts.items())

    def tables_json(self) -> str | None:
        """The ranges of several source tables as the plan table holds them; None of one."""
        found = {name: {"table_id": part.table_id, **asdict(part.versions)} for name, part in self.tables.items()}
        return json.dumps(found, sort_keys=True) if found else None

    def pinned_json(self) -> str:
        """The pins as the plan table holds them."""
        return json.dumps({table: asdict(pin) for table, pin in self.pinned.items()}, sort_keys=True)


def pins_of(text: str) -> dict[str, Pin]:
    """The inverse of `pinned_json`."""
    return {table: Pin(**pin) for table, pin in json.loads(text).items()}


def _passed_over(versions: VersionRange) -> VersionRange:
    return replace(versions, kind="skipped", rows=0) if versions.kind == "changes" else versions


def tables_of(text: str | None) -> dict[str, TableRange]:
    """The inverse of `tables_json`."""
    found: dict[str, dict[str, Any]] = json.loads(text) if text else {}
    return {name: TableRange(part.pop("table_id"), VersionRange(**part)) for name, part in found.items()}


def together(ranges: Mapping[str, TableRange]) -> VersionRange:
    """What several tables bring to one micro-batch, as a sum."""
    parts = [part.versions for part in ranges.values()]
    kinds = [kind for kind in ("changes", "appends", "snapshot", "none") if any(part.kind == kind for part in parts)]
    rows = [part.rows for part in parts]
    return VersionRange(
        kind=kinds[0],  # type: ignore[arg-type]
        first=0,
        last=0,
        rows=None if None in rows else sum(count or 0 for count in rows),
        size=sum(part.size for part in parts),
        feed=all(part.feed for part in parts),
    )


def side_by_side(
    fresh: Mapping[str, Sequence[VersionRange]], standing: Mapping[str, VersionRange]
) -> Iterator[dict[str, VersionRange]]:
    """Micro-batches of several tables, from the new ranges of each and the last range that was planned of each.

    A micro-batch takes the next range of each table; a range that took rows away comes alone.
    """
    waiting = {name: list(ranges) for name, ranges in fresh.items()}
    at = dict(standing)
    while any(waiting.values()):
        changing = next((name for name, ranges in waiting.items() if ranges and ranges[0].kind == "changes"), None)
        taken = [changing] if changing is not None else [name for name, ranges in waiting.items() if ranges]
        came = {name: waiting[name].pop(0) for name in taken}
        yield {name: came[name] if name in came else nothing_of(at[name]) for name in fresh}
        at |= came


def nothing_of(last: VersionRange) -> VersionRange:
    """The range that follows `last` and brings nothing."""
    return VersionRange("none", last.last, last.last, 0, 0, last.feed)


def cut(
    commits: Iterable[Commit],
    max_versions: int,
    max_bytes: int,
    *,
    feed: bool,
    skip_changes: bool = False,
    ignore_deletes: bool = False,
) -> Iterator[VersionRange]:
    """Ranges that hold all commits that change data, in order and without overlap.

    A range ends after `max_versions` such commits, before one that would bring it above `max_bytes`, and where the
    change feed was turned on or off. A commit that took rows away is a range of its own: what it took cannot have been
    added in the same range. With `skip_changes` no range has it, with `ignore_deletes` only if it also added files.
    `feed` says whether the feed was on before the first.
    """
    group: list[Commit] = []
    for commit in commits:
        turned = commit.feed is not None and commit.feed != feed
        full = len(group) >= max_versions or sum(seen.size for seen in group) + commit.size > max_bytes
        if group and (turned or commit.changes or (full and not commit.empty)):
            yield _range(group, feed=feed)
            group = []
        feed = feed if commit.feed is None else commit.feed
        left_out = skip_changes or (ignore_deletes and commit.files == 0)
        if commit.changes and not left_out:
            yield _range([commit], feed=feed)
        elif not commit.empty and not commit.changes:
            group.append(commit)
    if group:
        yield _range(group, feed=feed)


def _range(commits: list[Commit], *, feed: bool) -> VersionRange:
    rows = [commit.rows for commit in commits]
    return VersionRange(
        kind="changes" if any(commit.changes for commit in commits) else "appends",
        first=commits[0].version,
        last=commits[-1].version,
        rows=None if None in rows else sum(count or 0 for count in rows),
        size=sum(commit.size for commit in commits),
        feed=feed,
    )
