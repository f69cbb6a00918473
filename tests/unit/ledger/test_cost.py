"""What a discovery costs: the promise that nothing new costs nothing, and that memory stays flat."""

import json
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from include.ledger.ledger import Ledger
from include.ledger.versions import PLANNED, table
from tests.unit.ledger.site import NAME, Site

PROJECT = Path(__file__).parents[3]

MEASURED = """
import json, resource, sys, threading, time
STARTS = {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.exec", "os.system"}
started = []
sys.addaudithook(lambda event, _: started.append(event) if event in STARTS else None)
began = time.monotonic()
from pathlib import Path
from include.config.pipeline import Pipeline
from include.config.settings import load_settings
from include.ledger.discover import discover
home = Path(sys.argv[1])
pipeline = Pipeline.model_validate({"name": "trips", "file": home / "trips.yaml", "ingest": {
    "source": "in", "table": "bronze.trips", "options": {"cloudFiles.format": "json"}}})
found = discover(pipeline, load_settings({"SLUICE_HOME": str(home)}), "run")
print(json.dumps({
    "discovered": found.discovered,
    "started": started,
    "threads": threading.active_count(),
    "seconds": time.monotonic() - began,
    "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    "modules": sorted(set(sys.modules) & {"pandas", "pyarrow.dataset", "pyspark", "obstore", "airflow", "numpy"}),
}))
"""


def measure(site: Site) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(site.home)], check=True, cwd=PROJECT, stdout=subprocess.PIPE
    )
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def test_nothing_new_starts_no_process_and_imports_nothing_heavy(site: Site) -> None:
    """What that costs in seconds is in benchmarks/ingest.md: a machine that is busy takes longer."""
    for number in range(400):
        site.land(f"{number}.json")
    site.land("_SUCCESS")
    site.discover()
    site.load()
    found = measure(site)
    assert found["discovered"] == 0
    assert found["started"] == [], "a JVM, or any other process"
    assert found["threads"] == 1
    assert set(found["modules"]) <= {"numpy"}, "each of the others costs a tenth of a second or more"


@pytest.mark.slow
def test_a_hundred_new_among_a_million_files_within_12_seconds_and_a_gibibyte(site: Site) -> None:
    paths = [f"in/{folder:04}/part-{number:06}.json" for folder in range(1000) for number in range(1000)]
    for folder in range(1000):
        (site.source / f"{folder:04}").mkdir()
    times = []
    for path in paths:
        file = site.home / "landing" / path
        file.touch()
        times.append(file.stat().st_mtime_ns // 1000)
    count = len(paths)
    planned = table(
        [paths, [0] * count, times, [None] * count, [1] * count, ["append"] * count, [None] * count], PLANNED
    )
    Ledger(site.settings, NAME).append(planned, 1000, None, "seed", datetime.now(UTC))
    for number in range(100):
        site.land(f"new-{number}.json")
    figures = measure(site)
    assert figures["discovered"] == 100
    assert figures["mib"] < 1024, figures
    assert figures["seconds"] < 12, figures
    shutil.rmtree(site.source)
