"""`run` as far as it goes without Spark: what needs no JVM must not look for one."""

from dataclasses import replace
from pathlib import Path

import pytest

from include.config.exit_codes import ExitCode
from include.config.pipeline import Pipeline
from include.config.settings import Settings
from include.submit.run import exit_code_of, run


@pytest.fixture
def landing(settings: Settings) -> Path:
    folder = Path(settings.source_root("trips"))
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def no_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "no-java"))


@pytest.mark.usefixtures("landing", "no_java")
def test_nothing_new_starts_no_jvm(pipeline: Pipeline, settings: Settings) -> None:
    result = run(pipeline, settings)
    assert (result.status, exit_code_of(result)) == ("nothing_new", ExitCode.OK)
    assert result.run_id.startswith("cli__")


@pytest.mark.usefixtures("no_java")
def test_new_files_without_java_fail_with_the_remedy(pipeline: Pipeline, settings: Settings, landing: Path) -> None:
    (landing / "a.json").write_text('{"id": 1}\n')
    result = run(pipeline, settings, "r1")
    assert (result.status, exit_code_of(result)) == ("failed", ExitCode.CONFIG)
    assert "JAVA_HOME" in (result.error or "")


def test_a_missing_source_is_a_failed_run(pipeline: Pipeline, settings: Settings) -> None:
    result = run(pipeline, settings, "r1")
    assert (result.status, exit_code_of(result)) == ("failed", ExitCode.NOT_FOUND)
    assert "trips" in (result.error or "")


def test_a_table_inside_its_own_source_is_refused_before_anything_is_listed(
    pipeline: Pipeline, settings: Settings, landing: Path
) -> None:
    nested = replace(settings, warehouse=str(landing / "warehouse"))
    result = run(pipeline, nested, "r1")
    assert (result.status, exit_code_of(result)) == ("failed", ExitCode.CONFIG)
    assert not Path(settings.state).exists()
