"""The columns that every frame of records has beside those of the schema, and how names are taken."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import reduce

from pyspark.sql import Column, SparkSession
from pyspark.sql import functions as F  # noqa: N812

CORRUPT = "__sluice_corrupt"  # the raw text of a record that does not fit, else null
FILE = "__sluice_file"  # the file as Spark names it
LONG = 50  # conditions that are one chain of ORs
RESCUED = "__sluice_rescued"  # what of the record is not in its columns, as JSON; null where all is


def quoted(name: str) -> str:
    """A column's name as Spark takes it for one name, whatever dots and back-quotes are in it."""
    return "`" + name.replace("`", "``") + "`"


@contextmanager
def exact_names(spark: SparkSession) -> Iterator[None]:
    """Frames that are made within take `id` and `ID` for two columns, as files do and tables do not."""
    before = spark.conf.get("spark.sql.caseSensitive")
    spark.conf.set("spark.sql.caseSensitive", "true")
    try:
        yield
    finally:
        spark.conf.set("spark.sql.caseSensitive", str(before))


def sql_literal(text: str) -> str:
    """A text as a literal of Spark's SQL."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def any_true(parts: Sequence[Column]) -> Column:
    """True where one of the parts is, which are not null. Spark's parser and optimizer descend into a long chain of ORs
    step by step, until the stack ends: at about a thousand.
    """
    chains = [reduce(Column.__or__, parts[start : start + LONG]) for start in range(0, len(parts), LONG)]
    return chains[0] if len(chains) == 1 else F.greatest(*chains)
