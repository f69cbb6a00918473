"""`sluice validate`: are the pipeline files right? And the JSON schema that editors use for them."""

import sys
from pathlib import Path

import typer

from include.cli.arguments import Json, Names
from include.cli.console import note, print_json, print_line
from include.config.errors import ConfigError
from include.config.exit_codes import ExitCode
from include.config.paths import check_paths
from include.config.pipeline import Pipeline
from include.config.reader import load_pipeline, pipeline_files
from include.config.settings import PIPELINES_DIR, Settings, load_settings


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    app.command()(validate)
    app.command("schema-file", hidden=True)(schema_file)


def load(name: str, settings: Settings) -> Pipeline:
    """A pipeline that may be run: its file is right, and its places do not nest.

    Raises:
        ConfigError: it is not.
    """
    pipeline = load_pipeline(name)
    check_paths(pipeline, settings)
    return pipeline


def names_or_all(names: list[str] | None) -> list[str]:
    """The pipelines that were named, or all of the project by the paths of their files."""
    return names or [str(path) for path in pipeline_files()]


def validate(names: Names = None, as_json: Json = False) -> int:
    """Check pipeline files.

    Every problem is told with its line and column; exits with 78 if there is one.
    """
    settings = load_settings()
    wanted = names_or_all(names)
    errors = []
    for name in wanted:
        error = problem_of(name, settings)
        if error is not None:
            errors.append(error)
        if as_json:
            print_json({"pipeline": Path(name).stem, "valid": error is None, "problems": _problems(error)})
        else:
            print_line(f"{'ok' if error is None else 'invalid':8} {Path(name).stem}")
    if not wanted:
        note(f"There are no pipeline files in {PIPELINES_DIR}.")
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise ConfigError(
            f"{len(errors)} of {len(wanted)} pipelines cannot be run.",
            remedy="Correct each place; `sluice validate` checks them again.",
            problems=[problem for error in errors for problem in _problems(error)],
        )
    return int(ExitCode.OK)


def problem_of(name: str, settings: Settings) -> ConfigError | None:
    """Why a pipeline may not be run; None if it may."""
    try:
        load(name, settings)
    except ConfigError as error:
        return error
    return None


def _problems(error: ConfigError | None) -> list[str]:
    if error is None:
        return []
    return list(error.problems) or [error.message]


def schema_file() -> int:
    """Print the JSON schema of pipeline files (include/config/pipeline.schema.json)."""
    from include.config.json_schema import schema_text  # noqa: PLC0415

    sys.stdout.write(schema_text())
    return int(ExitCode.OK)
