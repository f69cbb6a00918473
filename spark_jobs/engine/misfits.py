"""Records that Spark's reader marks as not fitting, and why in words: the first column whose text or JSON value is
not of the column's type.

Spark's readers only say that a record is corrupt. These run on the few records that are, in the driver, and decide
nothing.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import StructType

from include.config.ingest import Check, Ingest
from include.ledger.quarantine import Refusal
from include.probe.delimited import Dialect, Grammar
from include.probe.streams import blocks, whole_lines
from include.probe.values import JsonType, columns_of, json_misfit, judged, text_misfit
from spark_jobs.engine.batch_files import BatchFile
from spark_jobs.engine.checks import fails_any, first_failed
from spark_jobs.engine.frames import CORRUPT, FILE, RESCUED, quoted
from spark_jobs.engine.names import source_schema

FAILED = "__sluice_failed"
RECORD = "__sluice_record"
UNEXPLAINED = "a value does not fit the schema"


def explain_json(raw: str, columns: Mapping[str, JsonType]) -> str:
    """Why a JSON line does not fit."""
    try:
        record = json.loads(raw, parse_float=Decimal)
    except RecursionError:
        return "nested too deeply"
    except ValueError as error:
        return f"not valid JSON: {error}"
    if not isinstance(record, dict):
        return "not a JSON object"
    return json_misfit(record, columns) or UNEXPLAINED


def explain_csv(raw: str, header: Sequence[str], columns: Mapping[str, JsonType], options: Mapping[str, str]) -> str:
    """Why a CSV line does not fit: its number of fields, or the first field that is not of its column's type."""
    fields = Grammar(Dialect.of(options)).fields(raw)
    return text_misfit(fields, header, columns, options.get("nullValue", "")) or UNEXPLAINED


def explain_xml(raw: str, columns: Mapping[str, JsonType]) -> str:
    """Why an XML record does not fit, given as JSON with the texts of its elements (see exact_xml.py)."""
    try:
        record = json.loads(raw)
    except ValueError:
        return UNEXPLAINED
    elements = {name: value if isinstance(value, list) else [value] for name, value in record.items()}
    for name, values in elements.items():
        if len(values) > 1 and isinstance(columns.get(name), str):
            return f"column {name!r}: the element is there {len(values)} times"
    texts = {name: values[0] for name, values in elements.items() if values and isinstance(values[0], str)}
    return text_misfit(list(texts.values()), list(texts), columns, "") or UNEXPLAINED


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
    columns = columns_of(judged(json.loads(schema.json()), options))
    for record, raw in _numbered(file, raws):
        if ingest.options.format == "csv":
            reason = explain_csv(raw, file.report.shape, columns, options)
        elif ingest.options.format == "json":
            reason = explain_json(raw, columns)
        elif ingest.options.format == "xml":
            reason = explain_xml(raw, columns)
        else:
            reason = UNEXPLAINED
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
