"""The cache section and a cached join as real runs: the snapshot that one process made serves the driver of another."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from deltalake import DeltaTable, write_deltalake

from include.config.reader import load_pipeline
from include.config.result import RunResult
from include.config.settings import Settings, load_settings
from include.submit.run import run

FEED = {"delta.enableChangeDataFeed": "true"}


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("SLUICE_HOME", str(tmp_path))
    return load_settings({"SLUICE_HOME": str(tmp_path)}, tmp_path / "none.yaml")


def start(settings: Settings, name: str, **section: Any) -> RunResult:
    file = settings.home / f"{name}.yaml"
    file.write_text(yaml.safe_dump({"name": name, **section}))
    return run(load_pipeline(file), settings)


def test_snapshot_made_by_the_cache_pipeline_serves_the_join_of_another_driver(settings: Settings) -> None:
    cache = {"table": "bronze.planes", "keys": ["tailnum"], "columns": ["seats", "maker"]}
    assert start(settings, "planes_cache", cache=cache).status == "nothing_new"  # there is no such table yet

    planes = pa.table({"tailnum": ["N1", "N2"], "seats": [10, 20], "maker": ["A", "B"]})
    write_deltalake(settings.table_root("bronze.planes"), planes, configuration=FEED)
    made = start(settings, "planes_cache", cache=cache)
    assert (made.status, made.error, made.batches, made.table_version) == ("loaded", None, 1, 0)
    assert made.cache[0]["table_reads"] == 1
    assert start(settings, "planes_cache", cache=cache).status == "nothing_new"

    flights = pa.table({"id": [1, 2, 3], "tailnum": ["N1", "N3", None]})
    write_deltalake(settings.table_root("bronze.flights"), flights, configuration=FEED)
    join = {"table": "bronze.planes", "on": ["tailnum"], "how": "left", "columns": ["seats"], "cached": True}
    transform = {"source": "bronze.flights", "steps": [{"join": join}], "table": "silver.flights"}
    joined = start(settings, "flights", transform=transform)
    assert (joined.status, joined.error) == ("loaded", None)
    assert (joined.cache[0]["hits"], joined.cache[0]["table_reads"], joined.cache[0]["fallbacks"]) == (1, 0, 0)
    rows = DeltaTable(settings.table_root("silver.flights")).to_pyarrow_table(columns=["id", "seats"]).to_pylist()
    assert sorted((row["id"], row["seats"]) for row in rows) == [(1, 10), (2, None), (3, None)]
