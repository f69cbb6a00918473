"""`sluice copy-into`: one COPY INTO statement, without a pipeline file."""

import json
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from include.cli.arguments import Json
from include.cli.console import columns, note, print_json, print_line, print_rows
from include.config.errors import Defect, TableLocked, UsageError
from include.config.exit_codes import ExitCode
from include.config.paths import check_paths
from include.config.pipeline import Pipeline
from include.config.sections import CopyStatement
from include.config.settings import Settings, load_settings
from include.copy_into.statement import CopyInto, read_statement

if TYPE_CHECKING:
    from include.copy_into.plan import CopyPlan
    from include.submit.job import SparkJob

# The statement's pipeline has this name, in logs and for the reports of failures.
NAME = "_copy_into"
POLL_SECONDS = 0.5
SHOWN_FILES = 100
Sql = Annotated[str, typer.Argument(metavar="SQL", help="COPY INTO table FROM 'source' FILEFORMAT = ...")]
Parameters = Annotated[
    list[str] | None, typer.Option("--param", metavar="NAME=VALUE", help="The value of :NAME in the statement.")
]
Wait = Annotated[int, typer.Option("--wait", min=0, help="Seconds to wait while another run writes the table.")]


def register(app: typer.Typer) -> None:
    """Add this room's command."""
    app.command("copy-into")(copy_into)


def copy_into(sql: Sql, as_json: Json = False, param: Parameters = None, wait: Wait = 600) -> int:
    """Load files into a table by one COPY INTO statement; a file that is in it is not loaded again.

    With VALIDATE nothing is written: exits with 65 where the statement would be refused.
    """
    settings = load_settings()
    parameters = _parameters(param or [])
    statement = read_statement(sql, parameters)
    with tempfile.TemporaryDirectory(prefix="sluice-") as folder:
        pipeline = _pipeline(Path(folder), statement)
        check_paths(pipeline, settings)
        if statement.validate is not None:
            return _validate(pipeline, settings, Path(folder), as_json=as_json)
        result = _load(pipeline, statement, settings, wait)
    if as_json:
        print_json(result)
    else:
        _print(result)
    return int(ExitCode.OK)


def _parameters(written: list[str]) -> dict[str, str]:
    parameters = {}
    for text in written:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"--param {text} is not NAME=VALUE.", remedy="Write --param day=2024-01-31.")
        parameters[name] = value
    return parameters


def _pipeline(folder: Path, statement: CopyInto) -> Pipeline:
    """The statement as a pipeline, written down for the job. VALIDATE is allowed here, unlike in pipeline files."""
    file = folder / "statement.json"
    file.write_text(json.dumps({"sql": statement.sql, "parameters": dict(statement.parameters)}))
    section = CopyStatement.model_construct(sql=statement.sql, parameters=dict(statement.parameters))
    return Pipeline.model_construct(name=NAME, file=file, copy_into=(section,))


def _job(pipeline: Pipeline, settings: Settings, run_id: str, planned_bytes: int) -> "SparkJob":
    from include.submit.job import plan_job  # noqa: PLC0415 - only where there is something to do

    job = plan_job(pipeline, settings, run_id, planned_bytes)
    return replace(job, arguments=("--statement", str(pipeline.file), "--run-id", run_id))


def _load(pipeline: Pipeline, statement: CopyInto, settings: Settings, wait: int) -> dict[str, Any]:
    from include.copy_into.plan import plan_statements  # noqa: PLC0415 - Delta and Arrow, half a second
    from include.copy_into.results import refuse_rejected, results  # noqa: PLC0415
    from include.submit.steps import new_run_id  # noqa: PLC0415

    plan = plan_statements(settings, [statement], new_run_id())
    if plan.statements[0].batches:
        _bring_to_end(pipeline, settings, plan, wait)
    refuse_rejected(settings, plan)
    return results(settings, plan)[0].to_dict()


def _bring_to_end(pipeline: Pipeline, settings: Settings, plan: "CopyPlan", wait: int) -> None:
    """Run the job, unless whoever holds the table does this statement's batch, too.

    Raises:
        TableLocked: the table was held all the time, and the batch is not over.
        Reported: the job failed.
    """
    from include.copy_into.results import over  # noqa: PLC0415
    from include.submit.steps import submit_step  # noqa: PLC0415

    job = _job(pipeline, settings, plan.run_id, plan.pending_bytes)
    deadline = time.monotonic() + wait
    while not over(settings, plan):
        code = submit_step(job, settings)
        if code is ExitCode.OK and not over(settings, plan):
            raise Defect("The job ended well without bringing the statement to its end.", remedy="Run it again.")
        if code is ExitCode.LOCKED and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        elif code is not ExitCode.OK:
            _raise(pipeline, settings, plan, code)


def _raise(pipeline: Pipeline, settings: Settings, plan: "CopyPlan", code: ExitCode) -> None:
    from include.submit.failures import failure_report  # noqa: PLC0415

    failure = failure_report(pipeline, settings, plan.run_id, code)
    if code is ExitCode.LOCKED:
        raise TableLocked(failure.message, remedy="It is planned: the next statement on the table loads it.")
    raise Reported(failure.error_class, failure.message, failure.remedy, code)


class Reported(Defect):
    """Raised for what a job reported: with the class, the message and the exit code that it gave."""

    def __init__(self, error_class: str, message: str, remedy: str, code: ExitCode) -> None:
        super().__init__(message, remedy=remedy)
        self._class = error_class
        self.exit_code = code  # type: ignore[misc]

    @property
    def error_class(self) -> str:
        """The class that the job named."""
        return self._class


def _validate(pipeline: Pipeline, settings: Settings, folder: Path, *, as_json: bool) -> int:
    from include.submit.failures import failure_report  # noqa: PLC0415 - Delta and Arrow, half a second
    from include.submit.steps import new_run_id, submit_step  # noqa: PLC0415

    answer = folder / "validated.json"
    run_id = new_run_id()
    job = _job(pipeline, settings, run_id, 0)
    # Nothing is written, so the table's lock is not needed.
    job = replace(job, arguments=(*job.arguments, "--validate", str(answer)), lock_file=folder / "own.lock")
    code = submit_step(job, settings)
    if code is not ExitCode.OK:
        failure = failure_report(pipeline, settings, run_id, code)
        raise Reported(failure.error_class, failure.message, failure.remedy, code)
    found = json.loads(answer.read_text())
    if as_json:
        print_json(found)
    else:
        _print_validated(found)
    return int(ExitCode.OK if found["valid"] else ExitCode.DATA_REFUSED)


def _print(result: Mapping[str, Any]) -> None:
    files = result["files"]
    print_rows(files, columns("path", "status", "rows_loaded", "rows_quarantined", "error"), limit=SHOWN_FILES)
    print_line(
        f"num_affected_rows: {result['num_affected_rows']:,}; num_inserted_rows: {result['num_inserted_rows']:,}; "
        f"num_skipped_corrupt_files: {result['num_skipped_corrupt_files']:,}"
    )


def _print_validated(found: Mapping[str, Any]) -> None:
    print_rows(found["rows"], {name: name for name in (found["rows"] or [{}])[0]}, limit=SHOWN_FILES)
    print_rows(found["files"], columns("path", "records", "errors", "readable"), limit=SHOWN_FILES)
    first = [{"path": file["path"], **error} for file in found["files"] for error in file["first_errors"]]
    print_rows(first, columns("path", "record", "reason", "raw"), limit=SHOWN_FILES)
    if found["error"] is None:
        print_line("The statement is valid; nothing was written.")
    else:
        note(f"[{found['error']['class']}] {found['error']['message']}\n  What to do: {found['error']['remedy']}")
