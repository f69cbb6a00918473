"""Every error a user can meet: a class name, what happened and where, and the option to change."""

from collections.abc import Sequence
from typing import ClassVar

from include.config.exit_codes import ExitCode


class SluiceError(Exception):
    """Base of all errors with a meaning to the user. `exit_code` tells whether trying again can help."""

    exit_code: ClassVar[ExitCode] = ExitCode.DEFECT

    def __init__(self, message: str, *, remedy: str = "", **parameters: object) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.parameters = parameters

    @property
    def error_class(self) -> str:
        """The stable name that tests and scripts compare."""
        return type(self).__name__

    def __str__(self) -> str:
        text = f"[{self.error_class}] {self.message}"
        return f"{text}\n  What to do: {self.remedy}" if self.remedy else text


class UsageError(SluiceError):
    """Raised when a command got arguments it cannot use."""

    exit_code = ExitCode.USAGE


class ConfigError(SluiceError):
    """Raised when a pipeline file, the settings or the installation is wrong; `problems` lists every one found."""

    exit_code = ExitCode.CONFIG

    def __init__(self, message: str, *, remedy: str = "", problems: Sequence[str] = (), **parameters: object) -> None:
        super().__init__(message, remedy=remedy, **parameters)
        self.problems = tuple(problems)

    def __str__(self) -> str:
        lines = [f"[{self.error_class}] {self.message}", *(f"  {problem}" for problem in self.problems)]
        if self.remedy:
            lines.append(f"  What to do: {self.remedy}")
        return "\n".join(lines)


class NotAvailableYet(ConfigError):
    """Raised when a pipeline asks for what the contract knows and this version cannot execute yet."""


class SourceNotFound(SluiceError):
    """Raised when a landing folder or bucket is not there."""

    exit_code = ExitCode.NOT_FOUND


class TableNotFound(SluiceError):
    """Raised when a Delta table that is read is not there."""

    exit_code = ExitCode.NOT_FOUND


class DataRefused(SluiceError):
    """Raised when the pipeline's own rules (on_error, budget, a `fail` check) stop the load."""

    exit_code = ExitCode.DATA_REFUSED


class SchemaDrift(DataRefused):
    """Raised when files do not fit the pipeline's schema and its evolution mode does not say what to do."""


class StateLost(SluiceError):
    """Raised when a table holds this pipeline's batches but the ledger that planned them is gone."""

    exit_code = ExitCode.CONFIG


class TableLocked(SluiceError):
    """Raised when another run holds the target table."""

    exit_code = ExitCode.LOCKED


class LedgerContention(SluiceError):
    """Raised when other discoveries kept winning the race for the ledger."""

    exit_code = ExitCode.IO


class StorageError(SluiceError):
    """Raised when reading or writing storage failed in a way that may pass."""

    exit_code = ExitCode.IO


class Defect(SluiceError):
    """Raised when Sluice finds itself in a state that its own rules exclude."""
