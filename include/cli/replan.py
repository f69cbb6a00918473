"""`sluice retry` and `sluice forget`: load known files once more."""

from typing import TYPE_CHECKING

import typer

from include.cli.arguments import Json, Name, Paths
from include.cli.console import print_json, print_line, printable
from include.cli.pipelines import load
from include.config.exit_codes import ExitCode
from include.config.settings import load_settings

if TYPE_CHECKING:
    from include.ledger.replan import Replanned


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    app.command()(retry)
    app.command()(forget)


def retry(name: Name, paths: Paths, as_json: Json = False) -> int:
    """Plan files again, as they are now.

    The next run loads them in place of what was loaded of them before: the old rows go in the commit that brings the
    new ones.
    """
    from include.ledger.replan import retry as plan_again  # noqa: PLC0415 - Delta and Arrow, half a second
    from include.submit.steps import new_run_id  # noqa: PLC0415

    settings = load_settings()
    pipeline = load(name, settings)
    planned = plan_again(pipeline, settings, paths, new_run_id())
    return print_replanned(pipeline.name, planned, as_json=as_json)


def print_replanned(pipeline: str, planned: "Replanned", *, as_json: bool) -> int:
    """Show which files are planned again, and return the exit code."""
    if as_json:
        batches = {"first_batch": planned.first_batch, "last_batch": planned.last_batch}
        print_json({"pipeline": pipeline, "paths": planned.paths, **batches})
        return int(ExitCode.OK)
    for path in planned.paths:
        print_line(printable(path))
    print_line(f"Planned again: {len(planned.paths):,} files. `sluice run {pipeline}` loads them.")
    return int(ExitCode.OK)


def forget(name: Name, paths: Paths, as_json: Json = False) -> int:
    """Take files for never seen: the next run loads those that are there.

    No row is removed now. A file that is there is loaded in place of its old rows; one that is gone leaves them.
    """
    from include.ledger.replan import forget as take_for_new  # noqa: PLC0415 - Delta and Arrow, half a second
    from include.submit.steps import new_run_id  # noqa: PLC0415

    settings = load_settings()
    pipeline = load(name, settings)
    forgotten = take_for_new(pipeline, settings, paths, new_run_id())
    if as_json:
        print_json({"pipeline": pipeline.name, "paths": forgotten.paths})
        return int(ExitCode.OK)
    for path in forgotten.paths:
        print_line(printable(path))
    print_line(f"Forgotten: {len(forgotten.paths):,} files. `sluice run {name}` loads those that are there.")
    return int(ExitCode.OK)
