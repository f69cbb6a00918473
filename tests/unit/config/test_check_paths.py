from pathlib import Path

import pytest

from include.config.errors import ConfigError
from include.config.paths import check_paths
from include.config.pipeline import Pipeline
from include.config.reader import unpack
from include.config.settings import Settings, load_settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings({"SLUICE_HOME": str(tmp_path)})


def pipeline(source: str, table: str) -> Pipeline:
    text = f"ingest: {{source: '{source}', table: '{table}', options: {{cloudFiles.format: json}}}}"
    return unpack(text, Path("flights.yaml"))


def test_folders_side_by_side_are_fine(settings: Settings, tmp_path: Path) -> None:
    check_paths(pipeline("flights", "bronze.flights"), settings)
    check_paths(pipeline(str(tmp_path / "elsewhere"), str(tmp_path / "elsewhere2")), settings)
    check_paths(pipeline("s3://bucket/in", "s3://bucket/in-table"), settings)


@pytest.mark.parametrize(
    ("source", "table"),
    [
        ("{home}/warehouse", "bronze.flights"),
        ("{home}", "bronze.flights"),
        ("{home}/state", "bronze.flights"),
        ("{home}/state/flights/ledger", "bronze.flights"),
        ("flights", "{home}/landing/flights"),
        ("flights", "{home}/landing/flights/table"),
        ("flights", "{home}/state/flights/table"),
        ("flights/in", "{home}/landing/flights"),
        ("s3://bucket/in", "s3a://bucket/in/table"),
    ],
)
def test_what_a_pipeline_writes_must_not_lie_where_it_reads(settings: Settings, source: str, table: str) -> None:
    home = str(settings.home)
    with pytest.raises(ConfigError) as caught:
        check_paths(pipeline(source.format(home=home), table.format(home=home)), settings)
    assert any("lies inside" in problem for problem in caught.value.problems)


def test_a_symlink_does_not_hide_that_they_nest(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "warehouse").mkdir()
    (tmp_path / "landing").mkdir()
    (tmp_path / "landing" / "flights").symlink_to(tmp_path / "warehouse")
    with pytest.raises(ConfigError):
        check_paths(pipeline("flights", "bronze.flights"), settings)
