"""Where a pipeline reads and writes must not overlap: what it writes it would read again."""

import os

from include.config.errors import ConfigError
from include.config.pipeline import Pipeline
from include.config.settings import Settings, is_remote


def check_paths(pipeline: Pipeline, settings: Settings) -> None:
    """Refuse a source, a target and a state folder that lie in each other, symlinks and spellings resolved.

    Raises:
        ConfigError: two of them nest; the message names both places.
        NotAvailableYet: the pipeline's section is not executed yet.
    """
    places = _places(pipeline, settings)
    problems = [
        f"{pipeline.file}: {inner} is {places[inner]}, which lies inside {outer}, {places[outer]}"
        for outer in places
        for inner in places
        if inner != outer and _inside(places[inner], places[outer])
    ]
    if problems:
        raise ConfigError(
            f"{pipeline.file}: what pipeline {pipeline.name} writes, it would read again.",
            remedy="Give source, table and state folders of their own.",
            problems=problems,
        )


def _places(pipeline: Pipeline, settings: Settings) -> dict[str, str]:
    """What the pipeline reads and writes, by words for the message."""
    if (transform := pipeline.transform) is not None:
        read = {f"the table {name} that is read": name for name in (transform.source, *transform.pinned_tables)}
        return {
            **{words: settings.table_root(name) for words, name in read.items()},
            f"transform.table ({transform.table})": settings.table_root(transform.table),
            "the state folder": settings.state_root(pipeline.name),
        }
    ingest = pipeline.ingestion()
    return {
        f"ingest.source ({ingest.source})": settings.source_root(ingest.source),
        f"ingest.table ({ingest.table})": settings.table_root(ingest.table),
        "the state folder": settings.state_root(pipeline.name),
    }


def _inside(inner: str, outer: str) -> bool:
    return (_real(inner) + "/").startswith(_real(outer) + "/")


def _real(location: str) -> str:
    """One spelling for each place: s3a is s3, local symlinks are followed."""
    if is_remote(location):
        scheme, _, rest = location.rstrip("/").partition("://")
        return f"{'s3' if scheme == 's3a' else scheme}://{rest}"
    return os.path.realpath(location).rstrip("/")
