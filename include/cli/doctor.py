"""`sluice doctor`: what runs need of this machine, and whether the pipeline files are right."""

from dataclasses import asdict

import typer

from include.cli.arguments import Json
from include.cli.console import columns, print_json, print_rows
from include.cli.pipelines import problem_of
from include.config.errors import ConfigError
from include.config.exit_codes import ExitCode
from include.config.reader import pipeline_files
from include.config.settings import PIPELINES_DIR, Settings, load_settings


def register(app: typer.Typer) -> None:
    """Add this room's command."""
    app.command()(doctor)


def doctor(as_json: Json = False) -> int:
    """Check Java, Spark, the jars, the folders and the pipeline files.

    Exits with 78 if something is broken; what is only slow is told, too.
    """
    from include.submit.installation import findings  # noqa: PLC0415 - only this command looks at all of it

    settings = load_settings()
    rows = [asdict(found) for found in findings(settings)] + [_pipelines(settings)]
    if as_json:
        for row in rows:
            print_json(row)
    else:
        print_rows(rows, columns("part", "state", "detail"), limit=len(rows))
    broken = [row for row in rows if row["state"] == "broken"]
    if broken:
        raise ConfigError(
            f"{len(broken)} of {len(rows)} parts are broken.",
            remedy="Mend each; `sluice doctor` checks them again.",
            problems=[f"{row['part']}: {row['detail']} {row['remedy']}" for row in broken],
        )
    return int(ExitCode.OK)


def _pipelines(settings: Settings) -> dict[str, str]:
    files = pipeline_files()
    wrong = [file.stem for file in files if problem_of(str(file), settings)]
    detail = f"{len(files)} files in {PIPELINES_DIR}" if not wrong else f"cannot be run: {', '.join(wrong)}."
    remedy = "`sluice validate` tells each place." if wrong else ""
    return {"part": "pipelines", "state": "broken" if wrong else "ok", "detail": detail, "remedy": remedy}
