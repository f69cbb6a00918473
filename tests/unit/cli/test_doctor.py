"""`sluice doctor` names every part that would stop a run, not only the first."""

import json
from pathlib import Path

import pytest

from include.cli.main import main
from include.submit import installation, jars


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SLUICE_HOME", str(tmp_path / "home"))
    for name in ("SLUICE_LANDING", "SLUICE_WAREHOUSE", "SLUICE_STATE", "SLUICE_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home"


def states(text: str) -> dict[str, str]:
    rows = [json.loads(line) for line in text.splitlines()]
    return {row["part"]: row["state"] for row in rows if "part" in row}


def test_an_installation_by_make_setup_has_nothing_broken(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    found = states(capsys.readouterr().out)
    assert set(found.values()) == {"ok"}
    assert {"java", "pyspark", "jars", "guard", "home", "landing", "warehouse", "state", "pipelines"} <= set(found)
    assert (home / "warehouse").is_dir()


def test_every_broken_part_is_named_with_its_remedy_and_the_exit_code_is_78(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SLUICE_WAREHOUSE", str(tmp_path / "file" / "warehouse"))
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "no-java"))
    assert main(["doctor", "--json"]) == 78
    captured = capsys.readouterr()
    found = states(captured.out)
    assert {part for part, state in found.items() if state == "broken"} == {"java", "warehouse"}
    assert found["class archive"] == "slow"
    assert "Install Java 17" in captured.err
    assert "SLUICE_WAREHOUSE" in captured.err


def test_a_bucket_that_cannot_be_listed_is_broken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # A port of this host where nothing listens.
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "none")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "none")
    monkeypatch.setattr(installation, "RETRIES", {"max_retries": 0})
    monkeypatch.setenv("SLUICE_LANDING", "s3://no-bucket/landing")
    assert main(["doctor", "--json"]) == 78
    captured = capsys.readouterr()
    assert states(captured.out)["landing"] == "broken"
    assert "s3://no-bucket/landing cannot be listed" in captured.err


def test_packages_that_share_files_must_be_of_one_version(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(installation, "version", {"pyspark": "4.2.0", "pyspark-client": "4.1.1"}.__getitem__)
    assert main(["doctor", "--json"]) == 78
    assert "pyspark is 4.2.0 but pyspark-client 4.1.1" in capsys.readouterr().err


def test_a_jar_of_other_bytes_is_broken(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    promised = dict.fromkeys(jars.read_checksums(), "0" * 64)
    monkeypatch.setattr(installation, "read_checksums", lambda: promised)
    assert main(["doctor", "--json"]) == 78
    assert "not what jars.sha256 promises" in capsys.readouterr().err
