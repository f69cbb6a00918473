"""Batches of so many kinds of files that one plan of Spark's would not hold them."""

import io
from typing import Any
from unittest.mock import Mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import orc

from spark_jobs.engine import batch_files, staging
from spark_jobs.engine.readers import read_files
from tests.spark.conftest import Landing

KINDS = 3


def parquet(columns: dict[str, Any], compression: str = "snappy") -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out, compression=compression)
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
    # The probe can read it, Spark without a codec of its own cannot.
    landing.drop("day=2024-02-01/brotli.parquet", parquet({"id": [99], "brotli": [1]}, "brotli"))


def test_files_of_many_kinds_are_loaded_as_those_of_few(landing: Landing, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = ("id", "n", "c", "day", "_rescued_data", "_source_file", "only_2", "_batch")
    rows = []
    for module in (batch_files, staging):
        monkeypatch.setattr(module, "FEW_SHAPES", 2)
    read = Mock(wraps=read_files)
    monkeypatch.setattr(staging, "read_files", read)
    for most in (20_000, 0):
        monkeypatch.setattr(staging, "MOST_CELLS", most)
        home = landing.fresh()
        home.configure({"cloudFiles.format": "parquet", "cloudFiles.partitionColumns": "day"})
        drop_kinds(home)
        home.run()
        files = home.files()
        assert {path for path, file in files.items() if file["status"] == "quarantined"} == {
            "broken.parquet",
            "day=2024-02-01/brotli.parquet",
        }
        found = home.rows(*columns)
        rows.append([{**row, "_rescued_data": (row["_rescued_data"] or "").partition("file:")[0]} for row in found])
    assert len(rows[0]) == KINDS
    assert rows[0] == rows[1]
    # Two parts, and the one with the file that Spark cannot read once more without it.
    assert read.call_count == (KINDS + 1) // 2 + 1


def test_a_struct_without_fields_costs_its_file_and_no_other(landing: Landing) -> None:
    """Delta refuses a whole commit for one."""
    landing.configure({"cloudFiles.format": "orc"})
    for name, table in {
        "good.orc": pa.table({"id": [1]}),
        "empty.orc": pa.table({"id": [2], "n": pa.array([{"m": {}}], pa.struct([("m", pa.struct([]))]))}),
    }.items():
        out = io.BytesIO()
        orc.write_table(table, out)
        landing.drop(name, out.getvalue())
    landing.run()
    assert landing.values("id") == [1]
    assert landing.files()["empty.orc"]["error"] == "column 'n' has the type struct<>, which a table cannot hold"
