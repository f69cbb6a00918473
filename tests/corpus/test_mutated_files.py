"""Valid files, damaged byte by byte, many to a batch, against models in plain Python.

Whatever the damage: the run ends, each record is loaded or quarantined, the rows loaded are those of the model, and the
good file beside the damaged ones is all there. A short slice runs in CI, `make corpus` runs the whole.
"""

import csv
import io
import json
import os
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.corpus.mutation import Mutation, mutated, mutations
from tests.corpus.oracle import expected_json, expected_parquet
from tests.spark.conftest import Landing, landing, pool, spark

__all__ = ["landing", "pool", "spark"]

FILES = int(os.environ.get("SLUICE_CORPUS_FILES", "80"))  # damaged files in a batch
ROUNDS = int(os.environ.get("SLUICE_CORPUS_ROUNDS", "1"))
# No shrinking: each try is a load of Spark. The failure names its file, and a file is small.
SETTINGS = settings(
    max_examples=ROUNDS,
    deadline=None,
    derandomize=ROUNDS == 1,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
    database=None,
)
BATCH = st.lists(mutations, min_size=FILES, max_size=FILES)
DECLARED = "id bigint, s string, d double"

VALID_JSON = "".join(
    json.dumps({"id": i, "s": text, "d": i / 4}, ensure_ascii=False) + "\n"
    for i, text in enumerate(["plain", 'quo"ted', "back\\slash", "ünï", "a,b", "{}", "", "tab\t", "7", "[1]"])
).encode()


VALID_ROWS = [(i, text, i / 4) for i, text in enumerate(["plain", 'quo"ted', "a,b", "two\nlines", "ünï", "7"])]


def load(landing: Landing, files: Mapping[str, bytes], options: Mapping[str, Any]) -> Landing:
    """All files in one batch of a new home."""
    landing = landing.fresh()
    landing.configure({"cloudFiles.inferColumnTypes": False, **options}, schema=DECLARED)
    for name, content in files.items():
        landing.drop(name, content)
    landing.run()
    return landing


def rows_of(landing: Landing) -> dict[str, list[tuple[Any, ...]]]:
    """What was loaded, by file."""
    found: dict[str, list[tuple[Any, ...]]] = {}
    for row in landing.rows("_source_file", "id", "s", "d"):
        name = row["_source_file"].removeprefix("in/")
        found.setdefault(name, []).append((row["id"], row["s"], row["d"]))
    return found


def same(one: list[tuple[Any, ...]], other: list[tuple[Any, ...]]) -> bool:
    """Equal but for the order."""
    return sorted(map(repr, one)) == sorted(map(repr, other))


@SETTINGS
@given(BATCH)
def test_json_lines(landing: Landing, batch: list[list[Mutation]]) -> None:
    files = {f"{number}.json": mutated(VALID_JSON, steps) for number, steps in enumerate(batch)}
    files["good.json"] = VALID_JSON
    landing = load(landing, files, {})
    accounts, loaded = landing.files(), rows_of(landing)
    for name, content in files.items():
        expected = expected_json(content)
        figures = (accounts[name]["rows_loaded"], accounts[name]["rows_quarantined"])
        assert figures == (len(expected.rows), expected.refused), (name, content)
        assert same(loaded.get(name, []), expected.rows), (name, content)


@SETTINGS
@given(BATCH)
def test_csv_values_are_those_that_stand_in_the_file(landing: Landing, batch: list[list[Mutation]]) -> None:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(VALID_ROWS)
    valid = b"id,s,d\n" + out.getvalue().encode()
    body = {
        f"{number}.csv": b"id,s,d\n" + mutated(out.getvalue().encode(), steps) for number, steps in enumerate(batch)
    }
    landing = load(landing, {**body, "good.csv": valid}, {"cloudFiles.format": "csv", "header": True})
    accounts, loaded = landing.files(), rows_of(landing)
    assert same(loaded["good.csv"], VALID_ROWS)
    for name, content in body.items():
        assert accounts[name]["status"] in ("loaded", "quarantined"), name
        assert len(loaded.get(name, [])) == accounts[name]["rows_loaded"], name
        text = content.decode("utf-8", "replace").replace('""', '"')
        for _, value, _ in loaded.get(name, []):
            assert value is None or value.replace("\r\n", "\n").replace("\r", "\n") in text.replace(
                "\r\n", "\n"
            ).replace("\r", "\n"), (name, content, value)


@SETTINGS
@given(BATCH)
def test_parquet(landing: Landing, batch: list[list[Mutation]]) -> None:
    out = io.BytesIO()
    columns = {
        "id": [row[0] for row in VALID_ROWS],
        "s": [row[1] for row in VALID_ROWS],
        "d": [row[2] for row in VALID_ROWS],
    }
    pq.write_table(pa.table(columns), out, compression="none")
    files = {f"{number}.parquet": mutated(out.getvalue(), steps) for number, steps in enumerate(batch)}
    landing = load(landing, {**files, "good.parquet": out.getvalue()}, {"cloudFiles.format": "parquet"})
    accounts, loaded = landing.files(), rows_of(landing)
    assert same(loaded["good.parquet"], VALID_ROWS)
    for name, content in files.items():
        expected = expected_parquet(content)
        if accounts[name]["status"] == "loaded" and expected is not None:
            assert len(loaded.get(name, [])) + accounts[name]["rows_quarantined"] == len(expected.rows), name
        else:
            assert accounts[name]["status"] == "quarantined", name
