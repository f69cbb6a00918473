"""What the contract knows and this version does not execute yet. Each new part takes its lines out of here."""

from collections.abc import Iterator

from include.config.document import Loc
from include.config.ingest import WITHOUT_RESCUE, Ingest
from include.config.options import IngestOptions
from include.config.pipeline import Pipeline
from include.config.spark_options import LENIENT_JSON
from include.config.transform import Transform

EXECUTED_FORMATS = ("json", "csv", "parquet", "avro", "orc", "text", "xml", "binaryFile")
# What a stream join reads again must be the same rows again.
NOT_BEFORE_STREAM_JOIN = ("deduplicate", "join", "custom")
_OPTIONS: Loc = ("ingest", "options")


def unavailable(pipeline: Pipeline) -> Iterator[tuple[Loc, str]]:
    """Where the pipeline asks for something that is not executed yet, and what."""
    if pipeline.transform is not None:
        yield from _of_steps(pipeline.transform)
        return
    if pipeline.copy_into is not None:
        return  # what a statement cannot have yet is refused with the statement
    if pipeline.cache is not None:
        return
    if pipeline.ingest is None:
        yield (pipeline.section,), "this section is checked in shape and not executed yet"
        return
    for name, what in unavailable_options(pipeline.ingest):
        yield (*_OPTIONS, name), what


def _of_steps(transform: Transform) -> Iterator[tuple[Loc, str]]:
    for number, step in enumerate(transform.steps):
        if step.kind in NOT_BEFORE_STREAM_JOIN and transform.steps[-1].stream_join is not None:
            what = "before a stream_join is not executed yet: give it a pipeline of its own"
            yield ("transform", "steps", number, step.kind), what


def unavailable_options(ingest: Ingest) -> Iterator[tuple[str, str]]:
    """The options that are not executed yet, each with what is not."""
    yield from _common(ingest.options)
    yield from _without_rescue(ingest.options)
    yield from _of_reader(ingest)


def _common(options: IngestOptions) -> Iterator[tuple[str, str]]:
    if options.format not in EXECUTED_FORMATS:
        yield "cloudFiles.format", _only(options.format, EXECUTED_FORMATS)


def _without_rescue(options: IngestOptions) -> Iterator[tuple[str, str]]:
    if options.format not in WITHOUT_RESCUE:
        return
    what = f"is not executed for {options.format}: what does not fit is quarantined"
    if options.schema_evolution_mode == "rescue":
        yield "cloudFiles.schemaEvolutionMode", f"rescue {what}"
    if "rescued_data_column" in options.model_fields_set:
        yield "rescuedDataColumn", what


def _of_reader(ingest: Ingest) -> Iterator[tuple[str, str]]:
    kind, reader = ingest.options.format, ingest.options.reader
    if "singleVariantColumn" in reader and ingest.schema_ddl is not None:
        yield "singleVariantColumn", "goes without ingest.schema: it is the one column"
    if kind == "json" and reader.get("multiLine") == "true" and "lineSep" in reader:
        yield "lineSep", "goes without multiLine: then a file is one JSON value"


def unavailable_in_statements(ingest: Ingest) -> Iterator[tuple[str, str]]:
    """The options that COPY INTO does not execute, each with what is not."""
    yield from unavailable_options(ingest)
    reader = ingest.options.reader
    if "lineSep" in reader:
        yield "lineSep", "is not executed yet: records end where lines end"
    for name in LENIENT_JSON:
        if reader.get(name) == "true":
            yield name, "true is not executed yet: other lines than strict JSON are quarantined"


def _only(value: str, executed: tuple[str, ...]) -> str:
    return f"{value} is not executed yet; executed so far: {', '.join(executed)}"
