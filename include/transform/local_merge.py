"""A MERGE by delta-rs: of rows that fit into the driver's memory, into a table on this host's disk. No Spark, no JVM.

Delta-Spark's MERGE takes a second or two to plan and compile its queries, whatever there is to do; this one takes
milliseconds, and is a commit like any other: one entry of the log with the batch's number as transaction, put there
only if no other process put one, with the change feed where the table has it. What a table or its rows need that
delta-rs does not do alike is left to Delta-Spark: `LocalMerge.open` returns None.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction

from include.config.errors import TableLocked
from include.config.settings import is_remote
from include.ledger.tables import open_table

# Of the files that a merge reads and writes again.
MOST_BYTES = 32 * 1024 * 1024
# Delta-Spark cuts the bounds of times in a file's statistics to milliseconds.
_SLACK = 1000
_FEATURES = {"appendOnly", "invariants", "changeDataFeed", "timestampNtz"}
_LAST_PLAIN_WRITER = 4
# Keys of these types are equal here where they are equal to Spark; a float's NaN and -0.0, and collations, are not.
_KEYS = ("string", "byte", "short", "integer", "long", "boolean", "date", "timestamp", "decimal")
_VALUES = (*_KEYS, "float", "double", "binary")
# Keys of a field's metadata that make a column more than its values.
_RULES = ("delta.generationExpression", "delta.invariants", "delta.identity", "CURRENT_DEFAULT", "__COLLATIONS")


class NotMerged(Exception):
    """Raised when delta-rs could not merge, and nothing was committed: Delta-Spark is to do it."""


@dataclass(frozen=True)
class Span:
    """A part of time: rows whose `start` is at most `last` and whose `end` is at least `first` (both in micros)."""

    first: int
    last: int


@dataclass(frozen=True)
class Spans:
    """The times of the rows that a merge may meet: of the columns `start` and `end`, which may be the same."""

    start: str
    end: str
    parts: Sequence[Span]

    def condition(self) -> str:
        """As SQL over the target (t), so that files of other times are passed over."""
        texts = (
            f"(t.{quoted(self.start)} <= {_moment(part.last + _SLACK)} "
            f"AND t.{quoted(self.end)} >= {_moment(part.first - _SLACK)})"
            for part in self.parts
        )
        return f"({' OR '.join(texts)})"


@dataclass(frozen=True)
class Identity:
    """What tells rows apart: columns that are never NULL, and others, where NULL is a value like any other.

    `spans` are the times of the rows to be merged; None where they are not known.
    """

    never_null: Sequence[str]
    keys: Sequence[str]
    spans: Spans | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.never_null, *self.keys)

    def condition(self) -> str:
        """As SQL over the target (t) and the rows (s)."""
        return " AND ".join(
            [
                *(f"t.{quoted(name)} = s.{quoted(name)}" for name in self.never_null),
                # In brackets: all that follows would be taken for its right side.
                *(f"(t.{quoted(name)} IS NOT DISTINCT FROM s.{quoted(name)})" for name in self.keys),
                *([] if self.spans is None else [self.spans.condition()]),
            ]
        )


@dataclass(frozen=True)
class LocalMerge:
    """A table that delta-rs can merge into, at one version."""

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

    def files(self, spans: Spans | None) -> list[str] | None:
        """The paths of the data files that may hold rows of these times; None where they are too many bytes.

        A file whose statistics do not say is one of them.
        """
        found = pa.RecordBatchReader.from_stream(self.table.get_add_actions(flatten=True)).read_all()
        wanted = {"path", "size_bytes"} | (set() if spans is None else {f"min.{spans.start}", f"max.{spans.end}"})
        files = found.select([name for name in found.column_names if name in wanted]).to_pylist()
        near = [file for file in files if spans is None or _may_hold(file, spans)]
        if sum(file["size_bytes"] for file in near) > MOST_BYTES:
            return None
        return [str(Path(self.location, unquote(file["path"]))) for file in near]

    def commit(
        self, rows: pa.Table, identity: "Identity", note: str, transaction: tuple[str, int], gone: str = ""
    ) -> None:
        """Put rows in the place of those with equal keys, of which each side has one; others are added.

        `transaction` is the application's id and the version. With `gone`, a boolean column of `rows`, those where it
        is true are deleted. One commit, on the version that was opened.

        Raises:
            TableLocked: another process committed meanwhile.
            NotMerged: delta-rs could not, and committed nothing.
        """
        app, batch = transaction
        properties = CommitProperties(
            custom_metadata={"userMetadata": note},
            max_commit_retries=0,
            app_transactions=[Transaction(app, batch)],
        )
        merge = self.table.merge(
            rows,
            identity.condition(),
            source_alias="s",
            target_alias="t",
            # Else files are passed over by the exact bounds of the rows, and the bounds of files are not exact.
            streamed_exec=True,
            commit_properties=properties,
        )
        stays = f"NOT s.{quoted(gone)}" if gone else None
        left_out = [gone] if gone else []
        if gone:
            merge = merge.when_matched_delete(predicate=f"s.{quoted(gone)}")
        merge = merge.when_matched_update_all(predicate=stays, except_cols=left_out)
        try:
            merge.when_not_matched_insert_all(predicate=stays, except_cols=left_out).execute()
        except Exception as error:  # delta-rs raises that itself, of values that it cannot cast
            if DeltaTable(self.location).version() != self.table.version():
                raise TableLocked(
                    f"Another process committed to {self.location} meanwhile: {error}", remedy="Run again."
                ) from error
            raise NotMerged(str(error)) from error


def quoted(name: str) -> str:
    """A column as delta-rs takes it."""
    return "`" + name.replace("`", "``") + "`"


def _moment(micros: int) -> str:
    return f"arrow_cast({micros}, 'Timestamp(Microsecond, Some(\"UTC\"))')"


def _may_hold(file: dict[str, Any], spans: Spans) -> bool:
    least, most = (_micros(file.get(name)) for name in (f"min.{spans.start}", f"max.{spans.end}"))
    return any(
        (least is None or least <= part.last + _SLACK) and (most is None or most >= part.first - _SLACK)
        for part in spans.parts
    )


def _micros(moment: Any) -> int | None:
    return None if moment is None else round(moment.timestamp() * 1_000_000)


def _plain(table: DeltaTable) -> bool:
    protocol, metadata = table.protocol(), table.metadata()
    features = {*(protocol.writer_features or ()), *(protocol.reader_features or ())}
    rules = [key for key in metadata.configuration if key.startswith("delta.constraints.")]
    known = features <= _FEATURES if features else protocol.min_writer_version <= _LAST_PLAIN_WRITER
    return known and not rules and not metadata.partition_columns


def _plain_columns(table: DeltaTable, keys: Collection[str]) -> bool:
    fields = json.loads(table.schema().to_json())["fields"]
    if any(rule in (field.get("metadata") or {}) for field in fields for rule in _RULES):
        return False
    kinds = {field["name"]: field["type"] for field in fields}
    if not {*keys} <= {*kinds} or not all(_is(kinds[key], _KEYS) for key in keys):
        return False
    return all(_known(kind) for kind in kinds.values())


def _is(kind: Any, names: Sequence[str]) -> bool:
    return isinstance(kind, str) and kind.partition("(")[0] in names


def _known(kind: Any) -> bool:
    if isinstance(kind, str):
        return _is(kind, (*_VALUES, "timestamp_ntz"))
    if kind["type"] == "struct":
        return all(_known(field["type"]) for field in kind["fields"])
    if kind["type"] == "array":
        return _known(kind["elementType"])
    return kind["type"] == "map" and _known(kind["keyType"]) and _known(kind["valueType"])
