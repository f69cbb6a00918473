"""What a listing holds that the ledger does not know: the anti-join and what a changed file means. Pure, on columns."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from include.config.errors import DataRefused
from include.config.ingest import ChangedFiles
from include.ledger.fates import Fates
from include.ledger.skips import Skip, named
from include.ledger.versions import IDENTITY, KNOWN, PLANNED, Action, column, empty, never_planned, table

# No file has this size: a known file that is to be taken for unknown gets it, so that no listed file equals it.
FORGOTTEN_SIZE = -1

NAMED_IN_ERROR = 10


@dataclass(frozen=True)
class Changes:
    """Listed files that are not in the ledger as they are, with the columns of KNOWN.

    `new` paths were never seen (version 0). `changed` paths are known with another identity, `forgotten` ones were
    taken out of the ledger's memory by `sluice forget`; both carry the latest version that the ledger knows.
    """

    new: pa.Table
    changed: pa.Table
    forgotten: pa.Table

    @property
    def any(self) -> bool:
        """False where the ledger knows all files as they are."""
        return bool(self.new.num_rows or self.changed.num_rows or self.forgotten.num_rows)


def latest(rows: pa.Table) -> pa.Table:
    """The newest version of each path, of rows with the columns of KNOWN."""
    if rows.num_rows == 0 or pc.max(rows["version"]).as_py() <= 1:
        return rows  # the common case, at no cost: no path ever came twice
    again = pc.unique(rows.filter(pc.greater(rows["version"], 1))["path"])
    several = pc.is_in(rows["path"], value_set=again)
    versions = rows.filter(several)
    versions = versions.take(pc.sort_indices(versions, [("path", "ascending"), ("version", "descending")]))
    paths = versions["path"].combine_chunks()
    first = pa.concat_arrays([column([True], pa.bool_()), pc.not_equal(paths.slice(1), paths.slice(0, len(paths) - 1))])
    return pa.concat_tables([rows.filter(pc.invert(several)), versions.filter(first)])


def forget(known: pa.Table, forgotten: Mapping[str, int]) -> pa.Table:
    """Known files without a memory of those paths whose version is not above the one in `forgotten`."""
    if not forgotten:
        return known
    listed = pc.is_in(known["path"], value_set=column(list(forgotten), pa.string()))
    rows = known.filter(listed)
    sizes = [
        FORGOTTEN_SIZE if version <= forgotten[path] else size
        for path, version, size in zip(*(rows[name].to_pylist() for name in ("path", "version", "size")), strict=True)
    ]
    rows = rows.set_column(KNOWN.get_field_index("size"), KNOWN.field("size"), column(sizes, pa.int64()))
    return pa.concat_tables([known.filter(pc.invert(listed)), rows])


def compare(files: pa.Table, known: pa.Table) -> Changes:
    """Anti-join of listed files (IDENTITY) with the latest known versions (KNOWN), by one hash table of paths."""
    files, known = files.combine_chunks(), known.combine_chunks()
    index = pc.index_in(files["path"], value_set=known["path"]).combine_chunks()
    unknown = pc.is_null(index)
    new = never_planned(files.filter(unknown))
    files, index = files.filter(pc.invert(unknown)), index.drop_null()
    before = known.drop_columns("path").take(index)
    differs = pc.invert(_same(files, before))
    files, before = files.filter(differs), before.filter(differs)
    candidates = pa.Table.from_arrays(
        [*files.columns, before["version"], before["batch"], before["replaces"]], schema=KNOWN
    )
    if not candidates.num_rows:
        return Changes(new, candidates, candidates)
    is_forgotten = pc.equal(before["size"], FORGOTTEN_SIZE)
    return Changes(new, candidates.filter(pc.invert(is_forgotten)), candidates.filter(is_forgotten))


def defer(changes: Changes, accounted: int) -> tuple[Changes, int]:
    """Leave out the paths whose latest version is in a batch above `accounted`; returns how many these are.

    What became of a version says what its successor means: one that changed before it was read never was, one that
    changed meanwhile must be replaced. So a path has one planned version at a time, and the next one waits.
    """
    if not changes.any:
        return changes, 0
    changed = changes.changed.filter(pc.less_equal(changes.changed["batch"], accounted))
    forgotten = changes.forgotten.filter(pc.less_equal(changes.forgotten["batch"], accounted))
    waiting = changes.changed.num_rows - changed.num_rows + changes.forgotten.num_rows - forgotten.num_rows
    return Changes(changes.new, changed, forgotten), waiting


def planned_versions(changes: Changes, policy: ChangedFiles, fates: Fates) -> tuple[pa.Table, list[Skip]]:
    """The versions to load (columns of PLANNED), and the changed files that the policy leaves out.

    Raises:
        DataRefused: a file changed and the policy is `error`. Nothing is planned; nothing is lost.
    """
    if not changes.any:
        return empty(PLANNED), []
    by_policy: Action = "replace" if policy == "replace" else "append"
    replaced, changed = _split(changes.changed, fates.replaced)
    unread, changed = _split(changed, fates.unread)
    # What was never planned has no rows that could be replaced.
    loaded = pc.greater(changes.forgotten["version"], 0)
    parts = [
        _next(changes.new, "append"),
        _next(replaced, "replace", from_first=policy == "replace"),
        _next(unread, by_policy),
        _next(changes.forgotten.filter(loaded), "replace"),
        _next(changes.forgotten.filter(pc.invert(loaded)), "append"),
    ]
    skips: list[Skip] = []
    if policy == "ignore":
        skips = named(changed, "changed_ignored", "another version was planned before")
    elif policy == "error" and changed.num_rows:
        raise _refused(changed)
    else:
        parts.append(_next(changed, by_policy))
    return pa.concat_tables(parts).combine_chunks(), skips


def unknown_skips(skips: Sequence[Skip], known: pa.Table) -> list[Skip]:
    """Skips without those of known files: what was loaded stays loaded when a new rule would leave it out."""
    seen = [skip for skip in skips if skip.size is not None]
    if not seen:
        return list(skips)
    columns = [[getattr(skip, name) for skip in seen] for name in IDENTITY.names]
    changes = compare(table(columns, IDENTITY), known)
    unknown = {path for part in (changes.new, changes.changed, changes.forgotten) for path in part["path"].to_pylist()}
    return [skip for skip in skips if skip.size is None or skip.path in unknown]


def _same(files: pa.Table, before: pa.Table) -> pa.ChunkedArray:
    same = pc.and_(pc.equal(files["size"], before["size"]), pc.equal(files["modified_at"], before["modified_at"]))
    neither = pc.and_(pc.is_null(files["etag"]), pc.is_null(before["etag"]))
    return pc.and_(same, pc.coalesce(pc.equal(files["etag"], before["etag"]), neither))


def _split(files: pa.Table, paths: Set[str]) -> tuple[pa.Table, pa.Table]:
    inside = pc.is_in(files["path"], value_set=column(sorted(paths), pa.string()))
    return files.filter(inside), files.filter(pc.invert(inside))


def _next(files: pa.Table, action: Action, *, from_first: bool = True) -> pa.Table:
    """The next versions; a `replace` takes the place of all versions, or of the latest one and those it replaced."""
    version = pc.add(files["version"], pa.scalar(1, pa.int32()))
    actions = column([action] * files.num_rows, pa.string())
    if action == "append":
        replaces = column([None] * files.num_rows, pa.int32())
    elif from_first:
        replaces = column([1] * files.num_rows, pa.int32())
    else:
        replaces = pc.coalesce(files["replaces"], files["version"])
    return pa.Table.from_arrays([*files.select(IDENTITY.names).columns, version, actions, replaces], schema=PLANNED)


def _refused(changed: pa.Table) -> DataRefused:
    paths = sorted(changed["path"].to_pylist())
    shown = ", ".join(paths[:NAMED_IN_ERROR]) + (", ..." if len(paths) > NAMED_IN_ERROR else "")
    return DataRefused(
        f"{len(paths)} file(s) came again with other content; changed_files is error, so nothing was planned: {shown}.",
        remedy="Put the old file back, or load the new content in place of the old rows: sluice retry PIPELINE PATH; "
        "or set changed_files to ignore, append or replace.",
        paths=paths,
    )
