"""Fetches the jars named in jars.sha256 into jars/, once, and checks each by its SHA-256.

jars.sha256 is the one place where the jars' versions stand. Spark's own resolver does the fetching (`ADD JAR ivy://`),
so that no repository host is named here and a site's Ivy or proxy settings are honoured.
"""

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from include.config.errors import ConfigError, SluiceError, StorageError
from include.config.settings import PROJECT_ROOT
from include.submit.jars import CHECKSUMS_FILE, JAR_NAME, is_intact, read_checksums

JARS_DIR = PROJECT_ROOT / "jars"
IVY_DIR = PROJECT_ROOT / ".cache" / "ivy"
GROUP = "io.delta"


def coordinate(jar_name: str) -> str:
    """The Maven coordinate of a jar file: `delta-storage-4.4.0.jar` is io.delta:delta-storage:4.4.0."""
    match = JAR_NAME.fullmatch(jar_name)
    if match is None:
        raise ConfigError(f"{jar_name!r} does not tell artifact and version.", remedy="Name it ARTIFACT-VERSION.jar.")
    return f"{GROUP}:{match['artifact']}:{match['version']}"


def resolve(jar_names: Mapping[str, str], ivy_dir: Path = IVY_DIR) -> None:
    """Let Spark download each jar, without what it depends on, into `ivy_dir`/jars.

    Raises:
        StorageError: the resolver did not get a jar.
    """
    # Spark is needed only when a jar is missing.
    from py4j.protocol import Py4JJavaError  # noqa: PLC0415
    from pyspark.errors import PySparkException  # noqa: PLC0415
    from pyspark.sql import SparkSession  # noqa: PLC0415

    spark = (
        SparkSession.builder.master("local[1]")
        .appName("fetch-jars")
        .config("spark.jars.ivy", str(ivy_dir))
        .config("spark.ui.enabled", "false")
        .getOrCreate()
    )
    try:
        for name in jar_names:
            spark.sql(f"ADD JAR ivy://{coordinate(name)}?transitive=false")
    except (PySparkException, Py4JJavaError) as error:
        cause = getattr(error, "java_exception", error)  # str() of a Py4JJavaError is a Java stack trace
        raise StorageError(
            f"{name} could not be fetched: {cause}",
            remedy="Check the network, then run `make setup` again. Behind a repository mirror, set"
            f" spark.jars.ivySettings in SPARK_CONF_DIR/spark-defaults.conf, or put the file into {JARS_DIR} by hand.",
        ) from error
    finally:
        spark.stop()


def fetch(jars_dir: Path = JARS_DIR, checksums: Path = CHECKSUMS_FILE, ivy_dir: Path = IVY_DIR) -> list[str]:
    """Make `jars_dir` hold every wanted jar, intact; returns the names of those that had to be fetched.

    Raises:
        StorageError: a jar could not be fetched, or what came is not what jars.sha256 promises.
    """
    wanted = read_checksums(checksums)
    missing = {name: checksum for name, checksum in wanted.items() if not is_intact(jars_dir / name, checksum)}
    if not missing:
        return []
    resolve(missing, ivy_dir)
    jars_dir.mkdir(parents=True, exist_ok=True)
    for name, checksum in missing.items():
        fetched = ivy_dir / "jars" / f"{GROUP}_{name}"
        if not is_intact(fetched, checksum):
            raise StorageError(
                f"{fetched} is not the file that {checksums} promises (SHA-256 {checksum}).",
                remedy=f"Remove {ivy_dir} and run `make setup` again; if it stays so, the repository is wrong.",
            )
        partial = jars_dir / f".{name}.part"
        shutil.copyfile(fetched, partial)
        partial.replace(jars_dir / name)
    return sorted(missing)


def main() -> int:
    """Fetch what is missing and say so; ends with the error's exit code."""
    try:
        fetched = fetch()
    except SluiceError as error:
        print(error, file=sys.stderr)
        return int(error.exit_code)
    print(f"jars/: fetched and checked {', '.join(fetched)}" if fetched else "jars/: complete, checksums match")
    return 0


if __name__ == "__main__":
    sys.exit(main())
