"""The entry point of `sluice`: the commands, and how every error leaves the process."""

import logging
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from types import FrameType

import typer

from include.cli import copy_into, doctor, generate, pipelines, quarantine, replan, reports, runs, schema
from include.cli.console import print_error
from include.config.errors import Defect, SluiceError, UsageError
from include.config.exit_codes import SIGNALLED

DEBUG = "SLUICE_DEBUG"

app = typer.Typer(
    name="sluice",
    help="Exactly-once file ingestion for Spark and Delta. NAME is a pipeline's name, or the path of its YAML file.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for room in (pipelines, runs, reports, quarantine, replan, copy_into, generate, schema, doctor):
    room.register(app)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code (include.config.exit_codes); never raises an Exception.

    A SluiceError is a sentence on stderr, with --json also one object on stdout; SLUICE_DEBUG=1 adds the traceback.
    Anything else is a defect, with its traceback and code 70.
    """
    arguments = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    signal.signal(signal.SIGTERM, _terminated)
    try:
        code = app(arguments, prog_name="sluice", standalone_mode=False)
        sys.stdout.flush()
    except SystemExit as end:
        # Typer turns a broken pipe below a command into exit code 1, which nothing else here uses.
        return _reader_gone() if end.code == 1 else int(end.code or 0)
    except BrokenPipeError:
        return _reader_gone()
    except Exception as error:  # noqa: BLE001 - the last place where a defect can be named
        return _failed(error, as_json="--json" in arguments)
    return int(code or 0)


def _failed(error: Exception, *, as_json: bool) -> int:
    told = error if isinstance(error, SluiceError) else _told(error)
    if isinstance(told, Defect) or os.environ.get(DEBUG) == "1":
        traceback.print_exception(error)
    print_error(told, as_json=as_json)
    return int(told.exit_code)


def _told(error: Exception) -> SluiceError:
    """An exception that is not ours: arguments that Typer refused, or a defect."""
    if isinstance(error, typer.TyperException):
        context = getattr(error, "ctx", None)
        command = "sluice" if context is None else context.command_path
        return UsageError(error.format_message(), remedy=f"`{command} --help` shows what it takes.")
    return Defect(
        f"{type(error).__name__}: {error}",
        remedy="This should not happen: please report it with the traceback above. Running again is safe.",
    )


def _terminated(_number: int, _frame: FrameType | None) -> None:
    """SIGTERM unwinds the stack, so that a running Spark job is ended, too."""
    raise SystemExit(SIGNALLED + signal.SIGTERM)


def _reader_gone() -> int:
    """Whoever read stdout has gone, as in `sluice files NAME | head`: end like any Unix filter, without a word."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return SIGNALLED + signal.SIGPIPE
