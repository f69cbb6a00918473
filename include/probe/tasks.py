"""From planned file versions to what the probe's workers are asked."""

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from include.config.ddl import schema_of
from include.config.ingest import Ingest
from include.config.settings import Settings
from include.ledger.state_files import list_documents, read_document
from include.ledger.versions import FileVersion
from include.probe.plain_values import JsonType, exact_columns
from include.probe.probe import ProbeTask
from include.probe.records import Spec
from include.probe.streams import CODECS, Planned

# A file up to this size is handed to Spark by its content: opening it costs Spark 0.75 ms, whatever is in it.
SMALL_BYTES = 16 << 10
# The contents of one batch stay in the driver's memory and in the plan: no more of them than this.
KEPT_BYTES = 8 << 20


def planned_file(settings: Settings, file: FileVersion) -> Planned:
    """Where a planned version is, and how it is told from another one."""
    return Planned(settings.file_uri(file.path), file.size, file.modified_at, file.etag)


def probe_tasks(
    settings: Settings,
    ingest: Ingest,
    files: Sequence[FileVersion],
    spec: Spec | None,
    spool: str | None = None,
    *,
    thorough: bool = False,
    refuse_unknown: bool = False,
    schema: JsonType = None,
) -> list[ProbeTask]:
    """One task for each file; `spec` names the keys that the schema knows, None before there is a schema. `schema` is
    that in its JSON form, where it is asked which CSV values are plain.

    `spool` is the folder for clean copies, None for a look that writes nothing. For `thorough` and `refuse_unknown` see
    ProbeTask.
    """
    kind, reader = ingest.options.format, ingest.options.reader
    spec = None if "singleVariantColumn" in reader else spec
    exact = exact_columns(schema) if kind == "csv" else {}
    keep = small_enough(files) if kind == "json" else [False] * len(files)
    return [
        ProbeTask(
            file.path,
            planned_file(settings, file),
            kind,
            spec,
            reader,
            small,
            spool,
            thorough,
            refuse_unknown,
            exact=exact,
        )
        for file, small in zip(files, keep, strict=True)
    ]


def small_enough(files: Sequence[FileVersion]) -> list[bool]:
    """For each file, whether its content is kept: the small uncompressed ones, as long as they are few bytes in all."""
    left, keep = KEPT_BYTES, []
    for file in files:
        small = file.size <= min(SMALL_BYTES, left) and PurePosixPath(file.path).suffix not in CODECS
        left -= file.size if small else 0
        keep.append(small)
    return keep


def spool_of(settings: Settings, pipeline: str, batch: int) -> str:
    """The folder of a batch's clean copies."""
    return settings.state_root(pipeline, "spool", str(batch))


def latest_schema(settings: Settings, pipeline: str) -> tuple[int | None, Any]:
    """The number and the JSON form of the newest schema version; (None, None) before the first.

    Raises:
        StorageError: it cannot be read.
    """
    folder = settings.state_root(pipeline, "schemas")
    numbers = [int(name.removesuffix(".json")) for name in list_documents(folder)]
    if not numbers:
        return None, None
    document = read_document(f"{folder}/{max(numbers)}.json") or {}
    return max(numbers), document.get("schema")


def likely_schema(settings: Settings, pipeline: str, ingest: Ingest) -> JsonType:
    """The next batch's schema in its JSON form, as far as that can be said without Spark's DDL parser; None where it is
    to be inferred.
    """
    schema = latest_schema(settings, pipeline)[1]
    return schema_of(ingest.schema_ddl) if schema is None and ingest.schema_ddl else schema
