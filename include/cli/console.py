"""What the commands print: data on stdout, the rest on stderr; JSON for programs, tables for people."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from include.config.errors import ConfigError, SluiceError

PIPE_WIDTH = 1_000  # piped into a file or a filter, a row stays a line
SENTENCES = ("error", "reason", "raw", "detail", "last failure")
SENTENCE_WIDTH = 24
CELL_PADDING = 3
Row = Mapping[str, object]


Columns = Mapping[str, str]  # title -> key of the row


def columns(*keys: str) -> Columns:
    """Columns that are titled by their keys, in words."""
    return {key.replace("_", " "): key for key in keys}


def print_json(value: object) -> int:
    """One JSON object on a line of its own; returns the number of lines. Times are ISO 8601."""
    # ASCII only: text of files may hold what the terminal's encoding, or JSON readers of lines, do not take.
    sys.stdout.write(json.dumps(value, default=_json_value) + "\n")
    return 1


def print_line(text: str) -> None:
    """A line of data for people."""
    sys.stdout.write(text + "\n")


def note(text: str) -> None:
    """A line about the work, not part of the data."""
    sys.stderr.write(text + "\n")


def print_rows(rows: Iterable[Row], shown_columns: Columns, *, limit: int) -> int:
    """A table of the first `limit` rows; a note says how many are left out. Returns the number of all rows."""
    count = 0
    first: list[Row] = []
    for count, row in enumerate(rows, 1):
        if count <= limit:
            first.append(row)
    if first:
        cells = {title: [shown(row.get(key)) for row in first] for title, key in shown_columns.items()}
        _print_table({title: column for title, column in cells.items() if any(column)})
    if count > limit:
        note(f"{count - limit:,} more; --limit {count} or --json shows all.")
    return count


def _print_table(cells: Mapping[str, Sequence[str]]) -> None:
    """Only sentences wrap; names and figures stay whole, even if the line is then longer than a terminal is wide."""
    # Imported here: rich costs more than most commands.
    from rich import box  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    needed = 0
    for title, column in cells.items():
        natural = max(map(len, (*title.split(), *column)))
        least = min(natural, SENTENCE_WIDTH) if title in SENTENCES else natural
        needed += least + CELL_PADDING
        table.add_column(title, overflow="fold", min_width=least)
    for row in zip(*cells.values(), strict=True):
        table.add_row(*map(Text, row))
    width = max(Console().width, needed) if sys.stdout.isatty() else PIPE_WIDTH
    Console(width=width, soft_wrap=True).print(table, crop=False)


def shown(value: object) -> str:
    """A value in a cell: figures with separators, times in UTC to the second, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
    return printable(str(value))


def printable(text: str) -> str:
    """Text of files and names with control characters made visible: what is shown must not steer the terminal."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def size(count: int) -> str:
    """Bytes for people."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:  # noqa: PLR2004
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def print_error(error: SluiceError, *, as_json: bool) -> None:
    """An error on stderr as a sentence and what to do; with `as_json` also as one object on stdout."""
    note(str(error))
    if as_json:
        print_json({"error": error_object(error)})
        sys.stdout.flush()


def error_object(error: SluiceError) -> dict[str, object]:
    """An error as JSON types; `problems` are those of a ConfigError."""
    return {
        "class": error.error_class,
        "message": error.message,
        "remedy": error.remedy,
        "problems": list(error.problems) if isinstance(error, ConfigError) else [],
        "exit_code": int(error.exit_code),
    }


def _json_value(value: object) -> str:
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else str(value)
