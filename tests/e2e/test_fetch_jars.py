"""The jars come by Spark's own resolver, here from a folder; only what the checksum promises is taken."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from include.config.settings import PROJECT_ROOT

NAME = "delta-none-1.0.jar"
CONTENT = b"not really a jar"
FETCH = """
import sys
from pathlib import Path
from tools import fetch_jars
from include.config.errors import SluiceError
folder = Path(sys.argv[1])
try:
    print(fetch_jars.fetch(folder / "jars", folder / "jars.sha256", folder / "ivy"))
except SluiceError as error:
    print(error)
    sys.exit(int(error.exit_code))
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site with its own repository, told to Spark in spark-defaults.conf as the error's remedy says."""
    (tmp_path / "spark-defaults.conf").write_text(f"spark.jars.ivySettings {tmp_path}/ivysettings.xml\n")
    (tmp_path / "ivysettings.xml").write_text(
        '<ivysettings><settings defaultResolver="site"/><resolvers>'
        f'<ibiblio name="site" m2compatible="true" root="file://{tmp_path}/repository/"/>'
        "</resolvers></ivysettings>"
    )
    (tmp_path / "repository").mkdir()
    (tmp_path / "jars.sha256").write_text(f"{hashlib.sha256(CONTENT).hexdigest()}  {NAME}\n")
    return tmp_path


def publish(site: Path, content: bytes) -> None:
    folder = site / "repository" / "io" / "delta" / "delta-none" / "1.0"
    folder.mkdir(parents=True)
    (folder / NAME).write_bytes(content)
    (folder / "delta-none-1.0.pom").write_text(
        "<project><modelVersion>4.0.0</modelVersion><groupId>io.delta</groupId>"
        "<artifactId>delta-none</artifactId><version>1.0</version></project>"
    )


def fetch(site: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", FETCH, str(site)]
    environment = {**os.environ, "SPARK_CONF_DIR": str(site)}
    return subprocess.run(command, cwd=PROJECT_ROOT, env=environment, capture_output=True, text=True, check=False)


def test_a_promised_jar_is_fetched_from_the_sites_own_repository(site: Path) -> None:
    publish(site, CONTENT)
    result = fetch(site)
    assert result.stdout.splitlines()[-1] == f"['{NAME}']", result.stderr
    assert [file.name for file in (site / "jars").iterdir()] == [NAME]
    assert (site / "jars" / NAME).read_bytes() == CONTENT


def test_a_jar_with_another_checksum_is_refused_and_not_installed(site: Path) -> None:
    publish(site, b"another jar")
    result = fetch(site)
    assert result.returncode == 74
    assert "is not the file that" in result.stdout
    assert not (site / "jars" / NAME).exists()


def test_a_jar_that_cannot_be_had_is_named_with_the_ways_out(site: Path) -> None:
    result = fetch(site)
    assert result.returncode == 74
    assert f"{NAME} could not be fetched" in result.stdout
    assert "spark.jars.ivySettings" in result.stdout
