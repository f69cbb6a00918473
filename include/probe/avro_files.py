"""The probe of Avro files: every block is decoded, and the records are copied to Parquet for Spark.

Spark's own Avro reader is not part of PySpark; this one checks each block's count, length and sync marker, and turns
types as Spark's does: enum to string, fixed to binary, a union with null to a nullable column, logical types to theirs.
"""

import zlib
from collections.abc import Iterator, Mapping
from typing import IO, Any, cast
from uuid import UUID

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq

from include.probe.file_types import file_schema
from include.probe.report import FileReport, ProbeTask
from include.probe.spool import spooled
from include.probe.streams import BrokenFileError, SupersededError, open_planned

CHUNK = 10_000  # records that are written at a time
MAX_EMPTY = 1_000_000  # records without a byte that a block may promise
_PRIMITIVES = {
    "null": pa.null(),
    "boolean": pa.bool_(),
    "int": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "bytes": pa.binary(),
    "string": pa.string(),
    "enum": pa.string(),
    "fixed": pa.binary(),
}
_LOGICAL = {
    ("int", "date"): pa.date32(),
    ("int", "time-millis"): pa.time32("ms"),
    ("long", "time-micros"): pa.time64("us"),
    ("long", "timestamp-millis"): pa.timestamp("us", "UTC"),
    ("long", "timestamp-micros"): pa.timestamp("us", "UTC"),
    ("long", "local-timestamp-millis"): pa.timestamp("us"),
    ("long", "local-timestamp-micros"): pa.timestamp("us"),
}


def probe_avro(task: ProbeTask) -> FileReport:
    """Decode the whole file; its records go to a copy in Parquet."""
    with open_planned(task.planned) as raw:
        try:
            return _read(task, raw)
        except (BrokenFileError, SupersededError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001  it trusts its input: where that lies, it or a codec raises anything
            text = str(error).strip() or type(error).__name__
            raise BrokenFileError(f"not a readable Avro file: {text.splitlines()[0][:300]}") from None


class _Stream:
    """What fastavro reads from: it counts the bytes, as object stores' streams do not, and keeps the last two reads."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw, self._at = raw, 0
        self.last = b"", b""

    def read(self, size: int) -> bytes:
        data = self._raw.read(size)
        self._at += len(data)
        self.last = self.last[1], data
        return data

    def tell(self) -> int:
        return self._at


def _whole(stream: _Stream, size: int) -> Iterator[Any]:
    """The writer's schema, then the blocks of a file.

    Raises:
        BrokenFileError: fastavro does not look: a checksum is wrong, or there is something after the last block.
    """
    blocks: Any = fastavro.block_reader(cast(IO[bytes], stream))
    yield blocks.writer_schema
    end = stream.tell()
    for block in blocks:
        end = block.offset + block.size
        # Read last were the checksum and the marker between blocks.
        if block.codec == "snappy" and zlib.crc32(block.bytes_.getbuffer()).to_bytes(4, "big") != stream.last[0]:
            raise BrokenFileError("not a readable Avro file: a block is not what its checksum says")
        yield block
    if end != size:
        raise BrokenFileError(f"not a readable Avro file: its blocks end at byte {end} of {size}")


def _read(task: ProbeTask, raw: IO[bytes]) -> FileReport:
    blocks = _whole(_Stream(raw), task.planned.size)
    schema = _Schema(next(blocks)).arrow()
    shape = tuple(f"{f.name}: {f.type}" for f in schema)
    if task.spool is None:
        records = sum(len(chunk) for chunk in _chunks(blocks))
        columns = file_schema(schema) if task.columns is not None else None
        return FileReport(task.path, "ok", "", records, shape=shape, columns=columns)
    records = 0
    with spooled(task.spool, ".parquet") as (location, out), pq.ParquetWriter(out, schema) as writer:
        for chunk in _chunks(blocks):
            writer.write_table(pa.Table.from_pylist(chunk, schema=schema))
            records += len(chunk)
    return FileReport(task.path, "ok", "", records, shape=shape, spool=location, reads_as="parquet")


def _chunks(blocks: Iterator[Any]) -> Iterator[list[dict[str, Any]]]:
    chunk: list[dict[str, Any]] = []
    for block in blocks:
        size = len(block.bytes_.getbuffer())
        if block.num_records < 0 or block.num_records > max(size, 0) + MAX_EMPTY:
            raise BrokenFileError(f"not a readable Avro file: a block of {size} bytes says {block.num_records} records")
        for record in block:
            if not isinstance(record, dict):
                raise BrokenFileError("its values are no records: only files of records can be rows")
            chunk.append(_plain(record))
            if len(chunk) == CHUNK:
                yield chunk
                chunk = []
        if block.bytes_.tell() != size:
            raise BrokenFileError("not a readable Avro file: a block is longer than its records")
    if chunk:
        yield chunk


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return str(value) if isinstance(value, UUID) else value


class _Schema:
    """A writer's schema as Arrow's.

    Raises:
        BrokenFileError: it has a type that no column can have.
    """

    def __init__(self, writer: Any) -> None:
        self._writer = writer
        self._named: dict[str, Any] = {}

    def arrow(self) -> pa.Schema:
        """The columns of a file of records."""
        if not isinstance(self._writer, dict) or self._writer.get("type") != "record":
            raise BrokenFileError("its values are no records: only files of records can be rows")
        if not self._writer["fields"]:
            raise BrokenFileError("its records have no fields, so that there is nothing to load")
        return pa.schema(list(self._type(self._writer, ())))

    def _type(self, kind: Any, above: tuple[str, ...]) -> pa.DataType:
        if isinstance(kind, list):
            return self._union(kind, above)
        if isinstance(kind, str):
            return self._type(self._named[kind], above) if kind in self._named else self._primitive(kind, {})
        if not isinstance(kind["type"], str):
            return self._type(kind["type"], above)
        return self._complex(kind["type"], kind, above)

    def _complex(self, name: str, kind: Mapping[str, Any], above: tuple[str, ...]) -> pa.DataType:
        if name in ("record", "error"):
            return self._record(kind, above)
        if name == "array":
            return pa.list_(self._type(kind["items"], above))
        if name == "map":
            return pa.map_(pa.string(), self._type(kind["values"], above))
        if name in ("enum", "fixed"):
            self._named[kind["name"]] = kind
        return self._primitive(name, kind)

    def _record(self, kind: Mapping[str, Any], above: tuple[str, ...]) -> pa.DataType:
        name = kind["name"]
        if name in above:
            raise BrokenFileError(f"its type {name} holds itself: no table can have such a column")
        self._named[name] = kind
        return pa.struct([pa.field(f["name"], self._type(f["type"], (*above, name))) for f in kind["fields"]])

    def _union(self, kinds: list[Any], above: tuple[str, ...]) -> pa.DataType:
        some = [self._type(kind, above) for kind in kinds if kind != "null"]
        if not some:
            return pa.null()
        if len(some) == 1:
            return some[0]
        for wide, narrow in ((pa.int64(), pa.int32()), (pa.float64(), pa.float32())):
            if set(some) == {wide, narrow}:
                return wide
        raise BrokenFileError(f"a union of {' and '.join(map(str, some))} is not supported")

    def _primitive(self, name: str, kind: Mapping[str, Any]) -> pa.DataType:
        logical = kind.get("logicalType")
        if logical == "decimal" and name in ("bytes", "fixed"):
            return pa.decimal128(kind["precision"], kind.get("scale", 0))
        found = _LOGICAL.get((name, str(logical))) or _PRIMITIVES.get(name)
        if found is None:
            raise BrokenFileError(f"has an unknown type {name}")
        return found
