"""One version of a dimension's table, to be read: or why it cannot be, any more."""

from deltalake import DeltaTable

from include.cache.dimension import Dimension, TableVersion, version_of
from include.config.errors import StorageError, TableNotFound
from include.ledger.tables import open_table


class VersionGone(TableNotFound):
    """Raised when a pinned version of a dimension can no longer be read, and no snapshot of it is left."""


def open_version(root: str, version: TableVersion) -> DeltaTable:
    """The table at exactly this version.

    Raises:
        VersionGone: it cannot be read any more.
    """
    try:
        table = open_table(root, version.version)
    except StorageError as error:
        raise _gone(root, version, error.message) from error
    if table is None or version_of(table) != version:
        raise _gone(root, version, "the table was dropped" if table is None else "the table was created anew")
    return table


def _gone(root: str, version: TableVersion, why: str) -> VersionGone:
    return VersionGone(
        f"Version {version.version} of the table {version.table_id} cannot be read at {root}: {why}.",
        remedy="A batch that was planned with it cannot be joined with it any more; plan it again.",
        location=root,
    )


def unread(dimension: Dimension, version: TableVersion, error: Exception) -> StorageError:
    """The error for a version whose rows could not be read."""
    return StorageError(
        f"The rows of {dimension.table}, version {version.version}, cannot be read: {str(error).splitlines()[0]}",
        remedy="Restore the table's files; a batch that is not begun is planned again with the newest version.",
        location=dimension.root,
    )
