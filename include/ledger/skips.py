"""Files that a named rule leaves out: the rules, and the table `skipped` that names each such file once."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Literal, NamedTuple

import pyarrow as pa

from include.config.settings import Settings
from include.ledger.tables import append, open_table, read
from include.ledger.versions import KNOWN, TIMESTAMP, empty, micros, never_planned, table

Rule = Literal[
    "hidden",  # the name, or a folder above it, starts with _ or . ; or the name ends with ._COPYING_
    "glob",  # the name does not match pathGlobFilter
    "modified_after",  # not younger than modifiedAfter
    "modified_before",  # not older than modifiedBefore
    "not_a_regular_file",  # a FIFO, socket or device; never opened
    "unreadable",  # no permission; of a folder, what is in it is not known
    "vanished",  # gone between the listing and the look at it
    "broken_symlink",  # points to nothing
    "symlink_loop",  # leads to itself, or to a folder that is listed under its own name
    "outside_source",  # a link that leaves both the source and landing/
    "name_not_utf8",  # cannot be named in a Delta table; the path shows the bytes as \xNN
    "changed_ignored",  # another content of a known path, and `changed_files: ignore`
    "existing_at_start",  # there before the first run, and `cloudFiles.includeExistingFiles: false`
]

# Rules that look at the name or the kind only: such a path is named once, however often its content changes.
BY_PATH: frozenset[Rule] = frozenset(
    {
        "hidden",
        "glob",
        "not_a_regular_file",
        "unreadable",
        "vanished",
        "broken_symlink",
        "symlink_loop",
        "outside_source",
        "name_not_utf8",
    }
)

SKIPPED = pa.schema(
    [
        ("path", pa.string()),
        ("size", pa.int64()),
        ("modified_at", TIMESTAMP),
        ("etag", pa.string()),
        ("rule", pa.string()),
        ("detail", pa.string()),
        ("seen_at", TIMESTAMP),
        ("run_id", pa.string()),
    ]
)


class Skip(NamedTuple):
    """A listed file that is left out. A folder's path ends with a slash; `modified_at` is in microseconds."""

    path: str
    rule: Rule
    detail: str = ""
    size: int | None = None
    modified_at: int | None = None
    etag: str | None = None

    @property
    def key(self) -> tuple[object, ...]:
        """What makes two skips the same one."""
        if self.rule in BY_PATH:
            return (self.path, self.rule)
        return (self.path, self.rule, self.size, self.modified_at, self.etag)


def named(files: pa.Table, rule: Rule, detail: str) -> list[Skip]:
    """A skip for each row of a table with (at least) the columns of IDENTITY."""
    times = files.column("modified_at").cast(pa.int64()).to_pylist()
    columns = (files.column(name).to_pylist() for name in ("path", "size", "etag"))
    return [
        Skip(path, rule, detail, size, modified_at, etag)
        for path, size, etag, modified_at in zip(*columns, times, strict=True)
    ]


def location(settings: Settings, pipeline: str) -> str:
    """Where a pipeline's table of skipped files is."""
    return settings.state_root(pipeline, "skipped")


def unrecorded(settings: Settings, pipeline: str, skips: Iterable[Skip]) -> list[Skip]:
    """Those of the skips that the table does not name yet, each once."""
    fresh = {skip.key: skip for skip in skips}
    if not fresh:
        return []
    recorded = open_table(location(settings, pipeline))
    if recorded is not None:
        columns = ("path", "rule", "size", "modified_at", "etag")
        rows = read(recorded, columns)
        times = rows.column("modified_at").cast(pa.int64()).to_pylist()
        rest = (rows.column(name).to_pylist() for name in ("path", "rule", "size", "etag"))
        for path, rule, size, etag, modified_at in zip(*rest, times, strict=True):
            fresh.pop(Skip(path, rule, "", size, modified_at, etag).key, None)
    return list(fresh.values())


def record(settings: Settings, pipeline: str, skips: Sequence[Skip], run_id: str, seen_at: datetime) -> None:
    """Write skips down, in one commit. Killed before it: nothing is written, and the next run names them."""
    if not skips:
        return
    count = len(skips)
    values: dict[str, list[object]] = {name: [getattr(skip, name) for skip in skips] for name in Skip._fields}
    values |= {"seen_at": [micros(seen_at)] * count, "run_id": [run_id] * count}
    append(location(settings, pipeline), table([values[name] for name in SKIPPED.names], SKIPPED))


def existing_at_start(settings: Settings, pipeline: str) -> pa.Table:
    """The files that were there before the first run and are not to be loaded, as known files of version 0."""
    recorded = open_table(location(settings, pipeline))
    if recorded is None:
        return empty(KNOWN)
    rows = read(recorded, ("path", "size", "modified_at", "etag"), "rule = 'existing_at_start'")
    return never_planned(rows)
