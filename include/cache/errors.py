"""Why a dimension is not cached, or refused."""

from include.config.errors import ConfigError, DataRefused


class CannotCache(ConfigError):
    """Raised when a table cannot be looked up in a snapshot at all; the uncached join is the way then."""


class DuplicateKeys(DataRefused):
    """Raised when a dimension has two rows of one key."""
