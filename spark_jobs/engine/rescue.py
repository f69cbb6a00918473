"""The rescue column: what of a record does not fit the schema, as JSON, beside the part that does.

Each function takes records that Spark's reader has typed already and adds `RESCUED`. Text formats: only files in which
something does not fit come here. Columnar formats know from their schema what does not fit.
"""

from collections.abc import Mapping, Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.pandas.functions import arrow_udf
from pyspark.sql.types import StringType, StructField, StructType

from spark_jobs.engine.exact import Exactly
from spark_jobs.engine.frames import CORRUPT, FILE, RESCUED, any_true, quoted
from spark_jobs.engine.leftover import FILE_PATH, rescued_texts
from spark_jobs.engine.verbatim import places_of, verbatim_texts

RAW = "__sluice_raw"
VERBATIM = "__sluice_verbatim"  # a JSON line that from_json can be given: see verbatim.py
_NOWHERE = "__sluice_no_such_column"


def rescued_json(lines: DataFrame, schema: StructType, options: Mapping[str, str]) -> DataFrame:
    """JSON lines (`value`, FILE) as records: what fits is in the columns, the rest in RESCUED.

    A line that is no record at all is in CORRUPT.
    """
    exactly = Exactly("json", options)
    asked = exactly.asked_columns(schema)
    typed = F.from_json(VERBATIM, StructType([*asked, StructField(CORRUPT, StringType())]), dict(options))
    # Any column would do: this parse tells a value that does not fit (null here) from a line that is no JSON.
    readable = F.from_json("value", f"{_NOWHERE} string, {CORRUPT} string", dict(options))
    given = with_verbatim(lines, asked, schema)
    parsed = given.select("value", FILE, typed.alias("r"), readable[CORRUPT].alias(CORRUPT))
    columns = [exactly.kept(F.col(f"r.{quoted(f.name)}"), f.dataType).alias(f.name) for f in schema]
    kept = F.to_json(F.struct(*columns))
    left_over = arrow_udf(rescued_texts, "string")  # type: ignore[call-overload]
    rescue = left_over(F.col("value"), F.when(F.col(CORRUPT).isNull(), kept), F.col(FILE))
    return parsed.select(*columns, CORRUPT, FILE, rescue.alias(RESCUED))


def with_verbatim(lines: DataFrame, asked: StructType, schema: StructType) -> DataFrame:
    """JSON lines (`value`) with VERBATIM, for a parser that is asked for `asked` to make `schema` of it."""
    places = places_of(asked, schema)
    if places is None:
        return lines.withColumn(VERBATIM, F.col("value"))
    texts = arrow_udf(verbatim_texts(places), "string")  # type: ignore[call-overload]
    return lines.withColumn(VERBATIM, texts(F.col("value")))


def rescued_csv(
    records: DataFrame, schema: StructType, header: Sequence[str], options: Mapping[str, str], *, dirty: bool
) -> DataFrame:
    """CSV records of one header (its columns as they were asked for, CORRUPT, FILE) with RESCUED: extra columns, and
    what does not fit.

    Extra columns are strings in `records`. Only `dirty` files are asked for values that do not fit; a record with
    another number of fields than the header stays in CORRUPT, because nobody knows which value belongs where.
    """
    known = [name for name in header if name in schema.names]
    left = {name: F.col(quoted(name)) for name in header if name not in schema.names}
    if not dirty:
        return records.withColumn(RESCUED, rescue_text(left)) if left else records
    texts = ", ".join(f"{quoted(name)} string" for name in (*header, RAW))
    parser = {**options, "columnNameOfCorruptRecord": RAW}
    frame = records.withColumn(RAW, F.from_csv(F.col(CORRUPT), texts, parser))
    exactly = Exactly("csv", options)
    for name in known:
        value, text = F.col(quoted(name)), F.col(f"{RAW}.{quoted(name)}")
        left[name] = F.when(value.isNull(), text)
        if (lost := exactly.lost(value, schema[name].dataType)) is not None:
            left[name] = F.coalesce(left[name], F.when(lost, value.cast("string")))
    ragged = F.when(F.col(f"{RAW}.{RAW}").isNotNull(), F.col(CORRUPT))
    return frame.withColumn(RESCUED, rescue_text(left)).withColumn(CORRUPT, ragged)


def rescue_text(left: Mapping[str, Column]) -> Column:
    """The rescue column's JSON of the values that are left over (null = none), null where all are."""
    if not left:
        return F.lit(None).cast("string")
    values = [value.alias(name) for name, value in left.items()]
    path = FILE_PATH
    while path in left:
        path += "_"
    text = F.to_json(F.struct(*values, F.col(FILE).alias(path)))
    return F.when(any_true([value.isNotNull() for value in left.values()]), text)
