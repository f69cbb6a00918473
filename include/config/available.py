"""What the contract knows and this version does not execute yet. Each new part takes its lines out of here."""

from collections.abc import Iterator

from include.config.document import Loc
from include.config.ingest import Ingest
from include.config.pipeline import Pipeline

EXECUTED_FORMATS = ("json", "csv", "parquet", "text")


def unavailable(pipeline: Pipeline) -> Iterator[tuple[Loc, str]]:
    """Where the pipeline asks for something that is not executed yet, and what."""
    if pipeline.ingest is None:
        yield (pipeline.section,), "this section is checked in shape and not executed yet"
    else:
        yield from _of_ingest(pipeline.ingest)


def _of_ingest(ingest: Ingest) -> Iterator[tuple[Loc, str]]:
    options = ingest.options
    at: Loc = ("ingest", "options")
    if options.format not in EXECUTED_FORMATS:
        what = f"{options.format} is not executed yet; executed so far: {', '.join(EXECUTED_FORMATS)}"
        yield (*at, "cloudFiles.format"), what
    if options.format == "json" and options.reader.get("multiLine") == "true":
        yield (*at, "multiLine"), "true is not executed yet for json: write one object a line"
