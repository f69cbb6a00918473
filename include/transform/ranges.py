"""Ranges of a source's versions: the unit of a transformation's micro-batch. Pure."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from include.transform.commits import Commit

# snapshot: the table as it was at `last`. appends: what the versions added. changes: what they added and took away.
# skipped: changes that were planned before skipChangeCommits was set; never in the plan table.
# none: nothing of the source, only of the table that it is joined with.
Kind = Literal["snapshot", "appends", "changes", "skipped", "none"]


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
class PlannedRange:
    """One planned micro-batch: one commit of the target, with `batch` as its transaction version.

    `pinned` are the tables that its steps read, by name. `planned_at` (microseconds since the epoch) is the batch's
    time: the same at every replay.
    """

    batch: int
    table_id: str
    versions: VersionRange
    pinned: Mapping[str, Pin]
    planned_at: int
    run_id: str

    def pinned_json(self) -> str:
        """The pins as the plan table holds them."""
        return json.dumps({table: asdict(pin) for table, pin in self.pinned.items()}, sort_keys=True)


def pins_of(text: str) -> dict[str, Pin]:
    """The inverse of `pinned_json`."""
    return {table: Pin(**pin) for table, pin in json.loads(text).items()}


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
