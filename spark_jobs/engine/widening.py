"""Which wider type a column gets under addNewColumnsWithTypeWidening: what Delta widens by itself, nothing more.

| from | to |
|---|---|
| tinyint, smallint, int | the wider of the integer types |
| float | double |
| decimal | a decimal with at least as many digits on both sides of the point |
| date | timestamp_ntz, in files that say their types |

Whatever else does not fit is rescued. https://docs.delta.io/latest/delta-type-widening.html
"""

from collections.abc import Iterator, Mapping

from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import (
    ByteType,
    DataType,
    DateType,
    DecimalType,
    DoubleType,
    FloatType,
    IntegerType,
    LongType,
    ShortType,
    StructType,
    TimestampNTZType,
)

from spark_jobs.engine.exact import of_text
from spark_jobs.engine.frames import RESCUED

WIDENING = "addNewColumnsWithTypeWidening"
INTEGERS: tuple[type[DataType], ...] = (ByteType, ShortType, IntegerType, LongType)
MAX_DIGITS = 38
DECIMAL_STEPS = (18, MAX_DIGITS)  # the digits that 8 and 16 bytes hold


def widened(known: DataType, seen: DataType) -> DataType:
    """The type that holds the values of both, where Delta widens `known` to it; else `known`."""
    if type(known) in INTEGERS and type(seen) in INTEGERS:
        return max(known, seen, key=lambda kind: INTEGERS.index(type(kind)))
    if isinstance(known, DecimalType) and isinstance(seen, DecimalType):
        scale = max(known.scale, seen.scale)
        digits = max(known.precision - known.scale, seen.precision - seen.scale) + scale
        return DecimalType(digits, scale) if digits <= MAX_DIGITS else known
    if isinstance(known, FloatType) and isinstance(seen, DoubleType):
        return seen
    return seen if isinstance(known, DateType) and isinstance(seen, TimestampNTZType) else known


def widened_for_texts(records: DataFrame, known: StructType) -> Mapping[str, DataType]:
    """The columns of text files (JSON, CSV) that a wider type keeps more values of, each with the narrowest such type.

    `records` were read with what does not fit in RESCUED. Columns below the top are not widened.
    """
    left = F.from_json(RESCUED, "map<string, string>")
    counts = {
        (field.name, wide): F.count(of_text(F.element_at(left, F.lit(field.name)), wide))
        for field in known
        for wide in _wider(field.dataType)
    }
    if not counts:
        return {}
    kept = records.agg(*counts.values()).first() or ()
    found: dict[str, DataType] = {}
    best: dict[str, int] = {}
    for (name, wide), count in zip(counts, kept, strict=True):
        if count > best.get(name, 0):
            best[name], found[name] = count, wide
    return found


def _wider(known: DataType) -> Iterator[DataType]:
    """The wider types, narrowest first."""
    if type(known) in INTEGERS:
        yield from (kind() for kind in INTEGERS[INTEGERS.index(type(known)) + 1 :])
    if isinstance(known, DecimalType):
        yield from (DecimalType(digits, known.scale) for digits in DECIMAL_STEPS if digits > known.precision)
