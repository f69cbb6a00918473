"""Discoveries in real processes: racing with each other, and killed between any two steps."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from include.ledger.ledger import Ledger
from tests.unit.ledger.site import NAME, Site

PROJECT = Path(__file__).parents[3]

RACER = """
import sys
from pathlib import Path
from tests.unit.ledger.site import Site
site = Site(Path(sys.argv[1]))
racer, rounds = sys.argv[2], int(sys.argv[3])
for number in range(rounds):
    for file in range(3):
        site.land(f"{racer}-{number}-{file}.json")
    site.discover(site.pipeline(options={"cloudFiles.maxFilesPerTrigger": 2}), run_id=f"{racer}-{number}")
"""

# Kills itself before or after a step, counted from the first time the step is reached.
VICTIM = """
import os, signal, sys
from pathlib import Path
import include.ledger.ledger as ledger
import include.ledger.skips as skips
from tests.unit.ledger.site import Site
STEPS = {
    "skips": (skips, "record"),
    "create": (ledger.Ledger, "create"),
    "data file": (ledger, "write_parquet"),
    "commit": (ledger.Ledger, "_commit"),
}
home, when, step = sys.argv[1:]
owner, name = STEPS[step]
original = getattr(owner, name)
def deadly(*args, **kwargs):
    if when == "after":
        original(*args, **kwargs)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(owner, name, deadly)
Site(Path(home)).discover(Site(Path(home)).pipeline(options={"cloudFiles.maxFilesPerTrigger": 2}))
"""


def start(script: str, *arguments: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", script, *map(str, arguments)], cwd=PROJECT)


@pytest.mark.parametrize("racers", [2, 4])
def test_racing_discoveries_plan_no_file_and_no_number_twice(site: Site, racers: int) -> None:
    rounds = 8
    processes = [start(RACER, site.home, f"racer{number}", rounds) for number in range(racers)]
    assert [process.wait(120) for process in processes] == [0] * racers
    site.discover()

    planned = site.planned()
    paths = [path for _, path, _, _ in planned]
    assert len(paths) == len(set(paths)) == racers * rounds * 3
    batches = [batch for batch, _, _, _ in planned]
    assert sorted(set(batches)) == list(range(1, max(batches) + 1)), "no gaps"
    files = Ledger(site.settings, NAME).data_files()
    assert sorted(file.first for file in files) == sorted(set(batches)), "one data file for each batch"


@pytest.mark.parametrize("step", ["skips", "create", "data file", "commit"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_kill_at_any_step_loses_and_doubles_nothing(site: Site, when: str, step: str) -> None:
    for number in range(5):
        site.land(f"{number}.json", age=100 - number)
    site.land("_hidden")
    assert start(VICTIM, site.home, when, step).wait(60) == -signal.SIGKILL

    pipeline = site.pipeline(options={"cloudFiles.maxFilesPerTrigger": 2})
    site.discover(pipeline)
    expected = [(number // 2 + 1, f"in/{number}.json", 1, "append") for number in range(5)]
    assert site.planned() == expected
    assert (site.discover(pipeline).discovered, site.discover(pipeline).skipped) == (0, 0)
    site.load()
    assert not site.discover(pipeline).has_work


def test_the_first_run_is_not_over_before_its_files_are_named(site: Site) -> None:
    """cloudFiles.includeExistingFiles is false; killed when the existing files are named and no ledger is made."""
    site.land("before.json")
    script = VICTIM.replace('"cloudFiles.maxFilesPerTrigger": 2', '"cloudFiles.includeExistingFiles": False')
    assert start(script, site.home, "before", "create").wait(60) == -signal.SIGKILL
    site.land("after.json")
    site.discover(site.pipeline(options={"cloudFiles.includeExistingFiles": False}))
    assert [path for _, path, _, _ in site.planned()] == ["in/after.json"]


def test_a_discovery_killed_at_random_times_plans_each_file_once(site: Site) -> None:
    for round_ in range(12):
        site.land(f"{round_}.json", age=1000 - round_)
        process = start(RACER, site.home, f"victim{round_}", 3)
        try:
            process.wait(0.35 + round_ * 0.05)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
    site.discover()
    landed = {f"in/{file.name}" for file in site.source.iterdir()}
    paths = [path for _, path, _, _ in site.planned()]
    assert len(paths) == len(set(paths))
    assert set(paths) == landed
