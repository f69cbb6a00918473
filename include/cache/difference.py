"""The rows that differ between two versions of a table with unique keys: from its change feed, or from the data files
that came and went. Exact, or not at all: what cannot be told exactly raises `NotExact`, and the snapshot is rebuilt.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable

from include.cache.build import plain
from include.cache.commits import Commits
from include.cache.exact import quoted
from include.cache.keys import Rows, key_hashes, present, same_keys
from include.cache.latest import latest_rows
from include.cache.snapshot import Snapshot
from include.config.settings import is_remote

_SIGNS = {"insert": 1, "update_postimage": 1, "delete": -1, "update_preimage": -1}


class NotExact(Exception):
    """Raised when the difference cannot be told exactly; the text says why."""


@dataclass(frozen=True)
class Difference:
    """`rows` stand in the new version in place of what their keys had; `gone` are keys without a row there.

    No key comes twice. `gone` has the key columns only.
    """

    rows: pa.Table
    gone: pa.Table


def from_feed(table: DeltaTable, old: Snapshot, schema: pa.Schema) -> Difference:
    """Read the change feed from the snapshot's version to that of `table`.

    Raises:
        NotExact: the feed does not lead from the snapshot's rows to the new ones with unique keys in each version.
    """
    keys = old.meta.keys
    events = _events(table, old, schema)
    keyed = pa.array(present(_arrays(events, keys)))
    rows = _plain_table(events, schema).filter(keyed).combine_chunks()
    if not rows.num_rows:
        return Difference(rows, rows.select(keys))
    signs = np.array([_SIGNS[kind] for kind in events["_change_type"].to_pylist()], dtype=np.int64)
    sign = signs[keyed.to_numpy(zero_copy_only=False)]
    version = events["_commit_version"].filter(keyed).to_numpy().astype(np.int64)
    ids, first = _key_ids(rows, keys)
    firsts = rows.select(keys).take(pa.array(first))
    start = old.look_up(_arrays(firsts, keys), ()).matched.astype(np.int64)
    _check_counts(ids, version, sign, start)
    last = np.full(len(first), -1, dtype=np.int64)
    plus = np.flatnonzero(sign > 0)
    plus = plus[np.argsort(version[plus], kind="stable")]
    last[ids[plus]] = plus  # the newest wins: numpy assigns in order
    final = start + np.bincount(ids, weights=sign, minlength=len(first)).astype(np.int64)
    return Difference(rows.take(pa.array(last[final == 1])), firsts.filter(pa.array(final == 0)))


def added_to_feed(table: DeltaTable, old: Snapshot, schema: pa.Schema, latest_by: str) -> Difference:
    """As `from_feed`, of a table with several rows of a key, of which the latest counts, and to which rows came only.

    Raises:
        NotExact: rows were changed or taken away.
    """
    events = _events(table, old, schema)
    if set(events["_change_type"].to_pylist()) - {"insert"}:
        raise NotExact("rows were changed, and earlier ones of their keys may be the latest again")
    rows = _plain_table(events, schema).combine_chunks()
    return _latest_added(rows.filter(pa.array(present(_arrays(rows, old.meta.keys)))), old, schema, latest_by)


def _latest_added(rows: pa.Table, old: Snapshot, schema: pa.Schema, latest_by: str) -> Difference:
    """Of the rows that came and those that the snapshot has of their keys the latest."""
    keys = old.meta.keys
    found = old.look_up(_arrays(rows, keys), schema.names)
    stood = pa.Table.from_arrays(found.columns, schema=schema).filter(pa.array(found.matched))
    both = pa.concat_tables([rows, stood]).combine_chunks()
    at = [schema.get_field_index(key) for key in keys]
    latest = latest_rows(both, at, schema.get_field_index(latest_by), keys)
    return Difference(latest.combine_chunks(), rows.select(keys).slice(0, 0))


def _events(table: DeltaTable, old: Snapshot, schema: pa.Schema) -> pa.Table:
    marks = ["_change_type", "_commit_version"]
    feed = table.load_cdf(
        starting_version=old.meta.version + 1,
        ending_version=table.version(),
        columns=[quoted(name) for name in (*schema.names, *marks)],
    )
    return pa.RecordBatchReader.from_stream(feed).read_all()


def _check_counts(ids: Rows, version: Rows, sign: Rows, start: Rows) -> None:
    """Each version takes away only what was there, and leaves at most one row of a key."""
    order = np.lexsort((sign, version, ids))  # of one version, what is taken away comes first
    key, delta = ids[order], sign[order]
    running = np.cumsum(delta)
    begins = np.flatnonzero(np.r_[True, key[1:] != key[:-1]])
    before = np.repeat(running[begins] - delta[begins], np.diff(np.r_[begins, len(key)]))
    count = running - before + start[key]
    if ((count < 0) | (count > 1)).any():
        raise NotExact("the change feed has two rows of one key in a version")


def from_files(
    table: DeltaTable, commits: Commits, old: Snapshot, schema: pa.Schema, latest_by: str | None = None
) -> Difference:
    """Read the files that came, and the keys of those that went (none, where the latest of several rows counts).

    Raises:
        NotExact: a file cannot be read by itself, or a key has two rows.
    """
    keys = old.meta.keys
    if is_remote(table.table_uri):
        raise NotExact("data files of an object store are not read one by one")
    if set(table.metadata().partition_columns) & set(schema.names):
        raise NotExact("a column of the snapshot is a partition column")
    root = Path(table.table_uri.removeprefix("file://"))
    removed = _read_files(root, list(commits.removed), pa.schema([schema.field(key) for key in keys]), keys)
    rows = _read_files(root, list(commits.added), schema, keys)
    if latest_by is not None:
        return _latest_added(rows, old, schema, latest_by)
    both = pa.concat_tables([rows.select(keys), removed.select(keys)]).combine_chunks()
    if not both.num_rows:
        return Difference(rows, removed)
    ids, first = _key_ids(both, keys)
    came = np.bincount(ids[: rows.num_rows], minlength=len(first))
    went = np.bincount(ids[rows.num_rows :], minlength=len(first))
    firsts = both.take(pa.array(first))
    start = old.look_up(_arrays(firsts, keys), ()).matched.astype(np.int64)
    if (came > 1).any() or (went > start).any() or (start - went + came > 1).any():
        raise NotExact("two rows have one key")
    return Difference(rows, firsts.filter(pa.array(came == 0)))


def _read_files(root: Path, paths: Sequence[str], schema: pa.Schema, keys: Sequence[str]) -> pa.Table:
    import pyarrow.parquet as pq  # noqa: PLC0415 - most refreshes read a change feed

    tables = [schema.empty_table()]
    for path in paths:
        file = root / unquote(path)
        try:
            names = pq.read_schema(file).names
            read = pq.read_table(
                file,
                columns=[name for name in schema.names if name in names],
                partitioning=None,
                coerce_int96_timestamp_unit="us",
            )
        except OSError as error:
            raise NotExact(f"the data file {path} cannot be read: {error}") from error
        for field in schema:
            if field.name not in names:
                read = read.append_column(field.name, pa.nulls(read.num_rows, field.type))
        tables.append(_plain_table(read, schema))
    rows = pa.concat_tables(tables).combine_chunks()
    return rows.filter(pa.array(present(_arrays(rows, keys))))


def _key_ids(rows: pa.Table, keys: Sequence[str]) -> tuple[Rows, Rows]:
    """A number for each row's key, and the first row of each number."""
    columns = _arrays(rows, keys)
    _, first, ids = np.unique(key_hashes(columns), return_index=True, return_inverse=True)
    if not same_keys(columns, np.arange(len(ids)), columns, first[ids]).all():
        raise NotExact("two keys have one hash")
    return ids, first


def _arrays(rows: pa.Table, columns: Sequence[str]) -> list[pa.Array]:
    return [_array(rows[column]) for column in columns]


def _array(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _plain_table(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    return pa.Table.from_arrays([plain(rows[field.name], field.type) for field in schema], schema=schema)
