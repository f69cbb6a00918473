"""Expectations about records: SQL booleans of the pipeline file. A record passes unless the expression is false.

`quarantine` and `drop` keep a failing record out of the target (both leave it in the quarantine table, so that it is
accounted for; a dropped one without its text), `fail` refuses the batch, `warn` only counts. Clean data is read once:
the write stops at the first failing record, and only then are they looked for.
"""

from collections.abc import Sequence

from pyspark.errors import AnalysisException
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812

from include.config.errors import ConfigError
from include.config.ingest import Check


def enforced(checks: Sequence[Check]) -> list[Check]:
    """The checks that keep records out of the target."""
    return [check for check in checks if check.action != "warn"]


def fails(check: Check) -> Column:
    """True for a record that fails the check; NULL passes, as in a CHECK constraint."""
    return ~F.coalesce(F.expr(check.expr).cast("boolean"), F.lit(True))


def fails_any(checks: Sequence[Check]) -> Column:
    """True for a record that one of the enforced checks keeps out."""
    failing = F.lit(False)
    for check in enforced(checks):
        failing = failing | fails(check)
    return failing


def first_failed(checks: Sequence[Check]) -> Column:
    """The name of the first enforced check that a record fails, null if it passes all."""
    return F.coalesce(*(F.when(fails(check), F.lit(check.name)) for check in enforced(checks)), F.lit(None))


def counts(checks: Sequence[Check]) -> list[Column]:
    """For each `warn` check, how many records fail it."""
    return [F.count_if(fails(check)).alias(check.name) for check in checks if check.action == "warn"]


def refuse_unusable(frame: DataFrame, checks: Sequence[Check]) -> None:
    """Let Spark analyse each expression over the columns of the records.

    Raises:
        ConfigError: an expression does not parse, names a column that is not there, or is no boolean.
    """
    for check in checks:
        try:
            kind = frame.select(F.expr(check.expr)).schema[0].dataType.simpleString()
        except AnalysisException as error:
            raise _unusable(check, str(error).strip().splitlines()[0], frame) from None
        if kind != "boolean":
            raise _unusable(check, f"it is {kind}, not boolean", frame)


def _unusable(check: Check, why: str, frame: DataFrame) -> ConfigError:
    return ConfigError(
        f"ingest.checks: {check.name}: {check.expr!r}: {why}.",
        remedy=f"Columns: {', '.join(name for name in frame.columns if not name.startswith('__sluice'))}.",
        check=check.name,
    )
