"""Errors of Spark that the statement, its files or the table's constraints are at fault for, as ours."""

import re
from collections.abc import Iterator

from py4j.java_gateway import is_instance_of
from py4j.protocol import Py4JJavaError
from pyspark import SparkContext
from pyspark.errors import PySparkException

from include.copy_into.errors import LoadRefused
from include.copy_into.syntax import Place

# SQLSTATE classes: cardinality, data, constraints, syntax and names, limits of a type.
AT_FAULT = ("21", "22", "23", "42", "54")
CONDITION = re.compile(
    r"\[(?P<condition>[A-Z][A-Z0-9_.]+)\] (?P<what>(?:(?!\[[A-Z][A-Z0-9_.]+\] ).)*?)\s*SQLSTATE: (?P<state>\w{5})",
    re.DOTALL,
)
MAX_SHOWN = 500
REMEDIES = {
    "DELTA_INVALID_CHARACTERS_IN_COLUMN_NAMES": "Give such columns other names: FROM (SELECT `two words` AS two_words, "
    "... FROM 'source').",
    "DELTA_MISSING_NOT_NULL_COLUMN_VALUE": "Fill the column by the statement, or give it a default.",
}


def told(error: Exception, place: Place | None = None) -> Exception:
    """The error as ours, where `place` says it is the expression there that is wrong; any other as it is."""
    if not isinstance(error, PySparkException | Py4JJavaError):
        return error
    found = _condition(error)
    if found is None:
        return error
    condition, state, what = found
    return LoadRefused(
        condition,
        f"{' '.join(what.split())[:MAX_SHOWN]} Nothing of the statement was loaded.",
        remedy=REMEDIES.get(condition, "Correct the statement, the files or the table as the message says."),
        line=None if place is None else place.line,
        column=None if place is None else place.column,
        sqlstate=state,
    )


def _condition(error: Exception) -> tuple[str, str, str] | None:
    """Condition, SQLSTATE and message. The first line often says no more than that a task failed; the cause stands
    further down.
    """
    for one in CONDITION.finditer(str(error)):
        if one["state"].startswith(AT_FAULT):
            return one["condition"], one["state"], one["what"]
    return next((found for found in _named(error) if found[1].startswith(AT_FAULT)), None)


def _named(error: Exception) -> Iterator[tuple[str, str, str]]:
    """The same of Delta's own errors, which do not say their SQLSTATE in the text: the error's, then its causes'."""
    if isinstance(error, PySparkException):
        condition, state = error.getCondition(), error.getSqlState()
        if condition and state:
            yield condition, state, str(error).partition("\n\nJVM stacktrace:")[0].removeprefix(f"[{condition}] ")
    cause = error.java_exception if isinstance(error, Py4JJavaError) else None
    while cause is not None:
        named = is_instance_of(SparkContext._gateway, cause, "org.apache.spark.SparkThrowable")
        if named and cause.getCondition() and cause.getSqlState():
            condition = str(cause.getCondition())
            yield condition, str(cause.getSqlState()), str(cause.getMessage()).removeprefix(f"[{condition}] ")
        cause = cause.getCause()


def first_line(text: str) -> str:
    """The last cause that a Java error names, or its first line."""
    causes = re.findall(r"^Caused by: (?:[\w.$]+\.)?(\w+: .*)$", text, re.MULTILINE)
    return str(causes[-1] if causes else text.strip().splitlines()[0])[:300]
