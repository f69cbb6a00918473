"""One Spark session for the process, and `Landing`: a home for each test, real discovery and loads, no spark-submit."""

import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from include.config.pipeline import Pipeline
from include.config.reader import load_pipeline
from include.config.settings import Settings, load_settings
from include.ledger.discover import Discovery, discover
from include.ledger.files import iter_files, iter_quarantine
from include.ledger.schema_versions import version
from include.probe.workers import ProbePool
from include.submit.profile import delta_jars
from spark_jobs.engine.batch import BatchLoader
from spark_jobs.engine.session import CONF
from spark_jobs.engine.stream import LedgerStream

OPTIONS = {"cloudFiles.format": "json", "cloudFiles.inferColumnTypes": True}


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    """The session, with the class path and the file system that include.submit gives a job."""
    class_path = os.pathsep.join(str(jar) for jar in delta_jars())
    os.environ["PYSPARK_PYTHON"] = sys.executable  # the workers have what the driver has
    os.environ["PYSPARK_SUBMIT_ARGS"] = f"--driver-class-path {class_path} pyspark-shell"
    os.environ["PYSPARK_PYTHON"] = sys.executable
    builder = (
        SparkSession.builder.master("local[2]")
        .config("spark.sql.extensions", "io.delta.sql.DeltaSparkSessionExtension")
        .config("spark.sql.catalog.spark_catalog", "org.apache.spark.sql.delta.catalog.DeltaCatalog")
        .config("spark.hadoop.fs.file.impl", "org.apache.hadoop.fs.RawLocalFileSystem")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.sql.shuffle.partitions", "2")
        .config("spark.sql.sources.parallelPartitionDiscovery.parallelism", "2")  # VACUUM lists in that many tasks
    )
    for key, value in CONF.items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("OFF")
    logging.getLogger("py4j").setLevel(logging.WARNING)  # it says goodbye when the streams are closed already
    yield session
    session.stop()


@pytest.fixture(scope="session")
def pool() -> Iterator[ProbePool]:
    workers = ProbePool(2)
    yield workers
    workers.close()


class Landing:
    """A landing folder, its pipeline and what became of it."""

    def __init__(self, home: Path, spark: SparkSession, pool: ProbePool) -> None:
        self.home = home
        self.folder = home / "landing" / "in"
        self.folder.mkdir(parents=True)
        self.settings: Settings = load_settings({"SLUICE_HOME": str(home)}, home / "no-settings.yaml")
        self._spark = spark
        self._pool = pool
        self._runs = 0
        self.pipeline = self.configure()

    def fresh(self) -> "Landing":
        """Another home below this one, for tests that make several."""
        self._fresh = getattr(self, "_fresh", 0) + 1
        return Landing(self.home / f"fresh-{self._fresh}", self._spark, self._pool)

    def configure(self, options: dict[str, Any] | None = None, **ingest: Any) -> Pipeline:
        """Write and read the pipeline file; `options` are added to JSON with inferred types."""
        section = {"source": "in", "table": "bronze.t", "options": {**OPTIONS, **(options or {})}, **ingest}
        file = self.home / "p.yaml"
        file.write_text(yaml.safe_dump({"name": "p", "ingest": section}))
        self.pipeline = load_pipeline(file)
        return self.pipeline

    def drop(self, name: str, content: str | bytes) -> Path:
        """Put a file into the landing folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def discover(self) -> Discovery:
        self._runs += 1
        return discover(self.pipeline, self.settings, f"run-{self._runs}")

    def load(self, pool: ProbePool | None = None) -> None:
        """Load what is pending; `pool` looks at the files in place of the session's."""
        if self.pipeline.ingest is None:
            raise AssertionError
        loader = BatchLoader(
            self._spark, self.pipeline, self.pipeline.ingest, self.settings, f"run-{self._runs}", pool or self._pool
        )
        LedgerStream(self._spark, self.pipeline, self.pipeline.ingest, self.settings).run(loader)

    def run(self) -> Discovery:
        """Discover, then load if there is anything to load."""
        discovery = self.discover()
        if discovery.has_work:
            self.load()
        return discovery

    def rows(self, *columns: str) -> list[dict[str, Any]]:
        """The target's rows, only the named columns, sorted; read by delta-rs, or by Spark where delta-rs cannot."""
        root = self.settings.table_root("bronze.t")
        target = DeltaTable(root)
        if "typeWidening" in (target.protocol().reader_features or ()):
            table = self._spark.read.format("delta").load(root).select(*columns).toArrow()
        else:
            table = target.to_pyarrow_table(columns=list(columns))
        return sorted(table.to_pylist(), key=lambda row: tuple(str(value) for value in row.values()))

    def schema(self, number: int | None = None) -> list[dict[str, Any]]:
        """The fields of a version of the pipeline's schema, of the newest if none is named."""
        fields: list[dict[str, Any]] = version(self.settings, "p", number)["schema"]["fields"]
        return fields

    def rescues(self) -> bool:
        """True where the table has a rescue column."""
        if self.pipeline.ingest is None:
            raise AssertionError
        return self.pipeline.ingest.rescued_column is not None

    def texts(self, column: str) -> list[str]:
        """The values of a column as JSON, read by Spark (for types that no other reader knows), sorted."""
        table = self._spark.read.format("delta").load(self.settings.table_root("bronze.t"))
        return sorted(row[0] for row in table.selectExpr(f"to_json({column})").collect() if row[0] is not None)

    def values(self, column: str) -> list[Any]:
        return [row[column] for row in self.rows(column)]

    def files(self) -> dict[str, dict[str, Any]]:
        """The newest account of each path."""

        accounts = sorted(iter_files(self.settings, self.pipeline), key=lambda row: row["version"] or 0)
        return {row["path"].removeprefix("in/"): row for row in accounts}

    def quarantine(self) -> list[dict[str, Any]]:

        rows = list(iter_quarantine(self.settings, self.pipeline))
        return sorted(rows, key=lambda row: (row["path"], row["record"] or 0))


@pytest.fixture
def landing(tmp_path: Path, spark: SparkSession, pool: ProbePool) -> Landing:
    return Landing(tmp_path, spark, pool)
