"""Values of text formats (JSON, CSV, XML) as they stand in the file, or not at all.

Spark's text readers make a value of nearly everything: they round `1.005` to a DECIMAL(10, 2), take `12:00` for today
at noon and `2013` for its first second, cut nanoseconds off, load `12F` as 12.0 and 1e39 as an infinite FLOAT. So they
are asked for texts where that can happen, and the values are made here:

| type | a text is a value of it if |
|---|---|
| decimal | it has no digit but zeros after the scale; commas only where they part thousands |
| float, double | it is a number without Java's suffixes (`12F`) or hexadecimal digits, and not beyond the range |
| date | it is year-month-day, nothing more |
| timestamp | it begins with year-month-day, and has no digit but zeros after the microseconds |
| timestamp_ntz | as timestamp, and names no zone |

A JSON number in a TIMESTAMP column is seconds since 1970, as for Spark. Rounding to the nearest FLOAT or DOUBLE is what
these types are; so is zero for what is too small.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import reduce

from pyspark.sql import Column
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import (
    ArrayType,
    BooleanType,
    ByteType,
    DataType,
    DateType,
    DecimalType,
    DoubleType,
    FloatType,
    IntegralType,
    MapType,
    ShortType,
    StringType,
    StructField,
    StructType,
    TimestampNTZType,
    TimestampType,
)

from include.probe.plain_values import Look
from spark_jobs.engine.frames import any_true

Test = Callable[[Column], Column]
DATE = r"^\s*[+-]?\d{4,7}-\d{1,2}-\d{1,2}\s*$"
DATED = r"^\s*[+-]?\d{4,7}-\d{1,2}-\d{1,2}(?:[ T]|$)"
MICROSECONDS = r"\.\d{0,6}0*(?:\D|$)"
WITHOUT_ZONE = r"^\s*[+-]?[0-9-]+(?:[ T][0-9:.]*)?\s*$"
ZONE = r":\d+(?:\.\d+)?\s*[^0-9:.\s].*$"
THOUSANDS = r"^\s*[+-]?\d{1,3}(?:,\d{3})+(?:\.\d*)?\s*$"
ZONE_SHAPE = r"(?:Z|[+-]dd:dd)$"
INTEGER = r"^[+-]?\d+$"
TRUTH = "(?i)^(?:true|false)$"
INFINITE = r"(?i)^\s*[+-]?inf(?:inity)?\s*$"
FORMATS = (
    (DateType, "dateFormat"),
    (TimestampType, "timestampFormat"),
    (TimestampNTZType, "timestampNTZFormat"),
)
PATTERNS = ((DateType, DATE), (BooleanType, TRUTH), (IntegralType, INTEGER))
JAVA_SUFFIXES = ("d", "D", "f", "F")
MAX_DIGITS = 38  # of a decimal
SURE_DIGITS = 15  # that a double tells apart, in a text with an exponent of two more characters


@dataclass(frozen=True)
class Exactly:
    """How the values of one format are read, under the reader's options.

    Where the user gives a format or a locale, Spark's reader goes by it, and it is strict. `plain` are columns of which
    the probe has seen that Spark's reader takes all values as they stand.
    """

    kind: str
    options: Mapping[str, str]
    plain: Set[str] = frozenset()

    def asked(self, wanted: DataType) -> DataType:
        """What the reader is asked for, to make `wanted` of it."""
        if isinstance(wanted, StructType):
            return self.asked_columns(wanted)
        if isinstance(wanted, ArrayType):
            return ArrayType(self.asked(wanted.elementType))
        if isinstance(wanted, MapType):
            return MapType(wanted.keyType, self.asked(wanted.valueType))
        if isinstance(wanted, DecimalType) and self._localized:
            return DecimalType(MAX_DIGITS, MAX_DIGITS - (wanted.precision - wanted.scale))
        if isinstance(wanted, ByteType) and self.kind == "json":
            return ShortType()  # of 200 its parser makes the byte -56
        return StringType() if self._as_text(wanted) else wanted

    def asked_columns(self, wanted: StructType) -> StructType:
        """`asked` for a whole schema."""
        return StructType([StructField(f.name, self.asked_field(f), metadata=f.metadata) for f in wanted])

    def asked_field(self, field: StructField) -> DataType:
        """`asked` for a column, or a field of a struct."""
        return field.dataType if field.name in self.plain else self.asked(field.dataType)

    def kept_field(self, value: Column, field: StructField) -> Column:
        """`kept` for a column, or a field of a struct."""
        return value if field.name in self.plain else self.kept(value, field.dataType)

    def lost_field(self, value: Column, field: StructField) -> Column | None:
        """`lost` for a column, or a field of a struct."""
        return None if field.name in self.plain else self.lost(value, field.dataType)

    def doubts_field(self, field: StructField) -> bool:
        """Whether something of a column's values may not be `kept`, or they have to be made of what was asked for."""
        return field.name not in self.plain and self._has_doubt(field.dataType)

    def kept(self, value: Column, wanted: DataType) -> Column:
        """`wanted` made of a value of the type that was asked for; null where it is none."""
        if not self._has_doubt(wanted):
            return value.cast(wanted)
        if isinstance(wanted, StructType):
            parts = [self.kept_field(value.getField(f.name), f).alias(f.name) for f in wanted]
            return F.when(value.isNotNull(), F.struct(*parts))
        if isinstance(wanted, ArrayType):
            return F.transform(value, lambda item: self.kept(item, wanted.elementType))
        if isinstance(wanted, MapType):
            return F.transform_values(value, lambda _, item: self.kept(item, wanted.valueType))
        return self._atomic(value, wanted)

    def lost(self, value: Column, wanted: DataType) -> Column | None:
        """True where something of the value is not `kept`, never null; None where all always is."""
        if not self._has_doubt(wanted):
            return None
        if isinstance(wanted, StructType):
            return any_of([self.lost_field(value.getField(f.name), f) for f in wanted])
        if isinstance(wanted, ArrayType):
            return exists(value, lambda item: self._lost(item, wanted.elementType))
        if isinstance(wanted, MapType):
            return exists(F.map_values(value), lambda item: self._lost(item, wanted.valueType))
        return value.isNotNull() & self._atomic(value, wanted).isNull()

    def doubts(self, wanted: DataType) -> Iterator[tuple[tuple[str, ...], Test]]:
        """Each part of a type that can be lost: its path (as of schema hints), and what tells of a value that it is."""
        if isinstance(wanted, StructType):
            for field in wanted:
                step = self.field_of(field)
                yield from (((field.name, *path), _through(test, step)) for path, test in self.doubts(field.dataType))
        elif isinstance(wanted, ArrayType):
            yield from ((("element", *path), _of_any(test)) for path, test in self.doubts(wanted.elementType))
        elif not isinstance(wanted, MapType) and self._has_doubt(wanted):
            yield (), self._test_of(wanted)

    def _test_of(self, wanted: DataType) -> Test:
        def test(value: Column) -> Column:
            return self._lost(value, wanted)

        return test

    def field_of(self, field: StructField) -> Test:
        """The one value of a field of a struct, as it was asked for."""

        def step(value: Column) -> Column:
            return self.one(value.getField(field.name), field)

        return step

    def one(self, value: Column, field: StructField) -> Column:  # noqa: ARG002
        """The one value of a field, as it was asked for."""
        return value

    def _lost(self, value: Column, wanted: DataType) -> Column:
        found = self.lost(value, wanted)
        return F.lit(False) if found is None else found

    @property
    def _localized(self) -> bool:
        return self.options.get("locale", "en-US") != "en-US"

    def _as_text(self, wanted: DataType) -> bool:
        if isinstance(wanted, DecimalType):
            return not self._localized
        if isinstance(wanted, FloatType | DoubleType):
            return self.kind != "json"  # whose numbers are numbers
        option = next((option for kind, option in FORMATS if isinstance(wanted, kind)), None)
        return option is not None and option not in self.options

    def _has_doubt(self, wanted: DataType) -> bool:
        if isinstance(wanted, StructType):
            return any(self._has_doubt(field.dataType) for field in wanted)
        if isinstance(wanted, ArrayType):
            return self._has_doubt(wanted.elementType)
        if isinstance(wanted, MapType):
            return self._has_doubt(wanted.valueType)
        return isinstance(wanted, FloatType) or self.asked(wanted) != wanted

    def _atomic(self, value: Column, wanted: DataType) -> Column:
        if isinstance(self.asked(wanted), StringType):
            return self._of_text(value, wanted)
        if isinstance(wanted, DecimalType):
            kept = value.try_cast(wanted)
            return F.when(kept.cast(self.asked(wanted)) == value, kept)
        if isinstance(wanted, FloatType):
            return F.when(F.abs(value) < F.lit(float("inf")), value)
        return value.try_cast(wanted)

    def _of_text(self, text: Column, wanted: DataType) -> Column:
        if isinstance(wanted, TimestampType) and (zone := self.options.get("timeZone")):
            return F.when(text.rlike(ZONE), of_text(text, wanted)).otherwise(
                F.to_utc_timestamp(of_text(text, wanted), zone)
            )
        if isinstance(wanted, FloatType | DoubleType):
            return self._named_number(text, wanted)
        return of_text(text, wanted)

    def _named_number(self, text: Column, wanted: DataType) -> Column:
        """A number, or one of the texts that the options name for those that are none."""
        value = of_text(text, wanted)
        for option, number in (("nanValue", "nan"), ("positiveInf", "inf"), ("negativeInf", "-inf")):
            if option in self.options:
                value = F.when(text == self.options[option], F.lit(float(number)).cast(wanted)).otherwise(value)
        return value


def is_plain(wanted: DataType, looks: Sequence[Look | None]) -> bool:
    """Whether Spark's CSV reader takes the values of columns that look like this as they stand."""
    numbers = [look for look in looks if isinstance(look, int)]
    shapes = [look for look in looks if isinstance(look, str)]
    if isinstance(wanted, FloatType | DoubleType | DecimalType):
        digits = wanted.scale if isinstance(wanted, DecimalType) else max(numbers, default=0)
        return len(numbers) == len(looks) and max(numbers, default=0) <= digits
    if isinstance(wanted, DateType):
        return all(len(shape) <= len("dddd-dd-dd") for shape in shapes) and len(shapes) == len(looks)
    if isinstance(wanted, TimestampType | TimestampNTZType):
        zones = isinstance(wanted, TimestampType) or not any(re.search(ZONE_SHAPE, shape) for shape in shapes)
        return zones and len(shapes) == len(looks)
    return False


def exists(items: Column, test: Test) -> Column:
    """True where the test is true of an item, never null."""
    return F.coalesce(F.exists(items, test), F.lit(False))


def _of_any(test: Test) -> Test:
    return lambda items: exists(items, test)


def _through(test: Test, step: Test) -> Test:
    def of(value: Column) -> Column:
        return test(step(value))

    return of


def any_of(parts: list[Column | None]) -> Column | None:
    """True where one of the parts is; None where there are none."""
    there = [part for part in parts if part is not None]
    return any_true(there) if there else None


def of_text(text: Column, wanted: DataType) -> Column:
    """The value of type `wanted` that a text is; null where it is none."""
    if isinstance(wanted, DecimalType):
        grouped = F.when(text.rlike(THOUSANDS), _decimal(F.replace(text, F.lit(","), F.lit("")), wanted))
        return F.when(text.contains(","), grouped).otherwise(_decimal(text, wanted))
    if isinstance(wanted, FloatType | DoubleType):
        return _floating(text, wanted)
    if isinstance(wanted, TimestampType | TimestampNTZType):
        return _timestamp(text, wanted)
    pattern = next((pattern for kind, pattern in PATTERNS if isinstance(wanted, kind)), None)
    value = text.try_cast(wanted)
    return value if pattern is None else F.when(text.rlike(pattern), value)


def _decimal(text: Column, wanted: DecimalType) -> Column:
    value = text.try_cast(wanted)
    point = F.instr(text, ".")
    plain = (point == 0) | (F.length(text) - point <= wanted.scale)
    zeros = text.rlike(rf"^[^.]*\.\d{{{wanted.scale}}}0*\s*$")
    # Of 15 digits with an exponent a double tells whether they were rounded.
    short = (F.length(text) <= SURE_DIGITS + 2) & ((value != 0) | ~text.rlike("^[^eE]*[1-9]"))
    exact = short & (value.cast("double") == text.try_cast("double"))
    exponent = text.contains("e") | text.contains("E")
    return F.when(exponent, F.when(exact, value)).otherwise(F.when(plain | zeros, value))


def _floating(text: Column, wanted: DataType) -> Column:
    value = text.try_cast(wanted)
    java = reduce(Column.__or__, (text.endswith(suffix) for suffix in JAVA_SUFFIXES))
    strange = java | text.contains("x") | text.contains("X") | (F.abs(value) == F.lit(float("inf")))
    return F.when(~strange | text.rlike(INFINITE), value)


def _timestamp(text: Column, wanted: DataType) -> Column:
    # Nearly all are told by their dashes; the patterns are for the others.
    dashes = (F.substring(text, 5, 1) == "-") & ((F.substring(text, 8, 1) == "-") | (F.substring(text, 7, 1) == "-"))
    point = F.instr(text, ".")
    short = (point == 0) | (F.length(text) - point <= 6) | text.rlike(MICROSECONDS)  # noqa: PLR2004
    sure = (dashes | text.rlike(DATED)) & short
    if isinstance(wanted, TimestampNTZType):
        sure = sure & text.rlike(WITHOUT_ZONE)
    return F.when(sure, text.try_cast(wanted))
