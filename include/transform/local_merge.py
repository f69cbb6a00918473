"""A MERGE without Spark and JVM: of rows that fit into the driver's memory, into a table on this host's disk.

Delta-Spark's MERGE takes a second or two to plan and compile its queries, whatever there is to do; this one takes
milliseconds. Files that hold a row of equal keys are written anew, in the order of time and cut where they have grown,
so that the next merge finds small files of few times. What a table or its rows need that is not done alike here is left
to Delta-Spark: `LocalMerge.open` returns None.

It is a commit like any other: one entry of the log with the batch's number as transaction, put there only if no other
process put one, with the change feed where the table has it.

| killed after | left behind | the next run |
|---|---|---|
| a data file, or a file of the change feed | files that no commit names; VACUUM takes them | does the batch |
| the entry, beside its name | a hidden file in the log, which no reader looks at | does the batch |
| the entry has its name | a done batch | goes on after it |
| a part of a checkpoint | a log that is read from the checkpoint before | goes on after the batch |
"""

import json
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable

from include.config.errors import TableLocked
from include.config.settings import is_remote
from include.ledger.tables import open_table
from include.transform import log_entry
from include.transform.commits import CHANGE_FEED
from include.transform.log_entry import Entry, Taken
from include.transform.near_rows import File, Identity, Near, NotMerged, Spans
from include.transform.rewrite import Rewrite

# Of the files that a merge reads: rows that are alike take few bytes in a file, and many in memory.
MOST_BYTES = 32 * 1024 * 1024
MOST_ROWS = 2_000_000
_FEATURES = {"appendOnly", "invariants", "changeDataFeed", "timestampNtz"}
_LAST_PLAIN_WRITER = 4
# Keys of these types are equal here where they are equal to Spark; a float's NaN and -0.0, and collations, are not.
_KEYS = ("string", "byte", "short", "integer", "long", "boolean", "date", "timestamp", "decimal")
_VALUES = (*_KEYS, "float", "double", "binary")
# Of a field's metadata; any other key may make a column more than its values: generated, of so many characters at most.
_HARMLESS = ("comment", "sluice.")


@dataclass(frozen=True)
class LocalMerge:
    """A table that can be merged into here, at one version."""

    location: str
    table: DeltaTable

    @classmethod
    def open(cls, location: str, keys: Collection[str]) -> "LocalMerge | None":
        """The table at a path, to be merged into by these key columns; None where that is Delta-Spark's work.

        Raises:
            StorageError: the table cannot be read.
        """
        table = None if is_remote(location) else open_table(location)
        if table is None or not _plain(table) or not _plain_columns(table, keys):
            return None
        return cls(location, table)

    @property
    def schema(self) -> dict[str, Any]:
        """The table's schema in Delta's JSON form, which is Spark's."""
        found: dict[str, Any] = json.loads(self.table.schema().to_json())
        return found

    @property
    def arrow_schema(self) -> pa.Schema:
        """The same as Arrow has it."""
        return pa.schema(self.table.schema().to_arrow())

    def near(self, spans: Spans | None) -> Near | None:
        """The rows of the data files that may hold rows of these times; None where they are too many bytes.

        A file whose statistics do not say is one of them.

        Raises:
            NotMerged: a file cannot be read here.
        """
        found = pa.RecordBatchReader.from_stream(self.table.get_add_actions(flatten=True)).read_all()
        bounds = () if spans is None else (f"min.{spans.start}", f"max.{spans.end}")
        wanted = {
            name: found[name] for name in ("path", "size_bytes", "num_records", *bounds) if name in found.column_names
        }
        wanted.update({name: _micros(wanted[name]) for name in bounds if name in wanted})
        files = pa.table(wanted).to_pylist()
        near = [file for file in files if spans is None or spans.meet(*(file.get(name) for name in bounds))]
        rows = sum(file["num_records"] or 0 for file in near)
        if sum(file["size_bytes"] for file in near) > MOST_BYTES or rows > MOST_ROWS:
            return None
        return Near.read(self.location, [File(file["path"], file["size_bytes"]) for file in near], self.arrow_schema)

    def commit(
        self, near: Near, rows: pa.Table, identity: Identity, note: str, transaction: tuple[str, int], gone: str = ""
    ) -> None:
        """Put rows in the place of those with equal keys, of which each side has one; others are added.

        `near` are the rows of all files that may hold such rows, `transaction` is the application's id and the version.
        With `gone`, a boolean column of `rows`, those where it is true are deleted. One commit, on the version that was
        opened.

        Raises:
            TableLocked: another process committed meanwhile, or has brought this batch in before.
            NotMerged: it could not be done here, and nothing was committed.
        """
        app, batch = transaction
        if (self.table.transaction_version(app) or -1) >= batch:
            raise TableLocked(
                f"Another process has written batch {batch} of {app} to {self.location}.", remedy="Run again."
            )
        try:
            merge = Rewrite.of(near, rows, self.arrow_schema, identity, gone)
            now = int(time.time() * 1000)
            entry = Entry(note, transaction, merge.figures)
            changes = merge.changes() if merge.touched.size and self._feeds else None
            files = log_entry.written(self.location, merge.parts(), changes, now)
            actions = [*entry.lines(self.table.version(), now), *merge.gone(now), *files]
            log_entry.put(self.table, self.location, actions)
        except Taken as error:
            raise TableLocked(
                f"Another process committed to {self.location} meanwhile: {error}", remedy="Run again."
            ) from error
        except (OSError, pa.ArrowException) as error:
            raise NotMerged(str(error)) from error

    @property
    def _feeds(self) -> bool:
        return str(self.table.metadata().configuration.get(CHANGE_FEED, "false")).lower() == "true"


def _micros(moments: pa.ChunkedArray) -> pa.ChunkedArray:
    return moments.cast(pa.timestamp("us", "UTC")).cast(pa.int64())


def _plain(table: DeltaTable) -> bool:
    protocol, metadata = table.protocol(), table.metadata()
    features = {*(protocol.writer_features or ()), *(protocol.reader_features or ())}
    rules = [key for key in metadata.configuration if key.startswith("delta.constraints.")]
    only_grows = str(metadata.configuration.get("delta.appendOnly", "false")).lower() == "true"
    known = features <= _FEATURES if features else protocol.min_writer_version <= _LAST_PLAIN_WRITER
    return known and not rules and not only_grows and not metadata.partition_columns


def _plain_columns(table: DeltaTable, keys: Collection[str]) -> bool:
    fields = json.loads(table.schema().to_json())["fields"]
    kinds = {field["name"]: field["type"] for field in fields}
    if not {*keys} <= {*kinds} or not all(_is(kinds[key], _KEYS) for key in keys):
        return False
    return all(_plain_field(field) for field in fields)


def _plain_field(field: Mapping[str, Any]) -> bool:
    harmless = all(key.startswith(_HARMLESS) for key in field.get("metadata") or {})
    return bool(field["nullable"]) and harmless and _known(field["type"])


def _is(kind: Any, names: Sequence[str]) -> bool:
    return isinstance(kind, str) and kind.partition("(")[0] in names


def _known(kind: Any) -> bool:
    if isinstance(kind, str):
        return _is(kind, (*_VALUES, "timestamp_ntz"))
    if kind["type"] == "struct":
        return all(_plain_field(field) for field in kind["fields"])
    if kind["type"] == "array":
        return bool(kind["containsNull"]) and _known(kind["elementType"])
    return kind["type"] == "map" and _known(kind["keyType"]) and _known(kind["valueType"])
