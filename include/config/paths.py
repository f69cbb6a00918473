"""Where a pipeline reads and writes must not overlap: what it writes it would read again."""

import os
from collections.abc import Iterator

from include.config.errors import ConfigError
from include.config.pipeline import Pipeline
from include.config.settings import Settings, is_remote


def check_paths(pipeline: Pipeline, settings: Settings) -> None:
    """Refuse a source, a target and a state folder that lie in each other, symlinks and spellings resolved.

    Raises:
        ConfigError: two of them nest; the message names both places.
        NotAvailableYet: the pipeline's section is not executed yet.
    """
    problems = [
        f"{pipeline.file}: {inner} is {places[inner]}, which lies inside {outer}, {places[outer]}"
        for places in _places(pipeline, settings)
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


def _places(pipeline: Pipeline, settings: Settings) -> Iterator[dict[str, str]]:
    """What belongs together and must not nest, by words for the message."""
    state = {"the state folder": settings.state_root(pipeline.name)}
    if pipeline.copy_into is not None:
        for one in pipeline.statements():
            source = {f"the source ({one.source})": settings.source_root(one.source)}
            yield {**source, f"the table ({one.table})": settings.table_root(one.table), **state}
        return
    if (transform := pipeline.transform) is not None:
        read = {f"the table {name} that is read": name for name in (*transform.tables, *transform.pinned_tables)}
        yield {
            **{words: settings.table_root(name) for words, name in read.items()},
            f"transform.table ({transform.table})": settings.table_root(transform.table),
            **state,
        }
        return
    if (cache := pipeline.cache) is not None:
        yield {f"cache.table ({cache.table})": settings.table_root(cache.table), **state}
        return
    ingest = pipeline.ingestion()
    yield {
        f"ingest.source ({ingest.source})": settings.source_root(ingest.source),
        f"ingest.table ({ingest.table})": settings.table_root(ingest.table),
        **state,
    }


def _inside(inner: str, outer: str) -> bool:
    return (_real(inner) + "/").startswith(_real(outer) + "/")


def _real(location: str) -> str:
    """One spelling for each place: s3a is s3, local symlinks are followed."""
    if is_remote(location):
        scheme, _, rest = location.rstrip("/").partition("://")
        return f"{'s3' if scheme == 's3a' else scheme}://{rest}"
    return os.path.realpath(location).rstrip("/")
