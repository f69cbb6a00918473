"""The target as COPY INTO finds it: a table, no table, or one that `CREATE TABLE t;` made, which has no columns yet.

delta-rs cannot open a table without columns, so its log is looked at.
"""

import json
from pathlib import Path

from deltalake import DeltaTable

from include.config.errors import StorageError
from include.config.settings import is_remote
from include.ledger.tables import open_table, storage_errors

FIRST_COMMIT = "_delta_log/00000000000000000000.json"


def open_target(location: str) -> DeltaTable | None:
    """The target with its columns; None where there is no table, or one without columns.

    Raises:
        StorageError: it cannot be read.
    """
    try:
        return open_table(location)
    except StorageError:
        if is_without_columns(location):
            return None
        raise


def target_exists(location: str) -> bool:
    """Whether there is a table, with columns or without."""
    return open_target(location) is not None or is_without_columns(location)


def is_without_columns(location: str) -> bool:
    """Whether the table was made without columns."""
    with storage_errors("Reading the log of the target", location):
        for line in _first_commit(location).splitlines():
            metadata = json.loads(line).get("metaData")
            if metadata is not None:
                return not json.loads(metadata["schemaString"])["fields"]
    return False


def _first_commit(location: str) -> bytes:
    try:
        if not is_remote(location):
            return (Path(location) / FIRST_COMMIT).read_bytes()
        import obstore  # noqa: PLC0415  not needed for local tables
        from obstore.store import from_url  # noqa: PLC0415

        return bytes(obstore.get(from_url(location), FIRST_COMMIT).bytes())
    except FileNotFoundError:
        return b""
