"""A planned Spark job: all that a spark-submit needs, decided from the pipeline, the settings and the plan's bytes.

Nothing is started here; Java, pyspark, the jars and the class archive are looked for.
"""

import importlib.util
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from include.config.errors import ConfigError
from include.config.pipeline import Pipeline
from include.config.settings import PROJECT_ROOT, Settings
from include.submit.java import Java, find_java
from include.submit.profile import WARM, Profile, choose_profile, class_archive, delta_jars, java_options
from include.submit.secrets import split_secrets

# The entry script of each section that is executed.
APPLICATIONS = {name: PROJECT_ROOT / "spark_jobs" / f"{name}.py" for name in ("ingest", "copy_into", "transform")}
APPLICATIONS["cache"] = PROJECT_ROOT / "spark_jobs" / "refresh_cache.py"
WORKER_DAEMON = "spark_jobs.engine.worker_daemon"
CACHED_DAEMON = "spark_jobs.engine.cache.daemon"
DRIVER_PYTHON = Path(__file__).with_name("driver_python.sh")
# Above this number of paths Spark starts one task per file to list them, which costs more than the listing.
LISTING_THRESHOLD = 100_000


class SparkMissing(ConfigError):
    """Raised when the pyspark package is not installed beside Sluice."""


@dataclass(frozen=True)
class SparkJob:
    """A spark-submit to be made.

    `conf` may be shown; `secrets` are conf values that must not be. `environment` is laid over the caller's.
    `lock_file` is held by the JVM as long as it lives, so that a table has one writer; `more_locks` are those of a
    job's other tables.
    """

    pipeline: str
    run_id: str
    master: str
    application: Path
    arguments: tuple[str, ...]
    conf: Mapping[str, str]
    secrets: Mapping[str, str]
    environment: Mapping[str, str]
    lock_file: Path
    profile: str
    more_locks: tuple[Path, ...] = ()

    @property
    def name(self) -> str:
        """The name of the Spark application."""
        return f"sluice {self.pipeline}"


def plan_job(
    pipeline: Pipeline, settings: Settings, run_id: str, planned_bytes: int, *, master: str | None = None
) -> SparkJob:
    """Plan the load of a pipeline's pending batches, which read `planned_bytes` of files.

    `master` is the Spark master's URL, by default that of the settings.

    Raises:
        ConfigError: Java, pyspark or the jars are missing.
    """
    master = master or settings.master
    java = find_java()
    profile = choose_profile(planned_bytes)
    conf = {
        **_base_conf(profile, java),
        **_state_conf(pipeline),
        **_worker_conf(pipeline, master),
        **_network_conf(master),
        **pipeline.resources.spark_conf(),
        **settings.spark_conf,
    }
    public, secrets = split_secrets(conf)
    return SparkJob(
        pipeline=pipeline.name,
        run_id=run_id,
        master=master,
        application=APPLICATIONS[pipeline.section],
        arguments=("--pipeline", str(pipeline.file), "--run-id", run_id),
        conf=public,
        secrets=secrets,
        environment=_environment(settings),
        lock_file=settings.lock_file(pipeline.lock_name),
        profile=profile.name,
        more_locks=tuple(settings.lock_file(table) for table in pipeline.targets[1:]),
    )


def session_conf(master: str) -> dict[str, str]:
    """The conf of a session that stays, as in a notebook: many small batches in one warm JVM.

    Raises:
        ConfigError: Java or the jars are missing.
    """
    return {**_base_conf(WARM, find_java()), **_network_conf(master)}


def spark_home() -> Path:
    """The folder of the pyspark package; it is not imported (that would cost a second).

    Raises:
        SparkMissing: pyspark is not installed for this Python, or only its client.
    """
    spec = importlib.util.find_spec("pyspark")
    folder = Path(spec.origin).parent if spec is not None and spec.origin else None
    if folder is None or not (folder / "bin" / "spark-submit").is_file():
        raise SparkMissing(
            f"{sys.executable} has no pyspark with a spark-submit (found: {folder}).",
            remedy="Run `make setup`. Uninstalling pyspark-client removes files of pyspark; reinstall both then.",
        )
    return folder


def _base_conf(profile: Profile, java: Java) -> dict[str, str]:
    jars = delta_jars()
    class_path = os.pathsep.join(str(jar) for jar in jars)
    partitions = str(profile.partitions)
    return {
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        # On the class path from the start: --jars are loaded by a class loader of their own, which no archive covers.
        "spark.driver.extraClassPath": class_path,
        "spark.executor.extraClassPath": class_path,
        "spark.driver.extraJavaOptions": java_options(profile, class_archive(java, jars)),
        # Hadoop's checksumming local file system refuses names with a colon (its .crc file's name is no URI).
        "spark.hadoop.fs.file.impl": "org.apache.hadoop.fs.RawLocalFileSystem",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": partitions,
        "spark.databricks.delta.snapshotPartitions": partitions,
        "spark.sql.sources.parallelPartitionDiscovery.threshold": str(LISTING_THRESHOLD),
    }


def _state_conf(pipeline: Pipeline) -> dict[str, str]:
    """Spark's RocksDB copies its files by Hadoop's checksumming local file system only; tables' names have no colon."""
    stateful = pipeline.transform is not None and pipeline.transform.stateful
    return {"spark.hadoop.fs.file.impl": "org.apache.hadoop.fs.LocalFileSystem"} if stateful else {}


def _worker_conf(pipeline: Pipeline, master: str) -> dict[str, str]:
    """What Python workers are forked from; for cached joins a process that has imported what they need."""
    if not master.startswith("local"):
        return {}
    cached = pipeline.transform is not None and pipeline.transform.joins_cached
    return {"spark.python.daemon.module": CACHED_DAEMON if cached else WORKER_DAEMON}


def _network_conf(master: str) -> dict[str, str]:
    """A local Spark talks to itself only, by loopback; a cluster's executors must find the project's modules."""
    if master.startswith("local"):
        return {"spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1"}
    return {"spark.executorEnv.PYTHONPATH": str(PROJECT_ROOT)}


def _environment(settings: Settings) -> dict[str, str]:
    """What the JVM and the Python driver under it must find, whatever the caller's shell or service manager set."""
    others = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part and part != str(PROJECT_ROOT)]
    return {
        "SPARK_HOME": str(spark_home()),
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_DRIVER_PYTHON": str(DRIVER_PYTHON),
        "PYTHONPATH": os.pathsep.join([str(PROJECT_ROOT), *others]),
        # Java 17 takes the encoding of file names from the locale; under LANG=C it cannot open a name like "ü.json".
        "LC_ALL": "C.UTF-8",
        # The launcher is a JVM of its own that only prints a command line.
        "SPARK_LAUNCHER_OPTS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
        "SLUICE_HOME": str(settings.home),
        "SLUICE_LANDING": settings.landing,
        "SLUICE_WAREHOUSE": settings.warehouse,
        "SLUICE_STATE": settings.state,
        "SLUICE_SHARED_HOME": str(settings.shared_home).lower(),
    }
