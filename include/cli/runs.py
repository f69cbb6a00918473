"""`sluice plan` and `sluice run`: what would be loaded, and loading it."""

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from include.cli.arguments import Json, Limit, Name
from include.cli.console import columns, note, print_error, print_json, print_line, print_rows, size
from include.cli.pipelines import load
from include.config.errors import SluiceError
from include.config.pipeline import Pipeline
from include.config.result import RunResult
from include.config.settings import Settings, load_settings

if TYPE_CHECKING:
    from include.probe.preview import Preview

RunId = Annotated[str | None, typer.Option("--run-id", help="The run's id in all tables; made up if left out.")]


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    app.command()(plan)
    app.command()(run)


def plan(name: Name, as_json: Json = False, limit: Limit = 50) -> int:
    """Show what a run would load.

    New file versions, bytes, micro-batches, what is left out by which rule, and what is in the files: records that
    will be refused, columns that the schema does not have. Reads the files; writes nothing.
    """
    from include.ledger.discover import discover  # noqa: PLC0415 - Delta and Arrow, half a second
    from include.ledger.ledger import read_batches  # noqa: PLC0415
    from include.probe.preview import preview  # noqa: PLC0415

    settings = load_settings()
    pipeline = load(name, settings)
    if pipeline.copy_into is not None:
        return _plan_copy_into(pipeline, settings, as_json=as_json, limit=limit)
    if pipeline.transform is not None:
        return _plan_transform(pipeline, settings, as_json=as_json)
    if pipeline.cache is not None:
        return _plan_cache(pipeline, settings, as_json=as_json)
    discovery = discover(pipeline, settings, "plan", dry_run=True)
    files = [{**asdict(file), "modified_at": _moment(file.modified_at)} for file in discovery.new_files]
    skips = [{"path": skip.path, "rule": skip.rule, "detail": skip.detail} for skip in discovery.new_skips]
    waiting = read_batches(settings, pipeline.name, discovery.first_pending or 1, discovery.last_planned)
    due = [file for batch in waiting for file in batch.files] if discovery.first_pending else []
    look = preview(settings, pipeline, [*due, *discovery.new_files])
    if as_json:
        seen = {**asdict(look), "outcome": look.outcome}
        print_json({"pipeline": pipeline.name, **discovery.to_dict(), "new_files": files, "new_skips": skips, **seen})
        return 0
    print_rows(files, columns("path", "version", "size", "modified_at", "action"), limit=limit)
    print_rows(skips, {"left out": "path", "rule": "rule", "detail": "detail"}, limit=limit)
    print_line(
        f"{pipeline.name}: {discovery.discovered:,} new files, {size(discovery.discovered_bytes)}; "
        f"{discovery.skipped:,} newly left out, {discovery.waiting:,} too young; "
        f"to load: {discovery.pending_files:,} files, {size(discovery.pending_bytes)} "
        f"in {discovery.pending_batches:,} micro-batches."
    )
    _print_preview(look, limit)
    return 0


def _plan_copy_into(pipeline: Pipeline, settings: Settings, *, as_json: bool, limit: int) -> int:
    from include.copy_into.plan import plan_statements  # noqa: PLC0415 - Delta and Arrow, half a second

    found = plan_statements(settings, pipeline.statements(), "plan", dry_run=True)
    files = [{**asdict(file), "modified_at": _moment(file.modified_at)} for file in found.new_files]
    if as_json:
        print_json({"pipeline": pipeline.name, **found.to_dict(), "new_files": files})
        return 0
    print_rows(files, columns("path", "version", "size", "modified_at"), limit=limit)
    print_line(
        f"{pipeline.name}: {len(files):,} new files in {len(found.statements):,} statements; to load: "
        f"{found.pending_files:,} files, {size(found.pending_bytes)} in {found.pending_batches:,} commits."
    )
    return 0


def _plan_transform(pipeline: Pipeline, settings: Settings, *, as_json: bool) -> int:
    from include.transform.plan import plan_transform  # noqa: PLC0415 - Delta and Arrow, half a second

    found = plan_transform(pipeline, settings, "plan", dry_run=True)
    engine = pipeline.transformation().engine
    if as_json:
        print_json({"pipeline": pipeline.name, "engine": engine, **found.to_dict()})
    else:
        print_line(
            f"{pipeline.name}: to read: {found.pending_rows:,} rows, {size(found.pending_bytes)} of "
            f"{found.reads}, in {found.pending_batches:,} micro-batches." + (f" Engine: {engine}." if engine else "")
        )
    return 0


def _plan_cache(pipeline: Pipeline, settings: Settings, *, as_json: bool) -> int:
    from include.cache.refresh import plan_refresh  # noqa: PLC0415 - Delta and Arrow, half a second

    found = plan_refresh(pipeline, settings, "plan")
    if as_json:
        print_json({"pipeline": pipeline.name, **found.to_dict()})
    else:
        print_line(
            f"{pipeline.name}: {'to refresh' if found.has_work else 'nothing to do'}: {found.why}; "
            f"table version {found.table_version}, snapshot version {found.snapshot_version}."
        )
    return 0


def _print_preview(look: "Preview", limit: int) -> None:
    """What is in the files, where there is anything to say."""
    if look.records:
        print_line(f"In them: {look.records:,} records, {look.refused_records:,} of which will be quarantined.")
    errors = [asdict(error) for error in look.errors]
    print_rows(errors, {"error in": "path", "line": "record", "reason": "reason", "outcome": "outcome"}, limit=limit)
    drift = [asdict(found) for found in look.drift]
    print_rows(drift, {"drift in": "path", "column": "column", "line": "record", "it is": "outcome"}, limit=limit)
    if look.outcome == "stops":
        stops = next(found for found in look.drift if found.outcome == "stops")
        print_line(
            f"The load will stop: {stops.column!r} is not in schema version {look.schema_version}. "
            f'Say what it is: options: cloudFiles.schemaHints: "{stops.column} string".'
        )


def _moment(micros: int) -> datetime:
    return datetime.fromtimestamp(micros / 1_000_000, UTC)


def run(name: Name, as_json: Json = False, run_id: RunId = None) -> int:
    """Load what is new, as the DAG does.

    With --json the last line on stdout is the result, also that of a failed run.
    """
    result = _run(name, run_id)
    if as_json:
        print_json(result.to_dict())
    else:
        _print_result(result)
    return result.exit_code


def _run(name: str, run_id: str | None) -> RunResult:
    try:
        settings = load_settings()
        pipeline = load(name, settings)
    except SluiceError as error:
        print_error(error, as_json=False)
        return RunResult(
            pipeline=Path(name).stem,
            run_id=run_id or "",
            status="failed",
            error=str(error),
            exit_code=int(error.exit_code),
        )
    from include.submit.run import run as run_pipeline  # noqa: PLC0415 - Delta and Arrow, half a second

    result = run_pipeline(pipeline, settings, run_id)
    if result.error:
        note(result.error)
    return result


def _print_result(result: RunResult) -> None:
    files, rows = result.files, result.rows
    if result.status == "nothing_new":
        print_line(f"{result.pipeline}: nothing new ({result.seconds:.1f} s).")
        return
    print_line(
        f"{result.pipeline}: {result.status}; {files.loaded:,} files and {rows.loaded:,} rows loaded, "
        f"{files.quarantined:,} files and {rows.quarantined:,} records quarantined, {files.skipped:,} files left out, "
        f"{result.batches:,} micro-batches, {result.seconds:.1f} s."
    )
