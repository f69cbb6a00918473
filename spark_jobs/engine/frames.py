"""The columns that every frame of records has beside those of the schema, and how names are taken."""

from collections.abc import Iterator
from contextlib import contextmanager

from pyspark.sql import SparkSession

CORRUPT = "__sluice_corrupt"  # the raw text of a record that does not fit, else null
FILE = "__sluice_file"  # the file as Spark names it
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
