"""Where things are: SLUICE_HOME and the roots below it. The one place that turns names into paths and URIs."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

import yaml

from include.config.errors import ConfigError

PROJECT_ROOT = Path(__file__).resolve().parents[2]
PIPELINES_DIR = PROJECT_ROOT / "include" / "pipelines"
SETTINGS_FILE = PROJECT_ROOT / "include" / "settings.yaml"
ROOT_KEYS = ("landing", "warehouse", "state")
REMOTE_SCHEMES = ("s3", "s3a", "gs", "abfss", "az")


@dataclass(frozen=True)
class Settings:
    """The roots of one installation.

    `landing`, `warehouse` and `state` are absolute local paths (no trailing slash) or URIs such as s3://bucket/prefix.
    `spark_conf` is added to every Spark job. `master` is used where no Airflow connection says otherwise. `shared_home`
    says that `home` is on storage which the executors of a cluster see at the same path.
    """

    home: Path
    landing: str
    warehouse: str
    state: str
    master: str = "local[*]"
    spark_conf: Mapping[str, str] = field(default_factory=dict)
    shared_home: bool = False

    def source_root(self, source: str) -> str:
        """The absolute local path or URI of an `ingest.source`: a name under landing/, an absolute path, or a URI."""
        if is_remote(source):
            return source.rstrip("/")
        return join(self.landing, local_path(source)).rstrip("/") or "/"

    def file_uri(self, ledger_path: str) -> str:
        """The absolute local path or URI of a path as the ledger stores it (see `ledger_path`)."""
        return ledger_path if is_remote(ledger_path) else join(self.landing, ledger_path)

    def ledger_path(self, absolute: str) -> str:
        """The name a file has in the ledger, in `_source_file` and in every report.

        Relative to landing/ where the file is below it, so that a project folder that was moved or copied does not
        see all its files as new; the absolute path or URI otherwise.
        """
        prefix = self.landing.rstrip("/") + "/"
        return absolute[len(prefix) :] if absolute.startswith(prefix) else absolute

    def table_root(self, table: str) -> str:
        """The absolute local path or URI of a table.

        `bronze.flights` is <warehouse>/bronze/flights; a URI or an absolute path is itself.
        """
        if is_remote(table):
            return table.rstrip("/")
        if table.startswith(("/", "file:")):
            return local_path(table).rstrip("/")
        return join(self.warehouse, table.replace(".", "/"))

    def state_root(self, pipeline: str, *parts: str) -> str:
        """The absolute local path or URI of a pipeline's state folder, or of a part of it (ledger, outcomes, ...)."""
        return join(self.state, pipeline, *parts)

    def lock_file(self, table: str) -> Path:
        """The local lock file of a target table.

        Always on this host: the fence across hosts is the table's transaction version.
        """
        name = self.table_root(table).strip("/").replace("/", "__").replace(":", "_")
        return self.home / "locks" / f"{name[-200:]}.lock"


def is_remote(location: str) -> bool:
    """True for a URI of an object store, False for a local path or a file: URI."""
    return urlsplit(location).scheme in REMOTE_SCHEMES if "://" in location else False


def local_path(location: str) -> str:
    """The plain path of a local location; `file:` URIs are percent-decoded, paths are taken as they are."""
    return unquote(urlsplit(location).path) if location.startswith("file:") else location


def join(root: str, *parts: str) -> str:
    """`root` and `parts` as one path or URI; an absolute part replaces what stands before it, as os.path.join does."""
    return os.path.join(root, *parts) if not is_remote(root) else "/".join((root.rstrip("/"), *parts))


def spark_uri(absolute: str) -> str:
    """The same location as Delta-Spark and Spark's readers take it: S3 goes by the s3a file system."""
    return "s3a" + absolute[2:] if absolute.startswith("s3://") else absolute


def load_settings(environ: Mapping[str, str] | None = None, file: Path = SETTINGS_FILE) -> Settings:
    """Read settings.yaml (if there) and the environment; the environment wins.

    Raises:
        ConfigError: settings.yaml is not a mapping, has unknown keys, or roots nest in each other.
    """
    env = os.environ if environ is None else environ
    values = _read(file)
    home = Path(str(env.get("SLUICE_HOME") or values.get("home") or PROJECT_ROOT / "data")).expanduser().absolute()
    roots = {key: _root(env.get(f"SLUICE_{key.upper()}") or values.get(key) or str(home / key)) for key in ROOT_KEYS}
    _refuse_nesting(roots)
    written = values.get("spark_conf") or {}
    if not isinstance(written, dict):
        raise ConfigError(
            f"{file}: spark_conf must hold settings and values, not {written!r}.", remedy="Write name: value."
        )
    conf = {str(key): str(value) for key, value in written.items()}
    return Settings(
        home=home,
        master=env.get("SLUICE_MASTER") or str(values.get("master") or "local[*]"),
        spark_conf=conf,
        shared_home=_flag(env.get("SLUICE_SHARED_HOME") or values.get("shared_home") or False),
        **roots,
    )


def _flag(value: object) -> bool:
    if (text := str(value).lower()) not in ("true", "false"):
        raise ConfigError(f"shared_home must be true or false, not {value!r}.", remedy="Correct SLUICE_SHARED_HOME.")
    return text == "true"


def _read(file: Path) -> Mapping[str, object]:
    if not file.exists():
        return {}
    values = yaml.safe_load(file.read_text()) or {}
    if not isinstance(values, dict):
        raise ConfigError(
            f"{file} must hold keys and values, not {type(values).__name__}.",
            remedy="See include/settings.yaml in the repository.",
        )
    unknown = sorted(set(values) - {"home", "master", "shared_home", "spark_conf", *ROOT_KEYS})
    if unknown:
        raise ConfigError(
            f"{file} has unknown keys: {', '.join(unknown)}.",
            remedy=f"Known keys: home, {', '.join(ROOT_KEYS)}, master, shared_home, spark_conf.",
        )
    return values


def _root(location: object) -> str:
    text = str(location)
    return text.rstrip("/") if is_remote(text) else os.path.abspath(os.path.expanduser(local_path(text)))


def _refuse_nesting(roots: Mapping[str, str]) -> None:
    for outer, outer_root in roots.items():
        for inner, inner_root in roots.items():
            if outer != inner and (inner_root + "/").startswith(outer_root + "/"):
                raise ConfigError(
                    f"{inner} ({inner_root}) lies inside {outer} ({outer_root}): what one writes the other would read.",
                    remedy=f"Set SLUICE_{inner.upper()} or SLUICE_{outer.upper()} to separate folders.",
                )
