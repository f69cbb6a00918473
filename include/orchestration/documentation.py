"""The page that Airflow shows for a DAG: the pipeline's own description, then what it does in a table."""

from include.config.pipeline import Pipeline
from include.config.settings import Settings
from include.config.transform import Transform


def pipeline_page(pipeline: Pipeline, settings: Settings) -> str:
    """Markdown: the description, a table of facts, and how the run's tasks behave."""
    rows = "\n".join(f"| {_cell(name)} | {_cell(value)} |" for name, value in _facts(pipeline, settings))
    return f"""### {pipeline.name}

{pipeline.description}

| | |
|---|---|
{rows}

`discover` plans what is new without Spark; `load` is skipped when there is nothing; `publish` holds the figures (XCom)
and fails where the run failed. A run may be cleared, repeated or killed at any time: no record is lost or doubled.
"""


def _facts(pipeline: Pipeline, settings: Settings) -> list[tuple[str, str]]:
    if pipeline.transform is not None:
        return _transform_facts(pipeline, pipeline.transform, settings)
    if pipeline.copy_into is not None:
        return _copy_into_facts(pipeline, settings)
    if (cache := pipeline.cache) is not None:
        return [
            ("table", f"`{cache.table}` at `{settings.table_root(cache.table)}`"),
            ("keys", ", ".join(f"`{key}`" for key in cache.keys)),
            ("columns", ", ".join(f"`{column}`" for column in cache.columns)),
            ("schedule", _schedule(pipeline)),
            ("state", f"`{settings.state_root(pipeline.name)}`"),
            ("file", f"`{pipeline.file.name}`"),
        ]
    ingest = pipeline.ingestion()
    options = ingest.options
    limit = f"{options.max_files_per_trigger} files"
    if options.max_bytes_per_trigger is not None:
        limit += f" or {options.max_bytes_per_trigger:,} bytes"
    return [
        ("source", f"`{settings.source_root(ingest.source)}`"),
        ("table", f"`{ingest.table}` at `{settings.table_root(ingest.table)}`"),
        ("format", options.format),
        ("schedule", _schedule(pipeline)),
        ("a planned batch", limit),
        ("a changed file", ingest.changed_files),
        ("on error", ingest.on_error.policy),
        ("state", f"`{settings.state_root(pipeline.name)}`"),
        ("file", f"`{pipeline.file.name}`"),
    ]


def _transform_facts(pipeline: Pipeline, transform: Transform, settings: Settings) -> list[tuple[str, str]]:
    return [
        *_sources(transform, settings),
        ("table", f"`{transform.table}` at `{settings.table_root(transform.table)}`"),
        ("steps", " → ".join(step.kind for step in transform.steps)),
        ("joined tables", ", ".join(f"`{table}`" for table in transform.pinned_tables) or "none"),
        ("schedule", _schedule(pipeline)),
        ("state", f"`{settings.state_root(pipeline.name)}`"),
        ("file", f"`{pipeline.file.name}`"),
    ]


def _sources(transform: Transform, settings: Settings) -> list[tuple[str, str]]:
    if transform.generate is not None:
        return [("source", transform.source_name)]
    return [("source", f"`{table}` at `{settings.table_root(table)}`") for table in transform.tables]


def _copy_into_facts(pipeline: Pipeline, settings: Settings) -> list[tuple[str, str]]:
    return [
        *((f"statement {number}", f"`{_line(one.sql)}`") for number, one in enumerate(pipeline.copy_into or (), 1)),
        *(("table", f"`{table}` at `{settings.table_root(table)}`") for table in pipeline.targets),
        ("schedule", _schedule(pipeline)),
        ("file", f"`{pipeline.file.name}`"),
    ]


def _line(text: str) -> str:
    return " ".join(text.split()).replace("`", "'")


def _schedule(pipeline: Pipeline) -> str:
    if (waited := pipeline.table_schedule) is None:
        return pipeline.schedule if isinstance(pipeline.schedule, str) else "started by hand"
    text = "when these tables changed: " + ", ".join(f"`{table}`" for table in waited.tables)
    if pipeline.cache is None or (refresh := pipeline.cache.refresh) is None:
        return text
    return f"{text}; looked at again at least every {max(60, refresh.least):g} s, refreshed when it is due"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
