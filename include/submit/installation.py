"""What a Spark job needs of this machine, each part looked at by itself: the findings of `sluice doctor`.

A run meets the first part that is missing and stops there. Here all are looked at, nothing is changed but for a folder
of SLUICE_HOME that is made, and nothing is started.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from include.config.errors import ConfigError, SluiceError, StorageError
from include.config.settings import ROOT_KEYS, Settings, is_remote
from include.submit.command import check_guard
from include.submit.jars import CHECKSUMS_FILE, is_intact, read_checksums
from include.submit.java import find_java
from include.submit.job import SparkMissing, spark_home
from include.submit.profile import class_archive, delta_jars

if TYPE_CHECKING:
    from obstore.store import RetryConfig

State = Literal["ok", "slow", "broken"]
RETRIES: "RetryConfig" = {"max_retries": 2}  # the default of ten takes three minutes where a host does not answer
LEAST_FREE = 1 << 30  # bytes of disk: Spark's shuffle files and a snapshot of a joined table need as much


@dataclass(frozen=True)
class Finding:
    """What was seen of one part: `broken` stops runs, `slow` only delays them."""

    part: str
    state: State
    detail: str
    remedy: str = ""


def findings(settings: Settings) -> Iterator[Finding]:
    """Every part that a run needs, in the order in which a run meets them."""
    looks: dict[str, Callable[[], str]] = {
        "java": lambda: str(find_java().executable),
        "pyspark": _pyspark,
        "jars": _jars,
        "guard": _guard,
    }
    for part, look in looks.items():
        yield _looked(part, look)
    yield _archive()
    yield _looked("home", lambda: _folder(settings.home))
    for key in ROOT_KEYS:
        yield _looked(key, partial(_root, str(getattr(settings, key)), written=key != "landing"))


def _looked(part: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(part, "ok", look())
    except SluiceError as error:
        return Finding(part, "broken", error.message, error.remedy)


def _pyspark() -> str:
    """The client package shares its files with pyspark: another version of it replaces a part of them."""
    folder, remedy = spark_home(), "Run `make setup`: it installs what requirements.txt pins."
    own = version("pyspark")
    try:
        client = version("pyspark-client")
    except PackageNotFoundError:
        raise SparkMissing("pyspark-client, which Airflow's Spark provider needs, is missing.", remedy=remedy) from None
    if own != client:
        raise SparkMissing(f"pyspark is {own} but pyspark-client {client}; they share files.", remedy=remedy)
    return f"{own} in {folder}"


def _jars() -> str:
    jars, wanted = delta_jars(), read_checksums()
    wrong = [jar.name for jar in jars if not is_intact(jar, wanted.get(jar.name, ""))]
    if wrong:
        raise ConfigError(
            f"{', '.join(wrong)}: not what {CHECKSUMS_FILE.name} promises.", remedy="Remove it and run `make setup`."
        )
    return ", ".join(jar.name for jar in jars)


def _guard() -> str:
    check_guard()
    return "setpriv, flock"


def _archive() -> Finding:
    try:
        archive = class_archive(find_java(), delta_jars())
    except SluiceError as error:
        return Finding("class archive", "slow", f"depends on another part: {error.message}", error.remedy)
    if archive.is_file():
        return Finding("class archive", "ok", str(archive))
    return Finding(
        "class archive", "slow", f"{archive} is not there: each job starts seconds later.", "Run `make setup`."
    )


def _root(root: str, *, written: bool) -> str:
    return _remote(root) if is_remote(root) else _folder(Path(root), written=written)


def _folder(folder: Path, *, written: bool = True) -> str:
    """A folder that can be listed, and written to unless it is only read; made if it is not there."""
    remedy = "Change its rights, or set SLUICE_HOME, SLUICE_LANDING, SLUICE_WAREHOUSE or SLUICE_STATE."
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{folder} cannot be made: {error.strerror}.", remedy=remedy) from error
    if not os.access(folder, os.R_OK | os.X_OK | (os.W_OK if written else 0)):
        raise StorageError(f"{folder} cannot be {'written to' if written else 'read'}.", remedy=remedy)
    free = shutil.disk_usage(folder).free
    if written and free < LEAST_FREE:
        raise StorageError(f"{folder} has {free >> 20:,} MiB left on its disk.", remedy="Make room there.")
    return f"{folder}, {free >> 30:,} GiB free"


def _remote(root: str) -> str:
    """A bucket that can be listed with the credentials of the environment."""
    import obstore  # noqa: PLC0415  0.1 s that a local installation does without
    from obstore.exceptions import BaseError  # noqa: PLC0415
    from obstore.store import from_url  # noqa: PLC0415

    try:
        next(iter(obstore.list(from_url(root, retry_config=RETRIES), chunk_size=1)), None)
    except (BaseError, OSError) as error:
        raise StorageError(
            f"{root} cannot be listed: {error}", remedy="Check its name and the credentials in the environment."
        ) from error
    return f"{root} can be listed"
