"""Batches of so many kinds of files that one plan of Spark's would not hold them."""

import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spark_jobs.engine import batch_files, staging
from tests.spark.conftest import Landing

KINDS = 5


def parquet(columns: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


def drop_kinds(landing: Landing) -> None:
    for kind in range(KINDS):
        own: dict[str, Any] = {f"only {kind}": [{"x": kind, f"y{kind}": "a"}]}
        # The type of `n` differs in the last one, and the first one has a column of another case.
        columns = {
            "id": [kind],
            "n": ["text" if kind == KINDS - 1 else kind],
            "ID" if kind == 1 else "c": [True],
            **own,
        }
        landing.drop(f"day=2024-01-{kind + 1:02}/{kind}.parquet", parquet(columns))
    landing.drop("broken.parquet", b"PAR1" * 10)


def test_files_of_many_kinds_are_loaded_as_those_of_few(landing: Landing, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = ("id", "n", "c", "day", "_rescued_data", "_source_file", "only_3", "_batch")
    rows = []
    for module in (batch_files, staging):
        monkeypatch.setattr(module, "FEW_SHAPES", 2)
    for most in (20_000, 0):
        monkeypatch.setattr(staging, "MOST_CELLS", most)
        home = landing.fresh()
        home.configure({"cloudFiles.format": "parquet", "cloudFiles.partitionColumns": "day"})
        drop_kinds(home)
        home.run()
        assert home.files()["broken.parquet"]["status"] == "quarantined"
        found = home.rows(*columns)
        rows.append([{**row, "_rescued_data": (row["_rescued_data"] or "").partition("file:")[0]} for row in found])
    assert len(rows[0]) == KINDS
    assert rows[0] == rows[1]
