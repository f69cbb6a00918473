"""Java on this machine: Spark 4.2 needs 17 or newer. It is what a user must install, so its absence is said plainly."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from include.config.errors import ConfigError

OLDEST_JAVA = 17
REMEDY = (
    "Install Java 17 (Debian and Ubuntu: apt-get install openjdk-17-jre-headless; macOS: brew install openjdk@17) "
    "and have `java` on the PATH, or set JAVA_HOME to its folder."
)
_VERSION = re.compile(r'version "(?:1\.)?(\d+)|^JAVA_VERSION="(?:1\.)?(\d+)', re.MULTILINE)


class JavaMissing(ConfigError):
    """Raised when there is no Java, or one too old for Spark."""


@dataclass(frozen=True)
class Java:
    """A Java that can run Spark: its executable, and its full version text (two builds never share a class archive)."""

    executable: Path
    version: str


def find_java(environ: Mapping[str, str] | None = None) -> Java:
    """The Java that spark-submit will take: that of JAVA_HOME, else the first on the PATH.

    Raises:
        JavaMissing: there is none, it cannot be run, or it is older than 17.
    """
    env = os.environ if environ is None else environ
    executable = _executable(env)
    text = _version_text(executable)
    found = _VERSION.search(text)
    if found is None:
        raise JavaMissing(f"{executable} does not tell its version: {text.strip()[:200]!r}.", remedy=REMEDY)
    major = int(found[1] or found[2])
    if major < OLDEST_JAVA:
        raise JavaMissing(f"{executable} is Java {major}; Spark needs {OLDEST_JAVA} or newer.", remedy=REMEDY)
    return Java(executable, text)


def _executable(env: Mapping[str, str]) -> Path:
    """Spark's own rule (bin/spark-class): JAVA_HOME wins, also when it is wrong."""
    if home := env.get("JAVA_HOME"):
        executable = Path(home, "bin", "java")
        if not os.access(executable, os.X_OK):
            raise JavaMissing(f"JAVA_HOME is {home}, but {executable} is not there.", remedy=REMEDY)
        return executable
    on_path = shutil.which("java", path=env.get("PATH"))
    if on_path is None:
        raise JavaMissing("No Java: JAVA_HOME is not set and there is no `java` on the PATH.", remedy=REMEDY)
    return Path(on_path)


def _version_text(executable: Path) -> str:
    """The `release` file beside bin/ where there is one (no process), else what `java -version` prints."""
    release = executable.resolve().parents[1] / "release"
    if release.is_file():
        return release.read_text(errors="replace")
    try:
        process = subprocess.run(
            [executable, "-version"], capture_output=True, text=True, errors="replace", timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise JavaMissing(f"{executable} cannot be run: {error}.", remedy=REMEDY) from error
    return process.stderr + process.stdout
