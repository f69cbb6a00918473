"""The Delta jars as jars.sha256 promises them: the one place where their versions stand."""

import hashlib
import re
from pathlib import Path

from include.config.errors import ConfigError
from include.config.settings import PROJECT_ROOT

CHECKSUMS_FILE = PROJECT_ROOT / "jars.sha256"
JAR_NAME = re.compile(r"(?P<artifact>.+)-(?P<version>\d[\w.]*)\.jar")


def read_checksums(file: Path = CHECKSUMS_FILE) -> dict[str, str]:
    """The wanted jars: file name -> SHA-256, as `sha256sum` writes them.

    Raises:
        ConfigError: a line is not a checksum and a jar's name with its version.
    """
    wanted = {}
    for number, line in enumerate(file.read_text().splitlines(), start=1):
        checksum, _, name = line.partition("  ")
        if not re.fullmatch(r"[0-9a-f]{64}", checksum) or not JAR_NAME.fullmatch(name):
            raise ConfigError(
                f"{file}:{number}: not a checksum, two spaces and ARTIFACT-VERSION.jar: {line!r}.",
                remedy=f"Write the file with `cd jars && sha256sum *.jar > ../{file.name}`.",
            )
        wanted[name] = checksum
    return wanted


def is_intact(jar: Path, checksum: str) -> bool:
    """True when `jar` is there and holds the bytes that `checksum` promises."""
    return jar.is_file() and hashlib.sha256(jar.read_bytes()).hexdigest() == checksum
