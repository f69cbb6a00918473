"""A source that is another table than the one that was planned is never read in its place."""

import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from include.transform.commits import HistoryLost
from tests.spark.transforming import Lake

SCHEMA = pa.schema([("id", pa.int64())])


@pytest.mark.parametrize("feed", [True, False])
@pytest.mark.parametrize("earlier", [0, 1])
def test_source_that_was_made_anew_after_the_plan_stops_the_batch(
    tmp_path: Path, spark: SparkSession, feed: bool, earlier: int
) -> None:
    lake = Lake(tmp_path, spark)
    lake.configure([{"filter": "id >= 0"}])
    for number in range(earlier):
        lake.add([{"id": number}], SCHEMA, feed=feed)
        lake.run()
    lake.add([{"id": 10}], SCHEMA, feed=feed)
    lake.plan()
    shutil.rmtree(lake.settings.table_root("bronze.t"))
    for number in range(3):
        lake.add([{"id": 100 + number}], SCHEMA, feed=feed)
    with pytest.raises(HistoryLost, match="made anew"):
        lake.load()
    if earlier:
        assert [row["id"] for row in lake.rows("id")] == [0]
