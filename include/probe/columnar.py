"""The probe of Parquet and ORC files: their footers always, all of their bytes where Spark could be led astray.

Every byte of a small file is decoded here, in a process with limits on time and memory, because a damaged page can hang
or crash Spark's vectorised reader and take the batch with it. Of a large file only the structure is looked at, which
costs nothing beside reading it; if Spark then fails on the batch, all its files are looked at thoroughly.
"""

from collections.abc import Iterable
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from include.probe.file_types import file_schema
from include.probe.report import FileReport, ProbeTask
from include.probe.streams import BrokenFileError, open_planned

MAGIC = b"PAR1"
SPARK_SCHEMA = b"org.apache.spark.sql.parquet.row.metadata"
SMALL = 1 << 20  # bytes: decoding them costs less than Spark's opening of the file
BATCH_ROWS = 1 << 14
MAX_ROWS_PER_BYTE = 1 << 22  # run lengths pack well; beyond this a row count is a lie that would cost hours


def probe_parquet(task: ProbeTask) -> FileReport:
    """The count in the footer, checked against the row groups, and the schema."""
    with open_planned(task.planned) as raw:
        try:
            file = pq.ParquetFile(_seekable(raw))
            shape = _shape(file)
            _refuse_lies(file.metadata, task.planned.size)
            if task.thorough or task.planned.size <= SMALL:
                _refuse_short(_validated(file.iter_batches(BATCH_ROWS)), file.metadata.num_rows)
            columns = file_schema(file.schema_arrow) if task.columns is not None else None
            return FileReport(task.path, "ok", "", file.metadata.num_rows, shape=shape, columns=columns)
        except _DAMAGE as error:
            raise BrokenFileError(f"not a readable Parquet file: {_first_line(error)}") from None


def _validated(parts: Iterable[pa.RecordBatch]) -> int:
    """The number of rows, after a look at each value: texts must be UTF-8, decimals have their digits.

    No reader looks: a text that is none would be in the table, and whoever reads that in Python would fail at it.
    """
    rows = 0
    for part in parts:
        part.validate(full=True)
        rows += part.num_rows
    return rows


def _shape(file: pq.ParquetFile) -> tuple[str, ...]:
    """The columns, with all that decides on the types that Spark gives them."""
    leaves: dict[str, list[str]] = {}
    for index in range(len(file.schema)):
        leaf = file.schema.column(index)
        kind = f"{leaf.path} {leaf.physical_type} {leaf.logical_type} {leaf.converted_type} {leaf.max_repetition_level}"
        leaves.setdefault(leaf.path.split(".")[0], []).append(kind)
    written = (file.schema_arrow.metadata or {}).get(SPARK_SCHEMA, b"").decode("utf-8", "replace")
    columns = [f"{f.name}: {f.type} {leaves.get(f.name, '')}" for f in file.schema_arrow]
    return (*columns[:-1], f"{columns[-1]} {written}") if columns else ()


_DAMAGE = (pa.ArrowException, OSError, ValueError, KeyError, IndexError, OverflowError, RecursionError)


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300]


def _refuse_lies(footer: Any, size: int) -> None:
    """Compare the footer's numbers with each other and with the file's size.

    Raises:
        BrokenFileError: they contradict each other.
    """
    groups = [footer.row_group(index) for index in range(footer.num_row_groups)]
    if sum(group.num_rows for group in groups) != footer.num_rows:
        raise BrokenFileError("not a readable Parquet file: its row groups do not add up to its number of rows")
    if footer.num_rows > size * MAX_ROWS_PER_BYTE:
        raise BrokenFileError(f"not a readable Parquet file: {footer.num_rows} rows in {size} bytes")
    for group in groups:
        for index in range(group.num_columns):
            _refuse_lying_column(group.column(index), group.num_rows, size)


def _refuse_lying_column(column: Any, rows: int, size: int) -> None:
    start = column.data_page_offset
    if column.has_dictionary_page and column.dictionary_page_offset is not None:
        start = min(start, column.dictionary_page_offset)
    if (
        not len(MAGIC) <= start <= size
        or column.total_compressed_size < 0
        or start + column.total_compressed_size > size
    ):
        raise BrokenFileError(f"not a readable Parquet file: column {column.path_in_schema} lies outside of it")
    if column.num_values < rows:
        raise BrokenFileError(
            f"not a readable Parquet file: column {column.path_in_schema} "
            f"has {column.num_values} values for {rows} rows"
        )


def _refuse_short(read: int, promised: int) -> None:
    if read != promised:
        raise BrokenFileError(f"has {read} rows, its footer says {promised}")


def probe_orc(task: ProbeTask) -> FileReport:
    """The count in the footer and the schema."""
    from pyarrow import orc  # noqa: PLC0415  Parquet does without

    with open_planned(task.planned) as raw:
        try:
            file = orc.ORCFile(_seekable(raw))
            shape = tuple(f"{f.name}: {f.type}" for f in file.schema)
            if task.thorough or task.planned.size <= SMALL:
                _refuse_short(_validated(file.read_stripe(index) for index in range(file.nstripes)), file.nrows)
            columns = file_schema(file.schema) if task.columns is not None else None
            return FileReport(task.path, "ok", "", file.nrows, shape=shape, columns=columns)
        except _DAMAGE as error:
            raise BrokenFileError(f"not a readable ORC file: {_first_line(error)}") from None


def _seekable(raw: IO[bytes]) -> Any:
    """A stream that can go back: object stores' cannot, and a footer is read first."""
    return raw if raw.seekable() else pa.BufferReader(raw.read())
