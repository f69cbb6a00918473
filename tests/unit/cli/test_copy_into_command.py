"""`sluice copy-into` as far as it goes without a JVM: what is refused, and nothing new."""

import json
from pathlib import Path

import pytest
from deltalake import DeltaTable, Field, Schema
from deltalake.schema import PrimitiveType

from include.cli.main import main

SQL = "COPY INTO bronze.t FROM 'in' FILEFORMAT = CSV"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "landing" / "in").mkdir(parents=True)
    monkeypatch.setenv("SLUICE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "/nonexistent")  # no Java, no flock
    return tmp_path


def _table(home: Path) -> None:
    DeltaTable.create(str(home / "warehouse" / "bronze" / "t"), Schema([Field("id", PrimitiveType("long"))]))


def test_nothing_new_is_three_zeros_without_a_jvm(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _table(home)
    assert main(["copy-into", SQL, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "num_affected_rows": 0,
        "num_inserted_rows": 0,
        "num_skipped_corrupt_files": 0,
        "files": [],
    }
    assert main(["files", "bronze.t", "--json"]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("arguments", "code", "error_class"),
    [
        (["COPY INTO bronze.t FROM 'in' FILEFORMT = CSV"], 64, "COPY_INTO_SYNTAX_ERROR"),
        ([SQL], 66, "DELTA_MISSING_DELTA_TABLE_COPY_INTO"),
        ([SQL.replace("'in'", ":source"), "--param", "source"], 64, "UsageError"),
        ([SQL.replace("bronze.t", "delta.`{home}/landing/in/t`")], 78, "ConfigError"),
    ],
)
def test_what_is_wrong_is_one_object_with_its_class_and_exit_code(
    home: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, error_class: str
) -> None:
    assert main(["copy-into", *(word.format(home=home) for word in arguments), "--json"]) == code
    error = json.loads(capsys.readouterr().out)["error"]
    assert (error["class"], error["exit_code"]) == (error_class, code)
    assert error["remedy"]


def test_a_source_that_is_not_there_is_66(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _table(home)
    assert main(["copy-into", SQL.replace("'in'", ":source"), "--param", "source=absent", "--json"]) == 66
    assert "absent" in capsys.readouterr().out
