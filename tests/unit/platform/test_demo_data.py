"""The demo's landing files hold the package's data, all of it, and landing them again changes nothing."""

import csv
import io
import json
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from include.config.errors import ConfigError
from include.config.settings import load_settings
from tools.demo_data import DIMENSIONS, Landed, land, landing_folder, package_file, write_if_changed


@pytest.fixture(scope="module")
def landing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("landing")
    assert land(folder) == Landed(written=365 + len(DIMENSIONS), unchanged=0, rows=336_776)
    return folder


def test_every_flight_of_the_package_is_in_the_file_of_its_day(landing: Path) -> None:
    with zipfile.ZipFile(package_file("flights.csv.zip")) as archive, archive.open("flights.csv") as raw:
        expected = Counter(
            (f"{int(row['year'])}-{int(row['month']):02}-{int(row['day']):02}", *row.values())
            for row in csv.DictReader(io.TextIOWrapper(raw))
        )
    landed = Counter(
        (file.stem, *("NA" if value is None else str(value) for value in json.loads(line).values()))
        for file in (landing / "flights").iterdir()
        for line in file.open()
    )
    assert landed == expected


def test_numbers_stay_numbers_and_missing_values_are_null(landing: Path) -> None:
    rows = [json.loads(line) for line in (landing / "flights" / "2013-01-01.json").open()]
    assert rows[0]["dep_time"] == 517
    assert rows[0]["time_hour"] == "2013-01-01T10:00:00Z"
    assert any(row["dep_time"] is None for row in rows)


def test_dimension_files_are_the_packages_bytes(landing: Path) -> None:
    for name in DIMENSIONS:
        assert (landing / name / f"{name}.csv").read_bytes() == package_file(f"{name}.csv").read_bytes()


def test_landing_again_touches_no_file(landing: Path) -> None:
    def versions() -> dict[str, tuple[int, int]]:
        return {str(file): (file.stat().st_mtime_ns, file.stat().st_ino) for file in landing.rglob("*.*")}

    before = versions()
    assert land(landing).written == 0
    assert versions() == before


def test_a_damaged_file_is_replaced_and_no_partial_file_stays(tmp_path: Path) -> None:
    file = tmp_path / "planes" / "planes.csv"
    assert write_if_changed(file, b"whole")
    file.write_bytes(b"dam")
    assert write_if_changed(file, b"whole")
    assert [entry.name for entry in file.parent.iterdir()] == ["planes.csv"]


def test_a_bucket_is_refused_as_the_demos_landing_folder() -> None:
    with pytest.raises(ConfigError, match="local disk"):
        landing_folder(load_settings({"SLUICE_LANDING": "s3://bucket/landing"}))
