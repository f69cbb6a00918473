"""What the next load would meet: `sluice plan` looks at the files themselves, without Spark, and writes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from include.config.ddl import column_names
from include.config.pipeline import Pipeline
from include.config.settings import Settings
from include.ledger.versions import FileVersion
from include.probe.probe import FileReport
from include.probe.records import Spec, spec_of
from include.probe.tasks import latest_schema, probe_tasks
from include.probe.workers import ProbePool


@dataclass(frozen=True)
class Drift:
    """A column that the schema does not have: the file and, where the format has lines, the first line with it."""

    path: str
    column: str
    record: int | None


@dataclass(frozen=True)
class Preview:
    """What is in the files: records (where they can be counted without Spark), those to be refused, and drift.

    `schema_version` is None before the first load, when any column is welcome. `outcome` is what the load will do.
    """

    schema_version: int | None = None
    records: int = 0
    refused_records: int = 0
    broken_files: tuple[tuple[str, str], ...] = ()
    drift: tuple[Drift, ...] = field(default=())

    @property
    def outcome(self) -> str:
        """`stops` where there is drift, `loads` else."""
        return "stops" if self.drift else "loads"


def preview(settings: Settings, pipeline: Pipeline, files: Sequence[FileVersion]) -> Preview:
    """Look at the files as the load will.

    Raises:
        StorageError: the schema cannot be read.
    """
    options = pipeline.ingestion().options
    version, schema = latest_schema(settings, pipeline.name)
    spec = spec_of(schema) if schema else None
    tasks = probe_tasks(settings, pipeline.ingestion(), files, spec)
    pool = ProbePool()
    try:
        reports = pool.map(tasks)
    finally:
        pool.close()
    hinted = column_names(options.schema_hints) if options.schema_hints else []
    return Preview(
        schema_version=version,
        records=sum(report.records or 0 for report in reports),
        refused_records=sum(len(report.bad) for report in reports),
        broken_files=tuple((report.path, report.reason) for report in reports if report.verdict == "broken"),
        drift=tuple(found for report in reports for found in _drift(report, options.format, spec, hinted)),
    )


def _drift(report: FileReport, file_format: str, spec: Spec | None, hinted: Sequence[str]) -> list[Drift]:
    if spec is None:
        return []
    if file_format == "json":
        return [
            Drift(report.path, path, record)
            for path, record in report.unknown.items()
            if path.split(".")[0] not in hinted
        ]
    if file_format in ("csv", "parquet"):
        names = (column.split(": ")[0] for column in report.shape)
        return [Drift(report.path, name, None) for name in names if name not in spec and name not in hinted]
    return []
