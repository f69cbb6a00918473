"""How many rows of each file a target holds of a batch: counted in what was committed, by delta-rs, without Spark."""

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder

from include.config.errors import StorageError
from include.ledger.outcomes import BATCH, SOURCE_FILE, SOURCE_VERSION
from include.ledger.tables import storage_errors

Key = tuple[str, int]
TYPE_WIDENING, DELETION_VECTORS = "typeWidening", "deletionVectors"


def rows_loaded(table: DeltaTable, rescued: str | None, batch: int) -> Mapping[Key, tuple[int, int]]:
    """The rows of each file and version in a batch, and in how many of them something was rescued.

    Raises:
        StorageError: the table cannot be read.
    """
    if rescued not in [field.name for field in table.schema().fields]:
        rescued = None
    with storage_errors("Counting rows", table.table_uri):
        if TYPE_WIDENING in (table.protocol().reader_features or ()):
            rows = _counted_in_files(table, rescued, batch)
        else:
            rows = _counted_by_query(table, rescued, batch)
    return {(row["path"], row["version"]): (row["rows"], row["rescued"]) for row in rows}


def _counted_by_query(table: DeltaTable, rescued: str | None, batch: int) -> list[dict[str, Any]]:
    count = "0" if rescued is None else f"count({_identifier(rescued)})"
    query = (
        f"SELECT {SOURCE_FILE} AS path, {SOURCE_VERSION} AS version, count(*) AS rows, {count} AS rescued FROM target "
        f"WHERE {BATCH} = {batch} GROUP BY {SOURCE_FILE}, {SOURCE_VERSION}"
    )
    counted: list[dict[str, Any]] = pa.table(QueryBuilder().register("target", table).execute(query)).to_pylist()
    return counted


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _counted_in_files(table: DeltaTable, rescued: str | None, batch: int) -> list[dict[str, Any]]:
    """The same, in the data files themselves: delta-rs 1.6 scans no table that has the feature typeWidening, although
    the columns that are counted have one type in all files.
    """
    import pyarrow.compute as pc  # noqa: PLC0415 - few tables need it
    import pyarrow.fs as pa_fs  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415
    from deltalake.fs import DeltaStorageHandler  # noqa: PLC0415

    if DELETION_VECTORS in (table.protocol().reader_features or ()):
        raise StorageError(
            f"{table.table_uri} has both deletion vectors and widened types: its rows cannot be counted without Spark.",
            remedy="ALTER TABLE ... DROP FEATURE deletionVectors, or load into a new table.",
            location=table.table_uri,
        )
    storage = pa_fs.PyFileSystem(DeltaStorageHandler.from_table(table._table))
    wanted = [SOURCE_FILE, SOURCE_VERSION, BATCH, *([rescued] if rescued else [])]
    parts = []
    for path in _files_of(table, batch):
        there = pq.read_schema(path, filesystem=storage).names
        columns = [name for name in wanted if name in there]  # a file may be older than the rescue column
        # In this thread: those of Arrow would call into Python, and abort a process that ends meanwhile.
        here: dict[str, Any] = {"use_threads": False, "pre_buffer": False, "partitioning": None}
        rows = pq.read_table(path, columns=columns, filesystem=storage, **here)
        rows = rows.filter(pc.equal(rows[BATCH], batch))
        left = rows[rescued] if rescued in columns else pa.nulls(rows.num_rows, pa.string())
        parts.append(pa.table({"path": rows[SOURCE_FILE], "version": rows[SOURCE_VERSION], "left": left}))
    if not parts:
        return []
    counts = pa.concat_tables(parts).group_by(["path", "version"]).aggregate([([], "count_all"), ("left", "count")])
    counted: list[dict[str, Any]] = counts.rename_columns(["path", "version", "rows", "rescued"]).to_pylist()
    return counted


def _files_of(table: DeltaTable, batch: int) -> Iterator[str]:
    """The data files that may hold rows of the batch, by their statistics; those without statistics as well."""
    files = pa.table(table.get_add_actions(flatten=True))
    columns = [f"{side}.{BATCH}" for side in ("min", "max")]
    if not set(columns) <= set(files.column_names):
        yield from files["path"].to_pylist()
        return
    for path, first, last in zip(*(files[name].to_pylist() for name in ("path", *columns)), strict=True):
        if first is None or last is None or first <= batch <= last:
            yield path
