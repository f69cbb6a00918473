"""Any rows, in any order and slicing, with any crash between two steps: the window table equals the batch query.

Hundreds of examples by `make properties`; what it finds, hypothesis shrinks.
"""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from tests.spark.oracle import SCHEMA, Row
from tests.spark.test_windows import WINDOWS, assert_equals_batch_query, configure, events
from tests.spark.transforming import Lake

EXAMPLES = int(os.environ.get("SLUICE_EXAMPLES", "200"))
# What may happen around a micro-batch: nothing; a second start; the outcome lost by a kill; the target's commit lost by
# a kill before it; the source rewritten by OPTIMIZE; a plan that was killed before its job.
TROUBLE = ("nothing", "again", "no outcome", "no commit", "optimize", "no job")


@st.composite
def arrivals(draw: st.DrawFn) -> list[tuple[list[Row], str]]:
    """Slices of rows in an order of arrival, each with the trouble that it meets."""
    rows = events(draw(st.integers(0, 10_000)), draw(st.integers(1, 60)))
    rows = draw(st.permutations(rows))
    cuts = sorted(draw(st.lists(st.integers(0, len(rows)), max_size=4)))
    slices = [rows[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(rows)], strict=True)]
    return [(part, draw(st.sampled_from(TROUBLE))) for part in slices if part]


def arrive(lake: Lake, rows: list[Row], trouble: str) -> None:
    gold, state = lake.home / "warehouse" / "gold", lake.home / "state" / "p"
    lake.add(rows, SCHEMA)
    if trouble == "no job":
        lake.plan()
        return
    if trouble == "optimize":
        lake.table("bronze.t").optimize.compact()
    if trouble == "no commit" and gold.exists():
        shutil.copytree(gold, lake.home / "before")
        lake.run()
        shutil.rmtree(gold)
        shutil.move(lake.home / "before", gold)
        shutil.rmtree(state / "outcomes", ignore_errors=True)
    lake.run()
    if trouble == "again":
        lake.load()
    if trouble == "no outcome":
        shutil.rmtree(state / "outcomes", ignore_errors=True)


@pytest.mark.slow
@pytest.mark.timeout(36_000)
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(slices=arrivals(), kind=st.sampled_from(sorted(WINDOWS)))
def test_window_table_equals_the_batch_query(spark: SparkSession, slices: Any, kind: str) -> None:
    home = Path(tempfile.mkdtemp(prefix="sluice-property-"))
    try:
        lake = Lake(home, spark)
        configure(lake, kind)
        for rows, trouble in slices:
            arrive(lake, rows, trouble)
        lake.run()
        lake.load()
        assert_equals_batch_query(lake, [row for rows, _ in slices for row in rows], kind)
    finally:
        shutil.rmtree(home, ignore_errors=True)
