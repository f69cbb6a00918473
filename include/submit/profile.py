"""How the driver's JVM is tuned to a plan: a small one is bound by start-up, a bulk load by the readers' hot loops."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from include.config.errors import ConfigError
from include.config.settings import PROJECT_ROOT
from include.submit.java import Java

# Two cores, JSON into Delta, whole processes: at 62 MB `small` takes 11.7 s of CPU and `bulk` 16.0 s, at 247 MB 26.1 s
# and 20.6 s; the lines cross near 120 MB, in wall time too.
BULK_BYTES = 128 * 1024 * 1024
CACHE_DIR = PROJECT_ROOT / ".cache"
# Changes with what tools/appcds.py records: an archive of older jobs fits, and lacks the classes of newer ones.
RECORDED = "ingest of four formats, a cached join into windows"
JARS_DIR = PROJECT_ROOT / "jars"
LOG4J2_FILE = Path(__file__).with_name("log4j2.properties")
JAR_PATTERNS = ("*delta-spark_*.jar", "*delta-storage-*.jar")


class JarsMissing(ConfigError):
    """Raised when the Delta jars were not fetched."""


@dataclass(frozen=True)
class Profile:
    """Options of the driver's JVM and the number of partitions a shuffle and a table snapshot are cut into."""

    name: str
    java_options: tuple[str, ...]
    partitions: int


# C1 alone starts faster; C2 wins once a loop over millions of records is hot. The parallel collector took 10 % less CPU
# than G1 there, and the serial one as little but more wall time. For C1 alone the JVM has room for 48 MB of code, for
# both for 240 MB: a batch of a hundred kinds of CSV files filled 48 MB, and the rest of its run was interpreted.
SMALL = Profile(
    "small", ("-XX:TieredStopAtLevel=1", "-XX:ReservedCodeCacheSize=240m", "-XX:+UseSerialGC"), partitions=2
)
WARM = Profile("warm", ("-XX:+UseParallelGC",), partitions=2)
BULK = Profile("bulk", ("-XX:+UseParallelGC",), partitions=16)


def choose_profile(planned_bytes: int) -> Profile:
    """The profile for a plan of so many bytes of input files."""
    return BULK if planned_bytes >= BULK_BYTES else SMALL


def delta_jars(folder: Path = JARS_DIR) -> tuple[Path, ...]:
    """The two Delta jars, in the order of the class path.

    Raises:
        JarsMissing: one of them is not in `folder`, or there are two versions of one.
    """
    found = []
    for pattern in JAR_PATTERNS:
        matches = sorted(folder.glob(pattern))
        if len(matches) != 1:
            what = "is missing" if not matches else f"is there {len(matches)} times"
            raise JarsMissing(
                f"{folder}/{pattern} {what}.", remedy="Run `make setup`: it fetches the jars and checks their sha256."
            )
        found += matches
    return tuple(found)


def class_archive(java: Java, jars: Sequence[Path], cache: Path = CACHE_DIR) -> Path:
    """Where the class archive (AppCDS) of this Java and class path lies, whether it was made or not.

    The JVM itself checks the class path against the archive; the name keeps installations apart.
    """
    key = "\n".join([RECORDED, java.version, *(f"{jar} {jar.stat().st_size}" for jar in jars)])
    return cache / f"sluice-{hashlib.sha256(key.encode()).hexdigest()[:16]}.jsa"


def java_options(profile: Profile, archive: Path) -> str:
    """The driver's -XX and -D options as spark.driver.extraJavaOptions takes them.

    An archive that does not fit (another Java, moved jars) is left aside by the JVM; its warning is silenced because it
    would be printed to stdout.
    """
    options = [*profile.java_options, f"-Dlog4j2.configurationFile={LOG4J2_FILE.as_uri()}"]
    if archive.is_file():
        options += ["-Xshare:auto", f"-XX:SharedArchiveFile={archive}", "-Xlog:disable", "-Xlog:all=error:stderr"]
    return " ".join(_quoted(option) for option in options)


def _quoted(option: str) -> str:
    """Spark splits the options like a shell; a folder with a space must stay one word."""
    return f'"{option}"' if " " in option else option
