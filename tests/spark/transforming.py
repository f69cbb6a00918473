"""`Lake`: a home for each test, sources by delta-rs, real planning and real micro-batches, no spark-submit."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml
from deltalake import DeltaTable, write_deltalake
from pyspark.sql import SparkSession

from include.config.pipeline import Pipeline
from include.config.reader import load_pipeline
from include.config.result import Figures
from include.config.settings import Settings, load_settings
from include.submit.transform_steps import TransformSteps
from include.transform.plan import TransformPlan, plan_transform
from spark_jobs.engine.transform.runner import run_batches

Row = Mapping[str, Any]
FEED = {"delta.enableChangeDataFeed": "true"}


class Lake:
    """A warehouse and one pipeline over it."""

    def __init__(self, home: Path, spark: SparkSession) -> None:
        self.home = home
        self.spark = spark
        self.settings: Settings = load_settings({"SLUICE_HOME": str(home)}, home / "no-settings.yaml")
        self._runs = 0
        self.pipeline: Pipeline

    def configure(self, steps: Sequence[Row], name: str = "p", **transform: Any) -> Pipeline:
        """Write and read the pipeline file."""
        section = {"source": "bronze.t", "table": "gold.t", "steps": list(steps), **transform}
        file = self.home / f"{name}.yaml"
        file.write_text(yaml.safe_dump({"name": name, "transform": section}, sort_keys=False))
        self.pipeline = load_pipeline(file)
        return self.pipeline

    def add(self, rows: Iterable[Row], schema: pa.Schema, table: str = "bronze.t", *, feed: bool = True) -> None:
        """One append commit of a table by delta-rs."""
        data = pa.Table.from_pylist(list(rows), schema=schema)
        write_deltalake(self.settings.table_root(table), data, mode="append", configuration=FEED if feed else None)

    def plan(self) -> TransformPlan:
        self._runs += 1
        return plan_transform(self.pipeline, self.settings, f"run-{self._runs}")

    def load(self) -> int:
        return run_batches(self.spark, self.pipeline, self.settings, f"run-{self._runs}")

    def run(self) -> Figures:
        """Plan, do what is pending, and count."""
        plan = self.plan()
        if plan.has_work:
            self.load()
        return TransformSteps().figures(self.pipeline, self.settings, plan)

    def table(self, name: str = "gold.t") -> DeltaTable:
        return DeltaTable(self.settings.table_root(name))

    def rows(self, *columns: str, table: str = "gold.t") -> list[dict[str, Any]]:
        """Columns of a table, read by delta-rs and sorted."""
        found = self.table(table).to_pyarrow_table(columns=list(columns) or None).to_pylist()
        return sorted(found, key=lambda row: tuple(str(value) for value in row.values()))
