"""`sluice generate`: made-up events land as JSON-lines files, a file a batch."""

import json
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated

import typer

from include.cli.arguments import Json
from include.cli.console import print_json, print_line
from include.config.errors import ConfigError, UsageError
from include.config.settings import is_remote, load_settings
from include.config.values import share
from include.generator.events import Stream, batches, users

Folder = Annotated[str, typer.Argument(help="Folder under landing/; the users land in FOLDER_users.")]
Rate = Annotated[float, typer.Option("--rate", min=0.01, help="Events a second.")]
Batches = Annotated[int, typer.Option("--batches", min=1, help="Files.")]
Seconds = Annotated[int, typer.Option("--seconds", min=1, help="Seconds of events in a file.")]
LateShare = Annotated[str, typer.Option("--late", help="Share of events that are 60 to 600 s late.")]
Duplicates = Annotated[str, typer.Option("--duplicates", help="Share of events that come twice.")]
Users = Annotated[int, typer.Option("--users", min=1)]
Skew = Annotated[float, typer.Option("--skew", min=0.0, help="0: all users alike; 1: a few make most events.")]
Seed = Annotated[int, typer.Option("--seed", help="The same seed, the same files.")]
Live = Annotated[bool, typer.Option("--live", help="Wait the seconds of a file after each new one.")]


def register(app: typer.Typer) -> None:
    """Add this room's command."""
    app.command()(generate)


def generate(
    folder: Folder = "events",
    rate: Rate = 100.0,
    batches_: Batches = 10,
    seconds: Seconds = 60,
    late: LateShare = "10%",
    duplicates: Duplicates = "1%",
    users_: Users = 1000,
    skew: Skew = 1.0,
    seed: Seed = 1,
    live: Live = False,
    as_json: Json = False,
) -> int:
    """Make events of users with late ones and duplicates, as files that land.

    Fields: event_id, timestamp, user_id, event_type, value, session_id. examples/events has pipelines for them.
    Again with more --batches: the files that are there stay as they are, and new ones go on after them.
    """
    stream = Stream(rate, batches_, seconds, _share("late", late), _share("duplicates", duplicates), users_, skew, seed)
    landing = _landing(folder)
    _write_if_changed(landing.with_name(f"{landing.name}_users") / "users.json", users(stream))
    count = written = 0
    for number, events in enumerate(batches(stream)):
        changed = _write_if_changed(landing / f"seed-{seed}-{number:06d}.json", events)
        written += changed
        count += len(events)
        if live and changed:
            time.sleep(seconds)
    if as_json:
        print_json({"folder": str(landing), "files": batches_, "written": written, "events": count})
    else:
        print_line(f"{landing}: {batches_:,} files, {written:,} of them new, {count:,} events.")
    return 0


def _share(option: str, text: str) -> float:
    try:
        return share(text)
    except ValueError as error:
        raise UsageError(f"--{option} {error}.", remedy=f"Write it as in --{option} 10%.") from error


def _landing(folder: str) -> Path:
    """Where the files go.

    Raises:
        ConfigError: landing/ is not on local disk.
        UsageError: the folder is not below it.
    """
    landing = load_settings().landing
    if is_remote(landing):
        raise ConfigError(f"Events land on local disk, not in {landing}.", remedy="Unset SLUICE_LANDING.")
    path = Path(os.path.normpath(f"{landing}/{folder}"))
    if Path(landing) not in path.parents:
        raise UsageError(f"{folder!r} is not a folder below {landing}.", remedy="Name a folder, such as events.")
    return path


def _write_if_changed(file: Path, rows: Iterable[Mapping[str, object]]) -> bool:
    """Put the rows there in one step; False, and nothing touched, when they are there already.

    A discovery that runs meanwhile never sees half a file, and a file that stays is no new version to Sluice.
    """
    content = "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows).encode()
    if file.is_file() and file.read_bytes() == content:
        return False
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.{os.getpid()}.part")
    partial.write_bytes(content)
    partial.replace(file)
    return True
