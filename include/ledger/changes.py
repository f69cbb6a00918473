"""What a listing holds that the ledger does not know: the anti-join and what a changed file means. Pure, on columns."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from include.config.errors import DataRefused
from include.config.ingest import ChangedFiles
from include.ledger.skips import Skip, named
from include.ledger.versions import IDENTITY, KNOWN, PLANNED, Action, column, empty, table

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
    new = files.filter(unknown)
    new = _with_version(new, column([0] * new.num_rows, pa.int32()))
    files, index = files.filter(pc.invert(unknown)), index.drop_null()
    before = known.select(["size", "modified_at", "etag", "version"]).take(index)
    differs = pc.invert(_same(files, before))
    files, before = files.filter(differs), before.filter(differs)
    candidates = _with_version(files, before["version"])
    if not candidates.num_rows:
        return Changes(new, candidates, candidates)
    is_forgotten = pc.equal(before["size"], FORGOTTEN_SIZE)
    return Changes(new, candidates.filter(pc.invert(is_forgotten)), candidates.filter(is_forgotten))


def planned_versions(changes: Changes, policy: ChangedFiles, torn: Set[str]) -> tuple[pa.Table, list[Skip]]:
    """The versions to load (columns of PLANNED), and the changed files that the policy leaves out.

    `torn` paths changed while their latest version was read, so what was loaded of it was never a whole file: the next
    version takes its place whatever the policy.

    Raises:
        DataRefused: a file changed and the policy is `error`. Nothing is planned; nothing is lost.
    """
    if not (changes.new.num_rows or changes.changed.num_rows or changes.forgotten.num_rows):
        return empty(PLANNED), []
    is_torn = pc.is_in(changes.changed["path"], value_set=column(sorted(torn), pa.string()))
    torn_files, changed = changes.changed.filter(is_torn), changes.changed.filter(pc.invert(is_torn))
    if policy == "error" and changed.num_rows:
        raise _refused(changed)
    parts = [_next(changes.new, "append"), _next(torn_files, "replace")]
    # What was never planned has no rows that could be replaced.
    loaded = pc.greater(changes.forgotten["version"], 0)
    parts += [_next(changes.forgotten.filter(loaded), "replace")]
    parts += [_next(changes.forgotten.filter(pc.invert(loaded)), "append")]
    if policy in ("append", "replace"):
        parts.append(_next(changed, "append" if policy == "append" else "replace"))
    ignored = changed if policy == "ignore" else changed.slice(0, 0)
    return pa.concat_tables(parts).combine_chunks(), named(
        ignored, "changed_ignored", "another version was loaded before"
    )


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


def _with_version(files: pa.Table, version: pa.Array | pa.ChunkedArray) -> pa.Table:
    return files.select(IDENTITY.names).append_column(KNOWN.field("version"), version)


def _next(files: pa.Table, action: Action) -> pa.Table:
    version = pc.add(files["version"], pa.scalar(1, pa.int32()))
    files = files.set_column(KNOWN.get_field_index("version"), KNOWN.field("version"), version)
    return files.append_column(PLANNED.field("action"), column([action] * files.num_rows, pa.string()))


def _refused(changed: pa.Table) -> DataRefused:
    paths = sorted(changed["path"].to_pylist())
    shown = ", ".join(paths[:NAMED_IN_ERROR]) + (", ..." if len(paths) > NAMED_IN_ERROR else "")
    return DataRefused(
        f"{len(paths)} file(s) came again with other content; changed_files is error, so nothing was planned: {shown}.",
        remedy="Put the old file back, or load the new content in place of the old rows: sluice retry PIPELINE PATH; "
        "or set changed_files to ignore, append or replace.",
        paths=paths,
    )
