"""A transformation that is killed with SIGKILL again and again ends with the table of the batch query."""

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pyarrow as pa
import pytest
import yaml
from deltalake import DeltaTable, write_deltalake

from include.config.settings import PROJECT_ROOT, load_settings
from tests.spark.oracle import MEASURES, SCHEMA, differences, expected, in_order
from tests.spark.test_windows import WINDOWS, events

KILLS = 6


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", ["tumbling", "session"])
def test_killed_runs_add_each_row_once(tmp_path: Path, kind: str) -> None:
    settings = load_settings({"SLUICE_HOME": str(tmp_path)}, tmp_path / "none.yaml")
    rows, rng = events(seed=11, count=300), random.Random(kind)
    lengths = {name: f"{value} seconds" for name, value in WINDOWS[kind].items() if name != "type"}
    measures = {name: ours for name, (ours, _) in MEASURES.items()}
    window = {"type": kind, **lengths, "time": "at", "keys": ["k"], "measures": measures}
    section = {"source": "bronze.t", "options": {"maxVersionsPerTrigger": 1}, "steps": [{"window": window}]}
    file = tmp_path / "p.yaml"
    file.write_text(yaml.safe_dump({"name": "p", "transform": {**section, "table": "gold.t"}}))
    for begin in range(0, len(rows), 30):
        data = pa.Table.from_pylist(rows[begin : begin + 30], schema=SCHEMA)
        write_deltalake(settings.table_root("bronze.t"), data, mode="append")
        if begin < 30 * KILLS:
            killed_run(tmp_path, file, after=rng.uniform(1, 25))
    assert run(tmp_path, file).wait() == 0
    found = DeltaTable(settings.table_root("gold.t")).to_pyarrow_table(columns=["window_start", "k", *MEASURES])
    assert differences(in_order(found.to_pylist()), expected(rows, WINDOWS[kind])) == []


def run(home: Path, file: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [PROJECT_ROOT / ".venv" / "bin" / "sluice", "run", str(file)],
        cwd=PROJECT_ROOT,
        env={**os.environ, "SLUICE_HOME": str(home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def killed_run(home: Path, file: Path, after: float) -> None:
    process = run(home, file)
    time.sleep(after)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
