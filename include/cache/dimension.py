"""What is cached: a table, the columns to match by, the columns to add. Equal dimensions share their snapshots."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable

from include.cache.errors import CannotCache
from include.cache.keys import key_family
from include.config.errors import ConfigError
from include.ledger.tables import open_table

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
_CHAR = re.compile(r"(?<!var)char\(", re.IGNORECASE)
# Delta's types that delta-rs, Arrow and Spark hold alike; variant, for one, comes with its parts in another order.
_TYPES = frozenset(
    "string binary boolean byte short integer long float double date timestamp timestamp_ntz".split()  # noqa: SIM905
)


class NoSuchColumn(ConfigError):
    """Raised when a dimension does not have a column that is asked of it."""


@dataclass(frozen=True)
class Dimension:
    """A dimension table as a join sees it.

    `root` is the table's absolute path or URI, `table` its name for people. `columns` are without the keys. Of several
    rows of one key the one counts whose `latest_by` is the greatest; without it such rows are refused.
    """

    table: str
    root: str
    keys: tuple[str, ...]
    columns: tuple[str, ...]
    latest_by: str | None = None

    @property
    def stored(self) -> tuple[str, ...]:
        """All columns of a snapshot: the keys, then the others."""
        further = self.columns if self.latest_by is None else (*self.columns, self.latest_by)
        return tuple(dict.fromkeys((*self.keys, *further)))

    @property
    def folder_name(self) -> str:
        """One for each table, keys and columns; readable in its beginning."""
        parts = [self.root, sorted(self.keys), sorted(self.stored)]
        identity = json.dumps(parts if self.latest_by is None else [*parts, self.latest_by])
        return f"{_UNSAFE.sub('_', self.table)[-60:]}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"

    def covers(self, other: "Dimension") -> bool:
        """True where this one's snapshots answer what `other` asks."""
        same = (self.root, set(self.keys), self.latest_by) == (other.root, set(other.keys), other.latest_by)
        return same and set(other.stored) <= set(self.stored)

    def to_json(self) -> str:
        """For the folder of its snapshots."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @staticmethod
    def from_json(text: str) -> "Dimension":
        """What `to_json` wrote."""
        document = json.loads(text)
        return Dimension(
            document["table"],
            document["root"],
            tuple(document["keys"]),
            tuple(document["columns"]),
            document.get("latest_by"),
        )


@dataclass(frozen=True)
class TableVersion:
    """One version of one table; a table that was dropped and created again has another id."""

    table_id: str
    version: int

    @property
    def folder_name(self) -> str:
        """The name of its snapshot's folder."""
        return f"{self.table_id}-{self.version}"


def current_version(root: str) -> TableVersion | None:
    """The table's latest version, None where there is no table. Reads the log only.

    Raises:
        StorageError: the location cannot be read.
    """
    table = open_table(root)
    return None if table is None else version_of(table)


def version_of(table: DeltaTable) -> TableVersion:
    """The version that an open table is at."""
    return TableVersion(str(table.metadata().id), table.version())


def fields_of(schema_json: str, columns: Sequence[str], table: str) -> str:
    """The fields of some columns of a Delta schema, in JSON, in the order of `columns`.

    Raises:
        NoSuchColumn: the table does not have one of them.
        CannotCache: one has a collation.
    """
    fields = {field["name"]: field for field in json.loads(schema_json)["fields"]}
    missing = [column for column in columns if column not in fields]
    if missing:
        raise NoSuchColumn(
            f"The table {table} has no column {', '.join(missing)}; it has {', '.join(fields)}.",
            remedy="Correct `on`, `keys` or `columns`.",
        )
    for column in columns:
        if why := _unstorable(fields[column]):
            raise CannotCache(
                f"The column {column} of {table} has {why}, which a snapshot does not know.",
                remedy="Leave it out, or leave `cached` out.",
            )
    keep = ("name", "type", "nullable")
    return json.dumps([{key: fields[column][key] for key in keep} for column in columns])


def _unstorable(field: Mapping[str, Any]) -> str:
    """Why Spark would return other values of a column than its files have for others to read, or an empty text."""
    marks = field.get("metadata", {})
    if "__COLLATIONS" in marks:
        return "a collation"
    if _CHAR.search(str(marks.get("__CHAR_VARCHAR_TYPE_STRING", ""))):
        return "the type char(n), whose values Spark pads with spaces"
    kind = _unknown_type(field["type"])
    return f"the type {kind}" if kind else ""


def _unknown_type(kind: object) -> str:
    """The first type in `kind`, at any depth, that snapshots do not hold; empty where there is none."""
    if isinstance(kind, Mapping):
        inner = [field["type"] for field in kind.get("fields", ())]
        inner += [kind[part] for part in ("elementType", "keyType", "valueType") if part in kind]
        return next((found for found in map(_unknown_type, inner) if found), "")
    name = str(kind)
    return "" if name in _TYPES or name.startswith("decimal(") else name


def check_keys(schema: pa.Schema, keys: Sequence[str], table: str) -> None:
    """Make sure that the keys, and what is compared as they are, are of types that can be looked up.

    Raises:
        CannotCache: one is not.
    """
    for key in keys:
        kind = schema.field(key).type
        if key_family(kind) is None:
            raise CannotCache(
                f"The key {key} of {table} is of type {kind}, by which a snapshot is not looked up.",
                remedy="Leave `cached` out, or cast the key to an integer, decimal, date, timestamp or string.",
            )


def local_folder(home: Path) -> Path:
    """Where this host keeps snapshots. They may be deleted at any time; nothing but speed depends on them."""
    return home / "cache"
