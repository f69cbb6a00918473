"""The target table as the ledger sees it: which planned batches it holds. It is the point of truth for "done"."""

from include.config.settings import Settings
from include.ledger.tables import open_table, storage_errors


def app_id(pipeline: str) -> str:
    """The `txnAppId` under which a pipeline commits to its target."""
    return f"sluice:{pipeline}"


def committed_batch(settings: Settings, table: str, app_id: str) -> int:
    """The number of the last batch that the target holds; 0 while the table, or any batch of this id, is missing.

    Raises:
        StorageError: the table cannot be read.
    """
    target = open_table(settings.table_root(table))
    if target is None:
        return 0
    with storage_errors("Reading the transactions of the target", target.table_uri):
        return target.transaction_version(app_id) or 0


def table_version(settings: Settings, table: str) -> int | None:
    """The target's latest Delta version, None while the table is missing."""
    target = open_table(settings.table_root(table))
    return None if target is None else target.version()
