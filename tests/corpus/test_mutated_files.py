"""Valid files, damaged byte by byte, many to a batch, against models in plain Python.

Whatever the damage: the run ends, each record is loaded or quarantined, the rows loaded are those of the model, and the
good file beside the damaged ones is all there. A short slice runs in CI, `make corpus` runs the whole.
"""

import json
import os

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.corpus.mutation import Mutation, mutated, mutations
from tests.corpus.oracle import expected_json
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


@SETTINGS
@given(BATCH)
def test_json_lines(landing: Landing, batch: list[list[Mutation]]) -> None:
    landing = landing.fresh()
    landing.configure({"cloudFiles.inferColumnTypes": False}, schema=DECLARED)
    files = {f"{number}.json": mutated(VALID_JSON, steps) for number, steps in enumerate(batch)}
    files["good.json"] = VALID_JSON
    for name, content in files.items():
        landing.drop(name, content)
    landing.run()
    accounts = landing.files()
    rows = landing.rows("_source_file", "id", "s", "d")
    for name, content in files.items():
        expected = expected_json(content)
        loaded = [(row["id"], row["s"], row["d"]) for row in rows if row["_source_file"] == f"in/{name}"]
        account = accounts[name]
        assert sorted(map(repr, loaded)) == sorted(map(repr, expected.rows)), (name, content)
        assert (account["rows_loaded"] or 0, account["rows_quarantined"] or 0) == (
            len(expected.rows),
            expected.refused,
        ), (
            name,
            content,
        )
