"""Small Delta tables of the state folder, by delta-rs: open, read columns, append rows. No Spark, no JVM.

Credentials of object stores come from the environment (AWS_*, GOOGLE_*, AZURE_*), as delta-rs and obstore read them.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from include.config.errors import StorageError
from include.config.settings import is_remote

# Above this many data files a side table is compacted after an append: a read costs about 0.3 ms for each.
COMPACT_ABOVE_FILES = 200
# Of tables that each run or batch commits to, and opens several times: delta-rs makes a checkpoint each 100 versions
# where the table does not say, and reads a log of thirty entries in a tenth of a second.
OFTEN_WRITTEN: Mapping[str, str | None] = {"delta.checkpointInterval": "10"}


@contextmanager
def storage_errors(doing: str, location: str) -> Iterator[None]:
    """Turn what delta-rs and the operating system raise into a StorageError that says what was done, and where."""
    try:
        yield
    except (DeltaError, OSError) as error:
        raise StorageError(
            f"{doing} failed at {location}: {error}",
            remedy="Check that the location can be reached, written and has free space; then run again.",
            location=location,
        ) from error


def open_table(location: str, version: int | None = None) -> DeltaTable | None:
    """The Delta table at a local path or URI (at its latest version unless one is given), None where there is none.

    Raises:
        StorageError: the location cannot be read.
    """
    with storage_errors("Opening the Delta table", location):
        try:
            return DeltaTable(location, version=version)
        except TableNotFoundError:
            return None


def read(table: DeltaTable, columns: Sequence[str], predicate: str | None = None) -> pa.Table:
    """The rows of a table that fulfil an SQL predicate, only the named columns, in no particular order.

    Strings come as plain Arrow strings: not all compute functions take the views that the scan returns.
    """
    with storage_errors("Reading the Delta table", table.table_uri):
        scan = table.scan(columns=list(columns), predicate=predicate)
        rows = pa.RecordBatchReader.from_stream(scan).read_all()  # pa.table would import pandas
    return rows.select(list(columns)).cast(pa.schema([_plain(rows.schema.field(name)) for name in columns]))


def append(location: str, rows: pa.Table) -> None:
    """Append rows to a side table in one commit; the table is created by its first rows.

    Side tables are read as a whole and streamed by nobody, so many small files are merged on the way.
    """
    from deltalake.writer import write_deltalake  # noqa: PLC0415 - runs that write nothing do not pay for the import

    with storage_errors("Writing the Delta table", location):
        write_deltalake(location, rows, mode="append")
        table = DeltaTable(location)
        if len(table.get_add_actions()) > COMPACT_ABOVE_FILES:
            table.optimize.compact()


def write_parquet(location: str, name: str, rows: pa.Table) -> int:
    """Write rows as a data file of the table at `location`; returns its size in bytes. No commit names it yet."""
    import pyarrow.parquet as pq  # noqa: PLC0415 - runs that write nothing do not pay for the import

    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink, compression="zstd")
    data = sink.getvalue()
    if is_remote(location):
        _put_remote(location, name, data)
    else:
        Path(location, name).write_bytes(memoryview(data))
    return int(data.size)


def _put_remote(location: str, name: str, data: pa.Buffer) -> None:
    import obstore  # noqa: PLC0415 - not needed for local state
    from obstore.exceptions import BaseError  # noqa: PLC0415
    from obstore.store import from_url  # noqa: PLC0415

    try:
        obstore.put(from_url(location), name, data.to_pybytes())
    except BaseError as error:
        raise OSError(str(error)) from error


def _plain(field: pa.Field) -> pa.Field:
    """The field as our schemas have it: plain strings, and nothing said about nulls."""
    return pa.field(field.name, pa.string() if pa.types.is_string_view(field.type) else field.type)
