"""`sluice files` and `status`: what was seen and what became of it. Read by delta-rs, no JVM."""

from collections.abc import Iterable
from pathlib import Path

import typer

from include.cli.arguments import Json, Limit, Name, Names
from include.cli.console import Columns, Row, columns, note, print_error, print_json, print_rows
from include.cli.pipelines import load, names_or_all
from include.config.errors import SluiceError
from include.config.exit_codes import ExitCode
from include.config.settings import Settings, load_settings
from include.config.values import TABLE

# What a person looks for first; --json has the rest.
FILES = {
    **columns("path", "version", "size", "batch", "status"),
    "rows": "rows_loaded",
    "rescued": "rows_rescued",
    "quarantined": "rows_quarantined",
    "error": "error",
}
COPIED = {**FILES, "version in table": "table_version", "statement": "statement"}
STATUS = {
    **columns("pipeline", "table"),
    "version": "table_version",
    "files": "files_loaded",
    "pending": "files_pending",
    "quarantined": "files_quarantined",
    "left out": "files_skipped",
    "rows": "rows_loaded",
    "rows refused": "rows_quarantined",
    "snapshot": "snapshot_version",
    "last failure": "last_failure",
}


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    app.command()(files)
    app.command()(status)


def files(name: Name, as_json: Json = False, limit: Limit = 100) -> int:
    """List every file version and what became of it."""
    from include.ledger.files import iter_files  # noqa: PLC0415 - Delta and Arrow, half a second

    settings = load_settings()
    if (tables := copied_tables(name, settings)) is not None:
        from include.copy_into import results  # noqa: PLC0415

        found = (row for table in tables for row in results.iter_files(settings, table))
        if _print(found, COPIED, as_json=as_json, limit=limit) == 0:
            note(f"{name}: no COPY INTO statement has loaded a file into it yet.")
        return int(ExitCode.OK)
    pipeline = load(name, settings)
    if _print(iter_files(settings, pipeline), FILES, as_json=as_json, limit=limit) == 0:
        note(f"{pipeline.name}: no file was seen yet. `sluice plan {name}` shows what a run would find.")
    return int(ExitCode.OK)


def copied_tables(name: str, settings: Settings) -> tuple[str, ...] | None:
    """The tables whose COPY INTO files are asked for: one by its name, or those of a pipeline; None for ingest."""
    if TABLE.fullmatch(name) and not Path(name).is_file():
        return (name,)
    pipeline = load(name, settings)
    return None if pipeline.copy_into is None else pipeline.targets


def _print(rows: Iterable[Row], shown: Columns, *, as_json: bool, limit: int) -> int:
    if not as_json:
        return print_rows(rows, shown, limit=limit)
    return sum(print_json(row) for row in rows)


def status(names: Names = None, as_json: Json = False) -> int:
    """Sum up pipelines: files and rows.

    One that cannot be read does not hide the others.
    """
    from include.cache.status import status as cache_status  # noqa: PLC0415
    from include.copy_into.results import status as copy_status  # noqa: PLC0415
    from include.ledger.files import status as status_of  # noqa: PLC0415 - Delta and Arrow, half a second
    from include.transform.status import status as transform_status  # noqa: PLC0415

    settings = load_settings()
    rows: list[Row] = []
    worst = ExitCode.OK
    for name in names_or_all(names):
        try:
            pipeline = load(name, settings)
            if pipeline.copy_into is not None:
                rows.append(copy_status(settings, pipeline))
            elif pipeline.cache is not None:
                rows.append(cache_status(settings, pipeline))
            else:
                rows.append((transform_status if pipeline.transform else status_of)(settings, pipeline))
        except SluiceError as error:
            print_error(error, as_json=as_json)
            worst = error.exit_code
    if as_json:
        for row in rows:
            print_json(row)
    else:
        print_rows(rows, STATUS, limit=len(rows) or 1)
    return int(worst)
