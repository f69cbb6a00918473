"""A cached join that is killed with SIGKILL while its dimension changes: each row once, each batch of one version."""

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pytest
import yaml
from deltalake import DeltaTable, write_deltalake

from include.config.settings import PROJECT_ROOT, load_settings
from tests.e2e.fault.injector import Injector, Point, When, recorded_points

SIDES: tuple[When, When] = ("before", "after")
KEYS, BATCH, BATCHES = 50, 20, 3
FEED = {"delta.enableChangeDataFeed": "true"}
TARGET = "warehouse/silver/t/_delta_log"


@dataclass(frozen=True)
class World:
    """A home with a dimension, a table of facts and a pipeline that joins them; `seats` is the dimension's version."""

    folder: Path

    def table(self, name: str) -> str:
        settings = load_settings({"SLUICE_HOME": str(self.folder)}, self.folder / "none.yaml")
        return settings.table_root(name)

    def configure(self) -> None:
        join = {"table": "bronze.planes", "on": ["k"], "how": "left", "columns": ["seats"], "cached": True}
        transform = {
            "source": "bronze.facts",
            "options": {"maxVersionsPerTrigger": 1},
            "steps": [{"join": join}],
            "table": "silver.t",
        }
        self.folder.mkdir()
        (self.folder / "p.yaml").write_text(yaml.safe_dump({"name": "p", "transform": transform}))
        self.replace_dimension(0)

    def replace_dimension(self, seats: int) -> None:
        """A new version of the dimension, all of it different."""
        rows = pa.table({"k": list(range(KEYS)), "seats": [seats] * KEYS})
        write_deltalake(self.table("bronze.planes"), rows, mode="overwrite", configuration=FEED)

    def add(self, batch: int) -> None:
        ids = list(range(batch * BATCH, (batch + 1) * BATCH))
        rows = pa.table({"id": ids, "batch": [batch] * BATCH, "k": [number % KEYS for number in ids]})
        write_deltalake(self.table("bronze.facts"), rows, mode="append", configuration=FEED)

    def copy(self, folder: Path) -> "World":
        shutil.copytree(self.folder, folder)
        return replace(self, folder=folder)

    def run(self, env: Mapping[str, str] | None = None) -> int:
        return subprocess.run(
            [PROJECT_ROOT / ".venv" / "bin" / "sluice", "run", str(self.folder / "p.yaml")],
            cwd=PROJECT_ROOT,
            env={**os.environ, "SLUICE_HOME": str(self.folder), **(env or {})},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            check=False,
        ).returncode

    def rows(self) -> list[tuple[int, int, int]]:
        """(batch, id, seats) of the target."""
        table = DeltaTable(self.table("silver.t")).to_pyarrow_table(columns=["batch", "id", "seats"])
        return sorted(zip(*(table[name].to_pylist() for name in ("batch", "id", "seats")), strict=True))


def prepared(folder: Path) -> World:
    """A world whose first batch is in; two more have come, and the dimension has changed."""
    world = World(folder)
    world.configure()
    world.add(0)
    assert world.run() == 0
    world.replace_dimension(1)
    for batch in range(1, BATCHES):
        world.add(batch)
    return world


def killed_and_recovered(world: World, injector: Injector, point: Point, when: When) -> list[str]:
    """Kill a run, change the dimension, run again; returns what is wrong."""
    if (code := world.run(injector.killing(world.folder, point, when))) != -signal.SIGKILL:
        return [f"the run was not killed but ended with {code}"]
    before = world.rows()
    world.replace_dimension(2)
    if (code := world.run()) != 0:
        return [f"the next run ended with {code}"]
    return problems(before, world.rows())


def problems(before: list[tuple[int, int, int]], rows: list[tuple[int, int, int]]) -> list[str]:
    """What is wrong with the rows after a recovery, `before` being those that the killed run had committed."""
    found = []
    if [number for _, number, _ in rows] != list(range(BATCHES * BATCH)):
        found.append(f"rows are lost or doubled: {[number for _, number, _ in rows]}")
    if not set(before) <= set(rows):
        found.append(f"committed rows changed: {sorted(set(before) - set(rows))}")
    for batch in range(BATCHES):
        versions = {seats for of, _, seats in rows if of == batch}
        if len(versions) != 1 or None in versions:
            found.append(f"batch {batch} was joined with {versions}")
    return found


def test_checker_sees_what_is_lost_doubled_changed_and_mixed() -> None:
    good = [(batch, batch * BATCH + at, batch) for batch in range(BATCHES) for at in range(BATCH)]
    assert problems(good[:BATCH], good) == []
    assert "lost or doubled" in problems([], good[1:])[0]
    assert "lost or doubled" in problems([], [good[0], *good])[0]
    assert "committed rows changed" in problems([(0, 0, 7)], good)[0]
    assert "was joined with" in problems([], [(0, 0, 9), *good[1:]])[0]


def test_kill_after_the_targets_commit_keeps_the_version_that_was_joined(tmp_path: Path, injector: Injector) -> None:
    world = prepared(tmp_path / "home")
    point = Point("put", f"{TARGET}/00000000000000000001.json")
    assert killed_and_recovered(world, injector, point, "after") == []


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_every_commit_of_a_joining_run_can_be_the_last_thing_before_a_kill(
    tmp_path: Path, injector: Injector, capsys: pytest.CaptureFixture[str]
) -> None:
    ready = prepared(tmp_path / "ready")
    recorded = ready.copy(tmp_path / "home")  # the snapshot's folder is named after the place of the table
    assert recorded.run(injector.recording(recorded.folder, tmp_path / "log")) == 0
    shutil.rmtree(recorded.folder)
    failed = []
    # A document that is named after its run has another name in the next one.
    for point in (point for point in recorded_points(tmp_path / "log") if "cli__" not in point.path):
        for when in SIDES:
            world = ready.copy(tmp_path / "home")
            wrong = killed_and_recovered(world, injector, point, when)
            with capsys.disabled():
                print(f"{when:6} {point!s:70} {wrong or '0 lost, 0 doubled'}", flush=True)  # noqa: T201
            failed += [(point, when, wrong)] if wrong else []
            shutil.rmtree(world.folder)
    assert failed == []
