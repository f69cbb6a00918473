"""make's first steps: what is missing is named, what is there is not made again, what is wrong is not used."""

import hashlib
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from include.config.errors import ConfigError
from include.config.settings import PROJECT_ROOT
from include.submit.jars import is_intact, read_checksums
from tools.compose_env import TEMPLATE, complete, wanted_names
from tools.fetch_jars import fetch

HOST = PROJECT_ROOT / "tools" / "host.sh"


def host(what: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["/bin/bash", HOST, what], env=environment, capture_output=True, text=True, check=False)


def fake_java(folder: Path, version: str) -> Path:
    """A `java` that tells a version; only `java -version` is asked here."""
    (folder / "bin").mkdir()
    java = folder / "bin" / "java"
    java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
    java.chmod(0o755)
    return folder


def test_missing_java_is_named_with_the_way_to_get_it(tmp_path: Path) -> None:
    result = host("java", PATH="/usr/bin:/bin", JAVA_HOME=str(tmp_path))
    assert result.returncode == 78
    assert "Java 17" in result.stderr
    assert "apt-get install openjdk-17-jre-headless" in result.stderr
    assert "brew install openjdk@17" in result.stderr


def test_too_old_java_is_named_with_its_version(tmp_path: Path) -> None:
    result = host("java", PATH="/usr/bin:/bin", JAVA_HOME=str(fake_java(tmp_path, "11.0.2")))
    assert result.returncode == 78
    assert "version 11" in result.stderr


def test_newer_java_is_taken(tmp_path: Path) -> None:
    home = fake_java(tmp_path, "21.0.1")
    assert host("java", PATH="/usr/bin:/bin", JAVA_HOME=str(home)).stdout.strip() == f"{home}/bin/java"


def test_missing_python_is_named_with_the_way_to_get_it(tmp_path: Path) -> None:
    for tool in ("bash", "cat"):
        (tmp_path / tool).symlink_to(f"/bin/{tool}")
    result = host("python", PATH=str(tmp_path))
    assert result.returncode == 78
    assert "apt-get install python3.11 python3.11-venv" in result.stderr


def test_python_of_the_callers_choice_is_taken() -> None:
    result = host("python", PATH="/usr/bin:/bin", PYTHON=sys.executable)
    assert result.stdout.strip() == sys.executable


def test_intact_jars_are_not_fetched_again(tmp_path: Path) -> None:
    jars, checksums = tmp_path / "jars", tmp_path / "jars.sha256"
    jars.mkdir()
    (jars / "delta-none-1.0.jar").write_bytes(b"jar")
    checksums.write_text(f"{hashlib.sha256(b'jar').hexdigest()}  delta-none-1.0.jar\n")
    assert fetch(jars, checksums, ivy_dir=tmp_path / "ivy") == []
    assert not (tmp_path / "ivy").exists()


def test_a_changed_jar_is_not_taken_for_the_promised_one(tmp_path: Path) -> None:
    jar = tmp_path / "delta-none-1.0.jar"
    jar.write_bytes(b"jar")
    assert is_intact(jar, hashlib.sha256(b"jar").hexdigest())
    assert not is_intact(jar, hashlib.sha256(b"another").hexdigest())


def test_a_checksum_line_without_a_version_is_refused_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "jars.sha256"
    file.write_text(f"{'0' * 64}  delta-none-1.0.jar\n{'0' * 64}  delta.jar\n")
    with pytest.raises(ConfigError, match=r"jars\.sha256:2"):
        read_checksums(file)


def test_installed_jars_are_the_promised_ones() -> None:
    wanted = read_checksums()
    assert len(wanted) == 2
    assert [name for name, checksum in wanted.items() if not is_intact(PROJECT_ROOT / "jars" / name, checksum)] == []


def test_compose_secrets_are_random_complete_and_for_the_owner_only(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert complete(first) == complete(second) == wanted_names(TEMPLATE.read_text())
    values = [dict(line.split("=", 1) for line in file.read_text().splitlines()) for file in (first, second)]
    secret_names = set(values[0]) - {"SLUICE_UID"}
    assert [name for name in secret_names if values[0][name] == values[1][name]] == []
    assert min(len(values[0][name]) for name in secret_names) >= 43
    assert values[0]["SLUICE_UID"] != "0"
    assert stat.S_IMODE(first.stat().st_mode) == 0o600


def test_secrets_that_are_there_are_kept(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("POSTGRES_PASSWORD=mine")
    assert "POSTGRES_PASSWORD" not in complete(file)
    assert file.read_text().startswith("POSTGRES_PASSWORD=mine\n")
    content = file.read_text()
    assert complete(file) == []
    assert file.read_text() == content


def test_airflow_environment_lets_the_callers_values_win() -> None:
    command = [sys.executable, "-m", "tools.airflow_env", sys.executable, "-c"]
    show = "import os; print(os.environ['AIRFLOW__CORE__LOAD_EXAMPLES'], os.environ['AIRFLOW_CONN_SPARK_DEFAULT'])"
    environment = {**os.environ, "AIRFLOW_CONN_SPARK_DEFAULT": "mine"}
    result = subprocess.run(
        [*command, show], cwd=PROJECT_ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == ["False", "mine"]


def test_make_lists_its_targets() -> None:
    listing = subprocess.run(["make"], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True).stdout
    for target in ("setup", "demo", "test", "lint", "format", "ui", "requirements", "env", "bench", "clean", "help"):
        assert f"make {target} " in listing


def test_the_workflow_runs_what_ci_runs_and_ci_runs_make_test() -> None:
    workflow = yaml.safe_load((PROJECT_ROOT / ".github" / "workflows" / "ci.yaml").read_text())
    steps = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    assert steps == [".ci/run"]
    assert (PROJECT_ROOT / ".ci" / "run").read_text().rstrip().endswith("exec make test")
    assert os.access(PROJECT_ROOT / ".ci" / "run", os.X_OK)
