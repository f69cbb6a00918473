"""The errors of COPY INTO, under the condition names that Databricks gives them; where it has none, under our own.

`condition` is what tests and scripts compare; each class stands for one exit code.
"""

from include.config.errors import SluiceError
from include.config.exit_codes import ExitCode

SYNTAX = "COPY_INTO_SYNTAX_ERROR"
NON_BLIND = "COPY_INTO_UNSUPPORTED_FEATURE"
OPTION = "COPY_INTO_OPTION_INVALID"
CREDENTIALS = "COPY_INTO_CREDENTIALS_NOT_ALLOWED_ON"
ENCRYPTION = "COPY_INTO_ENCRYPTION_NOT_ALLOWED_ON"
FORMAT_REQUIRED = "COPY_INTO_SOURCE_FILE_FORMAT_NOT_SUPPORTED"
DUPLICATED_FILES = "COPY_INTO_DUPLICATED_FILES_COPY_NOT_ALLOWED"
SCHEMA_MISMATCH = "COPY_INTO_SCHEMA_MISMATCH_WITH_TARGET_TABLE"
ARITY_MISMATCH = "COPY_INTO_COLUMN_ARITY_MISMATCH"
INFERENCE_FAILED = "COPY_INTO_SOURCE_SCHEMA_INFERENCE_FAILED"
MISSING_TABLE = "DELTA_MISSING_DELTA_TABLE_COPY_INTO"
UNREADABLE_FILE = "COPY_INTO_CORRUPT_FILE"
REFUSED_ROWS = "COPY_INTO_ROWS_REFUSED"
FILE_NOT_FOUND = "PATH_NOT_FOUND"
DUPLICATE_COLUMN = "COLUMN_ALREADY_EXISTS"
UNKNOWN_COLUMN = "DELTA_COLUMN_NOT_FOUND"
TYPE_MISMATCH = "DELTA_FAILED_TO_MERGE_FIELDS"


class CopyIntoError(SluiceError):
    """Base of the errors of COPY INTO; `line` and `column` (from 1) say where in the statement, where that is known."""

    def __init__(
        self,
        condition: str,
        message: str,
        *,
        remedy: str = "",
        line: int | None = None,
        column: int | None = None,
        **parameters: object,
    ) -> None:
        where = "" if line is None else f" (line {line}, column {column} of the statement)"
        super().__init__(message + where, remedy=remedy, line=line, column=column, **parameters)
        self.condition = condition
        self.bare_message = message
        self.line = line
        self.column = column

    @property
    def error_class(self) -> str:
        """The condition's name."""
        return self.condition


class StatementRefused(CopyIntoError):
    """Raised when the text of a statement is wrong, whatever the files and the table hold."""

    exit_code = ExitCode.USAGE


class TargetMissing(CopyIntoError):
    """Raised when the target table is not there, or a file that FILES names."""

    exit_code = ExitCode.NOT_FOUND


class LoadRefused(CopyIntoError):
    """Raised when files and table do not fit, or the statement's own rules stop it. Nothing of it was loaded."""

    exit_code = ExitCode.DATA_REFUSED
