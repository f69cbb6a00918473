"""`sluice quarantine`: look at what was refused, take it out, load it again. Read by delta-rs, no JVM."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from include.cli.arguments import Json, Limit
from include.cli.console import Row, columns, note, print_json, print_line, print_rows
from include.cli.pipelines import load
from include.cli.replan import print_replanned
from include.cli.reports import copied_tables
from include.config.errors import UsageError
from include.config.exit_codes import ExitCode
from include.config.pipeline import Pipeline
from include.config.settings import Settings, load_settings

SHOWN = columns("path", "record", "reason", "raw", "batch")
ACTIONS = ("show", "export", "replay")
Words = Annotated[
    list[str],
    typer.Argument(
        metavar="[show|export|replay] NAME [PATH]...", help="What to do, a pipeline, and which files of it."
    ),
]
To = Annotated[Path | None, typer.Option("--to", help="export: the file to write, one JSON object a line.")]


def register(app: typer.Typer) -> None:
    """Add this room's command."""
    app.command()(quarantine)


def quarantine(words: Words, as_json: Json = False, limit: Limit = 100, to: To = None) -> int:
    """List what was refused, why, and its raw text.

    `show` (or nothing) lists, `export --to FILE` writes all of it to a file, `replay` plans the files again: after the
    next run what can be loaded now is in the table, and in the quarantine is what is refused still.
    """
    action, name, paths = _parsed(words)
    if (action == "export") != (to is not None):
        raise UsageError("--to FILE goes with `sluice quarantine export`, and only with it.", remedy="Name the file.")
    settings = load_settings()
    tables = copied_tables(name, settings)
    if action == "replay":
        if tables is not None:
            raise UsageError(
                "What COPY INTO refused is not replayed.",
                remedy="Run the statement again with COPY_OPTIONS ('force' = 'true').",
            )
        return _replay(settings, load(name, settings), name, paths, as_json=as_json)
    rows = _named(name, _copied(settings, tables) if tables is not None else _ingested(settings, name), paths, settings)
    if to is not None:
        return _export(rows, to, name, as_json=as_json)
    if as_json:
        for row in rows:
            print_json(row)
    elif print_rows(rows, SHOWN, limit=limit) == 0:
        note(f"{name if tables is not None else load(name, settings).name}: nothing is quarantined.")
    return int(ExitCode.OK)


def _parsed(words: Sequence[str]) -> tuple[str, str, Sequence[str]]:
    """Action, pipeline, paths. A word that is an action is one where a name follows it."""
    if words[0] in ACTIONS and len(words) > 1:
        return words[0], words[1], words[2:]
    return "show", words[0], words[1:]


def _ingested(settings: Settings, name: str) -> Iterable[Row]:
    from include.ledger.files import iter_quarantine  # noqa: PLC0415 - Delta and Arrow, half a second

    return iter_quarantine(settings, load(name, settings))


def _copied(settings: Settings, tables: Sequence[str]) -> Iterable[Row]:
    from include.copy_into import results  # noqa: PLC0415

    return (row for table in tables for row in results.iter_quarantine(settings, table))


def _named(name: str, rows: Iterable[Row], paths: Sequence[str], settings: Settings) -> list[Row]:
    """The rows of some files, or all.

    Raises:
        UsageError: nothing of a named file is refused.
    """
    wanted = {settings.ledger_path(path) for path in paths}
    found = [row for row in rows if not wanted or row["path"] in wanted]
    if missing := sorted(wanted - {str(row["path"]) for row in found}):
        raise UsageError(
            f"Nothing of {', '.join(missing)} is in the quarantine of {name}.",
            remedy=f"`sluice quarantine {name}` shows what is.",
            paths=missing,
        )
    return found


def _export(rows: Sequence[Row], to: Path, name: str, *, as_json: bool) -> int:
    try:
        with to.open("x", encoding="utf-8") as out:
            for row in rows:
                out.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")
    except FileExistsError:
        raise UsageError(f"{to} is there already.", remedy="Name a file that is not.") from None
    except OSError as error:
        raise UsageError(f"{to} cannot be written: {error.strerror}.", remedy="Name another file.") from error
    if as_json:
        print_json({"name": name, "file": str(to), "rows": len(rows)})
    else:
        print_line(f"{len(rows):,} rows in {to}.")
    return int(ExitCode.OK)


def _replay(settings: Settings, pipeline: Pipeline, name: str, paths: Sequence[str], *, as_json: bool) -> int:
    """Plan every file with something in the quarantine as a new version that replaces the old one.

    That one commit of the ledger is all that is done here. The run replaces a file's rows by those of the new version
    in one commit, and from then on the old version's refusals count no more: killed anywhere, nothing is doubled.
    """
    from include.ledger.replan import retry  # noqa: PLC0415 - Delta and Arrow, half a second
    from include.submit.steps import new_run_id  # noqa: PLC0415

    found = list(dict.fromkeys(str(row["path"]) for row in _named(name, _ingested(settings, name), paths, settings)))
    if not found:
        note(f"{pipeline.name}: nothing is quarantined.")
        if as_json:
            print_json({"pipeline": pipeline.name, "paths": [], "first_batch": None, "last_batch": None})
        return int(ExitCode.OK)
    planned = retry(pipeline, settings, found, new_run_id())
    return print_replanned(pipeline.name, planned, as_json=as_json)
