"""The command as a person or a script meets it: what is on stdout, what on stderr, and the exit code."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from include.cli.main import main
from include.config.pipeline import Pipeline
from include.config.reader import pipeline_files
from include.config.settings import Settings

GOOD = "ingest: {source: flights, table: bronze.flights, options: {cloudFiles.format: json}}\n"
BAD = "ingest: {sorce: flights, table: bronze.flights, options: {cloudFiles.format: json}}\n"
NOT_YET = GOOD.replace("json}", "json, multiLine: true, lineSep: ';'}")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SLUICE_HOME", str(tmp_path / "home"))
    for name in ("SLUICE_LANDING", "SLUICE_WAREHOUSE", "SLUICE_STATE", "SLUICE_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home"


@pytest.fixture
def flights(tmp_path: Path, home: Path) -> Path:
    file = tmp_path / "flights.yaml"
    file.write_text(GOOD)
    (home / "landing" / "flights").mkdir(parents=True)
    return file


def land(home: Path, name: str, content: str = '{"id": 1}\n') -> None:
    path = home / "landing" / "flights" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def last_json(text: str) -> dict[str, object]:
    loaded = json.loads(text.splitlines()[-1])
    assert isinstance(loaded, dict)
    return loaded


def test_validate_checks_every_pipeline_of_the_project(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate"]) == 0
    assert capsys.readouterr().out.splitlines() == [f"ok       {file.stem}" for file in pipeline_files()]


def test_validate_tells_every_problem_of_every_file_and_exits_with_78(
    tmp_path: Path, flights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in (("bad", BAD), ("later", NOT_YET)):
        (tmp_path / f"{name}.yaml").write_text(text)
    names = [str(flights), str(tmp_path / "bad.yaml"), str(tmp_path / "later.yaml")]
    assert main(["validate", *names]) == 78
    captured = capsys.readouterr()
    assert captured.out.splitlines() == ["ok       flights", "invalid  bad", "invalid  later"]
    assert "bad.yaml:1:10: ingest.sorce: unknown key; did you mean source?" in captured.err
    assert "ingest.options.lineSep: goes without multiLine" in captured.err
    assert "Traceback" not in captured.err

    assert main(["validate", "--json", *names]) == 78
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["pipeline"], line["valid"]) for line in lines[:-1]] == [
        ("flights", True),
        ("bad", False),
        ("later", False),
    ]
    assert lines[-1]["error"]["problems"] == lines[1]["problems"] + lines[2]["problems"]


def test_validate_refuses_places_that_nest(tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "loop.yaml"
    file.write_text(GOOD.replace("source: flights", f"source: {home}/warehouse"))
    assert main(["validate", str(file)]) == 78
    assert "lies inside" in capsys.readouterr().err


def test_plan_shows_what_is_new_and_writes_nothing(
    flights: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    land(home, "a\x1b[31m.json")
    land(home, "sub/b.json")
    land(home, "_ignored.json")
    before = sorted(home.rglob("*"))
    assert main(["plan", str(flights)]) == 0
    text = capsys.readouterr().out
    assert "2 new files" in text
    assert "\x1b" not in text, "the name of a file must not steer the terminal"
    assert main(["plan", str(flights), "--json"]) == 0
    plan = last_json(capsys.readouterr().out)
    assert isinstance(plan["new_files"], list)
    assert [file["path"] for file in plan["new_files"]] == ["flights/a\x1b[31m.json", "flights/sub/b.json"]
    assert plan["discovered"] == 2
    assert sorted(home.rglob("*")) == before


def test_a_known_error_is_told_with_its_remedy_and_code_and_no_traceback(
    tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "flights.yaml"
    file.write_text(GOOD)
    assert main(["plan", str(file), "--json"]) == 66
    captured = capsys.readouterr()
    error = last_json(captured.out)["error"]
    assert isinstance(error, dict)
    assert (error["class"], error["exit_code"]) == ("SourceNotFound", 66)
    assert error["remedy"] in captured.err
    assert "Traceback" not in captured.err


def test_debug_adds_the_traceback(
    flights: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLUICE_DEBUG", "1")
    assert main(["plan", "nowhere"]) == 78
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["plan"], ["plna", "x"], ["plan", "x", "--jsn"], ["plan", "x", "--limit", "0"], ["run", "a", "b"]]
)
def test_wrong_arguments_exit_with_64(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*arguments, "--json"]) == 64
    captured = capsys.readouterr()
    error = last_json(captured.out)["error"]
    assert isinstance(error, dict)
    assert error["class"] == "UsageError"
    assert "--help" in captured.err


def test_an_unknown_pipeline_suggests_one(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "flihgts"]) == 78
    assert "did you mean flights" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["nowhere"], ["{bad}"]])
def test_run_ends_with_a_result_also_when_it_cannot_begin(
    arguments: list[str], tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(BAD)
    assert main(["run", *(argument.format(bad=bad) for argument in arguments), "--json", "--run-id", "r1"]) == 78
    result = last_json(capsys.readouterr().out)
    assert (result["status"], result["run_id"], result["exit_code"]) == ("failed", "r1", 78)
    assert "ConfigError" in str(result["error"])


def test_a_run_over_an_empty_folder_has_nothing_new(flights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(flights), "--json"]) == 0
    result = last_json(capsys.readouterr().out)
    assert (result["pipeline"], result["status"]) == ("flights", "nothing_new")


def test_a_defect_exits_with_70_and_its_traceback(
    flights: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_pipeline: Pipeline, _settings: Settings, _run_id: str, *, dry_run: bool) -> None:
        raise ZeroDivisionError(f"dry_run={dry_run}")

    monkeypatch.setattr("include.ledger.discover.discover", broken)
    assert main(["plan", str(flights), "--json"]) == 70
    captured = capsys.readouterr()
    assert "ZeroDivisionError" in captured.err
    assert "Traceback" in captured.err
    error = last_json(captured.out)["error"]
    assert isinstance(error, dict)
    assert error["class"] == "Defect"


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "import sys; from include.cli.main import main; sys.exit(main())", *arguments]


def test_a_reader_that_goes_away_ends_the_command_without_a_word(flights: Path, home: Path) -> None:
    for number in range(2_000):
        land(home, f"{number:04}-{'x' * 100}.json")
    process = subprocess.Popen(
        command("plan", str(flights), "--json"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(60) == 128 + signal.SIGPIPE
    assert process.stderr is not None
    assert process.stderr.read() == b""


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; from include.cli.main import main; main(['--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "quarantine" in done.stdout
    assert not {"deltalake", "pyarrow", "pyspark", "airflow", "obstore", "rich.table"} & set(done.stderr.split())
