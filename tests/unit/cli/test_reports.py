"""files, status, retry and forget over a real ledger; nothing is loaded, so no Spark is needed."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from include.cli.main import main
from include.config.reader import load_pipeline
from include.config.settings import load_settings
from include.ledger.discover import discover

TEXT = "ingest: {source: flights, table: bronze.flights, options: {cloudFiles.format: json}}\n"
Sluice = Callable[..., tuple[int, list[dict[str, Any]]]]


@pytest.fixture
def flights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pipeline whose discovery planned two files and left one out."""
    monkeypatch.setenv("SLUICE_HOME", str(tmp_path / "home"))
    for name in ("SLUICE_LANDING", "SLUICE_WAREHOUSE", "SLUICE_STATE"):
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "flights.yaml"
    file.write_text(TEXT)
    landing = tmp_path / "home" / "landing" / "flights"
    landing.mkdir(parents=True)
    for name in ("a.json", "b.json", "_c.json"):
        (landing / name).write_text('{"id": 1}\n')
    discover(load_pipeline(file), load_settings(), "run-1")
    return file


@pytest.fixture
def sluice(capsys: pytest.CaptureFixture[str]) -> Sluice:
    def call(*arguments: str) -> tuple[int, list[dict[str, Any]]]:
        code = main([*arguments, "--json"])
        return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return call


def by_path(rows: list[dict[str, Any]]) -> Mapping[str, Mapping[str, Any]]:
    return {row["path"].removeprefix("flights/"): row for row in rows}


def test_files_names_every_file_with_the_keys_of_the_contract(flights: Path, sluice: Sluice) -> None:
    code, rows = sluice("files", str(flights))
    found = by_path(rows)
    assert code == 0
    assert {name: row["status"] for name, row in found.items()} == {
        "a.json": "pending",
        "b.json": "pending",
        "_c.json": "skipped",
    }
    keys = "path version size modified_at batch status rows_loaded rows_rescued rows_quarantined error table_version"
    assert all(list(row) == keys.split() for row in rows)


def test_a_table_says_how_many_rows_it_leaves_out(flights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["files", str(flights), "--limit", "1"]) == 0
    captured = capsys.readouterr()
    assert "flights/a.json" in captured.out
    assert "flights/b.json" not in captured.out
    assert "2 more; --limit 3" in captured.err


def test_an_empty_report_says_so_and_exits_with_0(flights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quarantine", str(flights)]) == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "flights: nothing is quarantined.\n")


def test_status_sums_up_and_one_broken_pipeline_does_not_hide_the_others(
    flights: Path, tmp_path: Path, sluice: Sluice
) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("ingest: {}\n")
    code, lines = sluice("status", str(broken), str(flights))
    assert code == 78
    assert lines[0]["error"]["class"] == "ConfigError"
    assert (lines[1]["pipeline"], lines[1]["files_pending"], lines[1]["files_skipped"]) == ("flights", 2, 1)


@pytest.mark.parametrize("command", ["retry", "forget"])
def test_a_path_that_was_never_planned_is_refused_with_a_suggestion(
    command: str, flights: Path, sluice: Sluice
) -> None:
    code, (line,) = sluice(command, str(flights), "flights/a.jsn")
    assert code == 64
    assert "Did you mean flights/a.json?" in line["error"]["message"]


def test_a_file_that_waits_to_be_loaded_is_not_planned_again(flights: Path, sluice: Sluice) -> None:
    code, (line,) = sluice("retry", str(flights), "flights/a.json")
    assert (code, line["error"]["class"]) == (64, "UsageError")


def test_a_forgotten_file_that_is_still_to_be_loaded_waits_for_the_run_after(flights: Path, sluice: Sluice) -> None:
    assert sluice("forget", str(flights), "flights/a.json") == (
        0,
        [{"pipeline": "flights", "paths": ["flights/a.json"]}],
    )
    code, (plan,) = sluice("plan", str(flights))
    assert (code, plan["new_files"], plan["waiting"]) == (0, [], 1)
