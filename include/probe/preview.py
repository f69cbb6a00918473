"""What the next load would meet: `sluice plan` looks at the files themselves, without Spark, and writes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Literal

import msgspec

from include.config.ddl import JsonType, schema_of
from include.config.hints import parse_hints
from include.config.pipeline import Ingest, Pipeline
from include.config.settings import Settings
from include.ledger.versions import FileVersion
from include.probe.delimited import Dialect, Grammar, distinct_names
from include.probe.file_types import new_fields, other_types, type_widens
from include.probe.lenient import strict_json
from include.probe.probe import FileReport
from include.probe.records import BadRecord, Spec, spec_of
from include.probe.tasks import latest_schema, probe_tasks
from include.probe.values import columns_of, json_misfit, judged, text_misfit, widest
from include.probe.workers import ProbePool

DriftOutcome = Literal["added", "widened", "rescued", "quarantined", "stops"]
WIDENING = "addNewColumnsWithTypeWidening"
_exact = msgspec.json.Decoder(float_hook=Decimal)
TYPED = ("parquet", "orc", "avro")  # files that say their columns' types


@dataclass(frozen=True)
class Drift:
    """A column that the schema does not have: the file and, where the format has lines, the first line with it.

    Or one that it has with a narrower type. `outcome` is what the load will do: make it a column (`added`), give it the
    wider type (`widened`), keep its values in the rescue column (`rescued`), load nothing (`stops`), or none of the
    file (`quarantined`; of JSON only its records with that key, see `errors`).
    """

    path: str
    column: str
    record: int | None
    outcome: DriftOutcome


@dataclass(frozen=True)
class PlannedError:
    """A record, or a whole file where `record` is None, that the load will not load as it is, and why.

    `outcome` is what it will do: refuse it (`quarantined`), keep in the rescue column what does not fit (`rescued`), or
    give the columns wider types that hold all of it (`widened`).
    """

    path: str
    record: int | None
    reason: str
    outcome: Literal["quarantined", "rescued", "widened"] = "quarantined"


@dataclass(frozen=True)
class Preview:
    """What is in the files: records (where they can be counted without Spark), those to be refused, and drift.

    `errors` names each record that is refused or has a value of another type (of columnar formats: the files that are
    broken), as far as that is seen without Spark.
    `schema_version` is None before the first load, when any column is welcome. `outcome` is what the load will do.
    """

    schema_version: int | None = None
    records: int = 0
    refused_records: int = 0
    broken_files: tuple[tuple[str, str], ...] = ()
    errors: tuple[PlannedError, ...] = ()
    drift: tuple[Drift, ...] = field(default=())

    @property
    def outcome(self) -> str:
        """`stops` where a drift stops the load, `loads` else."""
        return "stops" if any(found.outcome == "stops" for found in self.drift) else "loads"


def preview(settings: Settings, pipeline: Pipeline, files: Sequence[FileVersion]) -> Preview:
    """Look at the files as the load will.

    Raises:
        StorageError: the schema cannot be read.
    """
    ingest = pipeline.ingestion()
    version, schema = latest_schema(settings, pipeline.name)
    if schema is None and ingest.schema_ddl is not None:
        schema = _without_partitions(schema_of(ingest.schema_ddl), ingest)
    spec = spec_of(schema) if schema else None
    tasks = probe_tasks(settings, ingest, files, spec, refuse_unknown=ingest.refuses_unknown)
    if schema and ingest.options.format in ("json", "csv", *TYPED):
        columns = columns_of(judged(schema, ingest.options.reader))
        tasks = [replace(task, columns=columns) for task in tasks]
    pool = ProbePool()
    try:
        reports = pool.map(tasks)
    finally:
        pool.close()
    hinted = [".".join(hint.path) for hint in parse_hints(pipeline.ingestion().options.schema_hints or "")]
    return Preview(
        schema_version=version,
        records=sum(report.records or 0 for report in reports),
        refused_records=sum(len(report.bad) for report in reports),
        broken_files=tuple((report.path, report.reason) for report in reports if report.verdict == "broken"),
        errors=tuple(error for report in reports for error in _errors(report, ingest, schema)),
        drift=tuple(found for report in reports for found in _drift(report, ingest, spec, schema, hinted)),
    )


def _without_partitions(schema: JsonType, ingest: Ingest) -> JsonType:
    of_paths = {name.lower() for name in ingest.options.partition_columns}
    return {**schema, "fields": [field for field in schema["fields"] if field["name"].lower() not in of_paths]}


def _errors(report: FileReport, ingest: Ingest, schema: JsonType) -> list[PlannedError]:
    if report.verdict == "broken":
        return [PlannedError(report.path, None, report.reason)]
    if report.columns is not None:
        outcome: Literal["rescued", "quarantined"] = "quarantined" if ingest.rescued_column is None else "rescued"
        return [
            PlannedError(report.path, None, f"column {name!r} is {seen}, the schema has {known}", outcome)
            for name, seen, known in other_types(report.columns, schema)
            if not _widens(ingest, seen, known)
        ]
    refused = [PlannedError(report.path, bad.record, bad.reason) for bad in report.bad]
    return [*refused, *(_of_misfit(report, bad, ingest, schema) for bad in report.misfits)]


def _of_misfit(report: FileReport, bad: BadRecord, ingest: Ingest, schema: JsonType) -> PlannedError:
    if ingest.options.schema_evolution_mode == WIDENING and _fits_wider(report, bad, ingest, schema):
        return PlannedError(report.path, bad.record, bad.reason, "widened")
    # Of a ragged record nobody knows which value belongs where, so none is rescued.
    kept = ingest.rescued_column is not None and not bad.reason.startswith("has ")
    return PlannedError(report.path, bad.record, bad.reason, "rescued" if kept else "quarantined")


def _fits_wider(report: FileReport, bad: BadRecord, ingest: Ingest, schema: JsonType) -> bool:
    reader = ingest.options.reader
    columns = columns_of(judged(widest(schema), reader))
    if ingest.options.format == "json":
        return not json_misfit(_exact.decode(strict_json(bad.raw, reader)), columns)
    fields = Grammar(Dialect.of(reader)).fields(bad.raw.decode("utf-8", "surrogateescape"))
    return not text_misfit(fields, distinct_names(report.shape), columns, reader.get("nullValue", ""))


def _widens(ingest: Ingest, seen: str, known: str) -> bool:
    return ingest.options.schema_evolution_mode == WIDENING and type_widens(known, seen)


def outcome_of(ingest: Ingest, spec: Spec, column: str) -> DriftOutcome:
    """What the load does with a column (dotted below the top) that the schema does not have."""
    mode = ingest.options.schema_evolution_mode
    if mode.startswith("addNewColumns"):
        return "rescued" if _differs_by_case(spec, column) else "added"
    if mode == "failOnNewColumns":
        return "stops"
    return "quarantined" if ingest.rescued_column is None else "rescued"


def _differs_by_case(spec: Spec, column: str) -> bool:
    parent, _, name = column.rpartition(".")
    known: Spec | None = spec
    for key in parent.replace("[]", ".*").split(".") if parent else []:
        known = known.get(key) if known else None
    return name.lower() in {key.lower() for key in known or {}}


def _drift(
    report: FileReport, ingest: Ingest, spec: Spec | None, schema: JsonType, hinted: Sequence[str]
) -> list[Drift]:
    if spec is None:
        return []
    found: list[tuple[str, int | None]] = []
    if ingest.options.format == "json":
        found = list(report.unknown.items())
    elif ingest.options.format == "csv":
        found = [(name, None) for name in distinct_names(report.shape) if name not in spec]
    elif report.columns is not None:
        found = [(name, None) for name in new_fields(report.columns, schema)]
    wider = [] if report.columns is None else list(other_types(report.columns, schema))
    return [
        *(Drift(report.path, name, None, "widened") for name, *kinds in wider if _widens(ingest, *kinds)),
        *_new(report, ingest, spec, found, hinted),
    ]


def _new(
    report: FileReport, ingest: Ingest, spec: Spec, found: Sequence[tuple[str, int | None]], hinted: Sequence[str]
) -> list[Drift]:
    return [
        Drift(report.path, column, record, outcome_of(ingest, spec, column))
        for column, record in found
        if not any(f"{column}.".startswith(f"{path}.") for path in hinted)
    ]
