"""Which wider type a column gets under addNewColumnsWithTypeWidening: what Delta widens by itself, nothing more.

| from | to |
|---|---|
| tinyint, smallint, int | the wider of the integer types |
| float | double |
| decimal | a decimal with at least as many digits on both sides of the point |
| date | timestamp_ntz, in files that say their types |

Whatever else does not fit is rescued. https://docs.delta.io/latest/delta-type-widening.html
"""

from collections.abc import Callable, Iterator, Mapping

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import (
    ArrayType,
    ByteType,
    DataType,
    DateType,
    DecimalType,
    DoubleType,
    FloatType,
    IntegerType,
    LongType,
    MapType,
    ShortType,
    StringType,
    StructField,
    StructType,
    TimestampNTZType,
)

from spark_jobs.engine.exact import Test, of_text
from spark_jobs.engine.exact_xml import ExactlyXml
from spark_jobs.engine.frames import CORRUPT, RESCUED

WIDENING = "addNewColumnsWithTypeWidening"
Path = tuple[str, ...]
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


def widened_for_texts(records: DataFrame, known: StructType, xml: ExactlyXml | None = None) -> Mapping[Path, DataType]:
    """The fields of text files (JSON, CSV, XML) that a wider type keeps more values of, each with the narrowest such
    type, by their paths (as of schema hints).

    `records` were read with what does not fit in RESCUED, of XML with the record in CORRUPT.
    """
    if xml is None:
        mirror = StructType([StructField(field.name, _as_texts(field.dataType)) for field in known])
        texts, step = F.from_json(RESCUED, mirror), _field
    else:
        texts, step = F.from_json(CORRUPT, xml.asked_columns(known)), xml.field_of
    tests = {(path, wide): test for path, wide, test in _tests(known, step)}
    if not tests:
        return {}
    counts = records.select(texts.alias("left")).agg(*(F.sum(test(F.col("left"))) for test in tests.values())).first()
    found: dict[Path, DataType] = {}
    best: dict[Path, int] = {}
    for (path, wide), count in zip(tests, counts or (), strict=False):
        if (count or 0) > best.get(path, 0):
            best[path], found[path] = count, wide
    return found


def _as_texts(known: DataType) -> DataType:
    if isinstance(known, StructType):
        return StructType([StructField(field.name, _as_texts(field.dataType)) for field in known])
    if isinstance(known, ArrayType):
        return ArrayType(_as_texts(known.elementType))
    return MapType(StringType(), _as_texts(known.valueType)) if isinstance(known, MapType) else StringType()


def _field(field: StructField) -> Test:
    return lambda value: value.getField(field.name)


def _tests(known: DataType, step: Callable[[StructField], Test]) -> Iterator[tuple[Path, DataType, Test]]:
    """Each field that has wider types, with one of these, and what counts the texts that only the wider one holds."""
    if isinstance(known, StructType):
        for field in known:
            for path, wide, test in _tests(field.dataType, step):
                yield (field.name, *path), wide, _through(test, step(field))
    elif isinstance(known, ArrayType):
        yield from ((("element", *path), wide, _in_all(test)) for path, wide, test in _tests(known.elementType, step))
    elif isinstance(known, MapType):
        for path, wide, test in _tests(known.valueType, step):
            yield ("value", *path), wide, _through(_in_all(test), F.map_values)
    else:
        yield from (((), wide, _only_in(known, wide)) for wide in _wider(known))


def _only_in(known: DataType, wide: DataType) -> Test:
    def count(text: Column) -> Column:
        return F.when(of_text(text, known).isNull() & of_text(text, wide).isNotNull(), 1).otherwise(0)

    return count


def _in_all(test: Test) -> Test:
    def count(items: Column) -> Column:
        return F.coalesce(F.aggregate(F.transform(items, test), F.lit(0), lambda total, one: total + one), F.lit(0))

    return count


def _through(test: Test, step: Test) -> Test:
    return lambda value: test(step(value))


def _wider(known: DataType) -> Iterator[DataType]:
    """The wider types, narrowest first."""
    if type(known) in INTEGERS:
        yield from (kind() for kind in INTEGERS[INTEGERS.index(type(known)) + 1 :])
    if isinstance(known, DecimalType):
        yield from (DecimalType(digits, known.scale) for digits in DECIMAL_STEPS if digits > known.precision)
