"""A home of its own for each test, and executables that are scripts of the test's own."""

from collections.abc import Callable
from pathlib import Path

import pytest

from include.config.pipeline import Pipeline
from include.config.reader import load_pipeline
from include.config.settings import Settings, load_settings

Script = Callable[[str, str], Path]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings({"SLUICE_HOME": str(tmp_path / "home")}, tmp_path / "no-settings.yaml")


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    file = tmp_path / "trips.yaml"
    file.write_text(
        "name: trips\ningest:\n  source: trips\n  table: bronze.trips\n"
        "  options: {cloudFiles.format: json, cloudFiles.inferColumnTypes: true}\n"
    )
    return load_pipeline(file)


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """Write an executable shell script: script("bin/java", "echo 17")."""

    def write(name: str, body: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        return path

    return write
