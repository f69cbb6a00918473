"""Records that Spark's reader marks as not fitting, and why in words: the first column whose text or JSON value is
not of the column's type.

Spark's readers only say that a record is corrupt. These run on the few records that are, in the driver, and decide
nothing.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import (
    BooleanType,
    ByteType,
    DataType,
    DateType,
    DecimalType,
    DoubleType,
    FloatType,
    IntegerType,
    LongType,
    ShortType,
    StringType,
    StructType,
    TimestampType,
)

from include.config.ingest import Check, Ingest
from include.ledger.quarantine import Refusal
from include.probe.delimited import Dialect, Grammar
from include.probe.streams import blocks, whole_lines
from spark_jobs.engine.batch_files import BatchFile
from spark_jobs.engine.checks import fails_any, first_failed
from spark_jobs.engine.frames import CORRUPT, FILE, RESCUED, quoted
from spark_jobs.engine.names import source_schema

FAILED = "__sluice_failed"
RECORD = "__sluice_record"
MAX_SHOWN = 80  # characters of a value in a reason; the raw record is beside it
BITS: Mapping[type[DataType], int] = {ByteType: 8, ShortType: 16, IntegerType: 32, LongType: 64}


def explain_json(raw: str, schema: StructType) -> str:
    """Why a JSON line does not fit."""
    try:
        record = json.loads(raw)
    except RecursionError:
        return "nested too deeply"
    except ValueError as error:
        return f"not valid JSON: {error}"
    if not isinstance(record, dict):
        return "not a JSON object"
    for field in schema:
        value = record.get(field.name)
        if value is not None and not _json_fits(value, field.dataType):
            return _misfit(field.name, json.dumps(value), field.dataType)
    return "a value does not fit the schema"


def explain_csv(raw: str, header: Sequence[str], schema: StructType, options: Mapping[str, str]) -> str:
    """Why a CSV line does not fit: its number of fields, or the first field that is not of its column's type."""
    values = Grammar(Dialect.of(options)).fields(raw)
    if len(values) != len(header):
        return f"has {len(values)} fields, the header has {len(header)}"
    types = {field.name: field.dataType for field in schema}
    null = options.get("nullValue", "")
    for name, value in zip(header, values, strict=True):
        if name in types and value not in ("", null) and not _text_fits(value, types[name]):
            return _misfit(name, repr(value), types[name])
    return "a value does not fit the schema"


def _misfit(column: str, value: str, data_type: DataType) -> str:
    shown = value if len(value) <= MAX_SHOWN else value[:MAX_SHOWN] + "..."
    return f"column {column!r}: {shown} is not {data_type.simpleString()}"


def _json_fits(value: object, data_type: DataType) -> bool:
    bits = BITS.get(type(data_type))
    if bits:
        return type(value) is int and -(1 << bits - 1) <= value < 1 << bits - 1
    if isinstance(data_type, DoubleType | FloatType | DecimalType):
        return type(value) in (int, float)
    if isinstance(data_type, BooleanType):
        return type(value) is bool
    if isinstance(data_type, DateType | TimestampType):
        return isinstance(value, str) and _parses(_parser(data_type), value)
    if isinstance(data_type, StringType):
        return True
    return isinstance(value, dict | list)


def _text_fits(value: str, data_type: DataType) -> bool:
    if type(data_type) in BITS:
        return _parses(int, value) and _json_fits(int(value), data_type)
    if isinstance(data_type, BooleanType):
        return value.lower() in ("true", "false")
    return isinstance(data_type, StringType) or _parses(_parser(data_type), value)


def _parser(data_type: DataType) -> Callable[[str], object]:
    if isinstance(data_type, DateType):
        return date.fromisoformat
    return datetime.fromisoformat if isinstance(data_type, TimestampType) else float


def _parses(parse: Callable[[str], object], value: str) -> bool:
    try:
        parse(value)
    except ValueError:
        return False
    return True


def is_misfit(ingest: Ingest) -> Column:
    """True for a record that does not fit the schema, or that a check keeps out."""
    return F.col(CORRUPT).isNotNull() | fails_any(ingest.checks)


def reason_of(check: Check) -> str:
    """Why a record that fails a check is refused."""
    return f"check {check.name}: {check.expr} is false"


def files_with_misfits(frame: DataFrame, schema: StructType, ingest: Ingest) -> list[str]:
    """The files, as Spark names them, in which a record does not fit the schema or fails a check."""
    everything = F.length(F.to_json(F.struct(*map(quoted, schema.names), F.col(RESCUED))))
    # All columns are asked for, as below: Spark's parsers look at no others.
    found = frame.where(is_misfit(ingest)).groupBy(FILE).agg(F.max(everything))
    return [row[FILE] for row in found.collect()]


def find_misfits(
    frame: DataFrame, by_name: Mapping[str, BatchFile], schema: StructType, ingest: Ingest
) -> list[Refusal]:
    """Every record that does not fit the schema or fails a check, with the reason and, for the former, its line.

    All columns are selected: with fewer, Spark's parsers look at fewer and find fewer misfits.
    """
    names = [*map(quoted, schema.names), quoted(RESCUED)]
    failed = frame.where(is_misfit(ingest)).withColumns(
        {FAILED: first_failed(ingest.checks), RECORD: F.to_json(F.struct(*names))}
    )
    raws: dict[str, list[str]] = {}
    refusals: list[Refusal] = []
    checks = {check.name: check for check in ingest.checks}
    for row in failed.toArrow().select([FILE, CORRUPT, FAILED, RECORD]).to_pylist():
        if row[CORRUPT] is not None:
            raws.setdefault(row[FILE], []).append(row[CORRUPT])
        else:
            refusals.append(_failing(by_name[row[FILE]], checks[row[FAILED]], row[RECORD]))
    for name, found in raws.items():
        refusals.extend(_unfitting(by_name[name], found, source_schema(schema), ingest))
    return refusals


def _failing(file: BatchFile, check: Check, record: str) -> Refusal:
    raw = "" if check.action == "drop" else record
    return Refusal(file.path, file.version, reason_of(check), raw=raw)


def _unfitting(file: BatchFile, raws: Sequence[str], schema: StructType, ingest: Ingest) -> Iterator[Refusal]:
    options = ingest.options.reader
    for record, raw in _numbered(file, raws):
        if ingest.options.format == "csv":
            reason = explain_csv(raw, file.report.shape, schema, options)
        elif ingest.options.format == "json":
            reason = explain_json(raw, schema)
        else:
            reason = "a value does not fit the schema"
        yield Refusal(file.path, file.version, reason, record, raw)


def _numbered(file: BatchFile, raws: Sequence[str]) -> Iterator[tuple[int | None, str]]:
    """The raw records with their line numbers; None where a record is no single line (multiLine, encodings)."""
    wanted = Counter(raws)
    number = 0
    for block in whole_lines(blocks(file.planned)):  # not of a clean copy, whose numbers would mislead
        for line in block.splitlines():
            number += 1
            text = line.decode("utf-8", "replace")
            if wanted[text] > 0:
                wanted[text] -= 1
                yield number, text
    for text in wanted.elements():
        yield None, text
