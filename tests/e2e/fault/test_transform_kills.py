"""A transformation that is killed with SIGKILL ends with the table of the batch query: at its commits, and at any time.

One point runs always: between the target's commit and what comes after it. The whole enumeration, before and after
every commit that a recorded run makes, with and without a state, is `slow`: `make faults`.
"""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from deltalake import DeltaTable, write_deltalake

from include.config.settings import PROJECT_ROOT, load_settings
from tests.e2e.fault.injector import Injector, Point, When, recorded_points
from tests.spark.oracle import MEASURES, SCHEMA, Row, differences, expected, in_order
from tests.spark.test_windows import WINDOWS, events

KILLS = 6
SIDES: tuple[When, When] = ("before", "after")
GOLD = "warehouse/gold/t/_delta_log"
# What Spark's state can compute, too, and as DuckDB does.
PLAIN = ("n", "n_v", "total", "positive", "revenue", "least", "most", "any_big")


@dataclass(frozen=True)
class World:
    """A home with a table of events and a pipeline of windows of one kind; `stateful` is tumbling by Spark's state."""

    folder: Path
    kind: str
    rows: list[Row]

    @property
    def measures(self) -> tuple[str, ...]:
        return PLAIN if self.kind == "stateful" else tuple(MEASURES)

    @property
    def window(self) -> Mapping[str, Any]:
        return WINDOWS["tumbling" if self.kind == "stateful" else self.kind]

    def configure(self) -> None:
        lengths = {name: f"{value} seconds" for name, value in self.window.items() if name != "type"}
        measures = {name: MEASURES[name][0] for name in self.measures}
        step = {"type": self.window["type"], **lengths, "time": "at", "keys": ["k"], "measures": measures}
        if self.kind == "stateful":  # rows of nine days ago are in time
            step.update(engine="stateful", late={"after": "10 days", "action": "divert"})
        section = {"source": "bronze.t", "options": {"maxVersionsPerTrigger": 1}, "steps": [{"window": step}]}
        document = {"name": "p", "transform": {**section, "table": "gold.t"}}
        self.folder.mkdir(exist_ok=True)
        (self.folder / "p.yaml").write_text(yaml.safe_dump(document))

    def add(self, begin: int, end: int) -> None:
        settings = load_settings({"SLUICE_HOME": str(self.folder)}, self.folder / "none.yaml")
        data = pa.Table.from_pylist(self.rows[begin:end], schema=SCHEMA)
        write_deltalake(settings.table_root("bronze.t"), data, mode="append")

    def copy(self, folder: Path) -> "World":
        shutil.copytree(self.folder, folder)
        return replace(self, folder=folder)

    def start(self, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [PROJECT_ROOT / ".venv" / "bin" / "sluice", "run", str(self.folder / "p.yaml")],
            cwd=PROJECT_ROOT,
            env={**os.environ, "SLUICE_HOME": str(self.folder), **(env or {})},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def problems(self) -> list[str]:
        """What differs from the batch query."""
        table = DeltaTable(str(self.folder / "warehouse" / "gold" / "t"))
        found = in_order(table.to_pyarrow_table(columns=["window_start", "k", *self.measures]).to_pylist())
        wanted = expected(self.rows, self.window)
        if self.kind != "stateful":
            return differences(found, wanted)
        shown = [{name: row[name] for name in ("window_start", "k", *PLAIN)} for row in wanted]
        return [f"{row} is not {other}" for row, other in zip(found, shown, strict=True) if row != other]


def prepared(folder: Path, kind: str) -> World:
    """A world whose first batch is in; two more have come to the source."""
    world = World(folder, kind, events(seed=12, count=120))
    world.configure()
    world.add(0, 60)
    assert world.start().wait() == 0
    world.add(60, 90)
    world.add(90, 120)
    return world


def killed_and_recovered(world: World, injector: Injector, point: Point, when: When) -> list[str]:
    if world.start(injector.killing(world.folder, point, when)).wait() != -signal.SIGKILL:
        return ["the run was not killed"]
    if (code := world.start().wait()) != 0:
        return [f"the next run ended with {code}"]
    return world.problems()


@pytest.mark.parametrize(
    ("kind", "when", "path"),
    [
        ("tumbling", "after", f"{GOLD}/00000000000000000001.json"),
        pytest.param("stateful", "before", "state/p/checkpoint/commits/1", marks=pytest.mark.slow),
    ],
)
def test_kill_after_the_targets_commit_adds_nothing_twice(
    tmp_path: Path, injector: Injector, kind: str, when: When, path: str
) -> None:
    world = prepared(tmp_path / "home", kind)
    assert killed_and_recovered(world, injector, Point("put", path), when) == []


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kind", ["tumbling", "session", "stateful"])
def test_every_commit_of_a_run_can_be_the_last_thing_before_a_kill(
    tmp_path: Path, injector: Injector, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ready = prepared(tmp_path / "ready", kind)
    recorded = ready.copy(tmp_path / "recorded")
    assert recorded.start(injector.recording(recorded.folder, tmp_path / "log")).wait() == 0
    failed = []
    for point in recorded_points(tmp_path / "log"):
        for when in SIDES:
            world = ready.copy(tmp_path / "home")
            problems = killed_and_recovered(world, injector, point, when)
            with capsys.disabled():
                print(f"{kind} {when:6} {point!s:60} {problems or '0 lost, 0 doubled'}", flush=True)  # noqa: T201
            failed += [(point, when, problems)] if problems else []
            shutil.rmtree(world.folder)
    assert failed == []


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", ["tumbling", "session", "stateful"])
def test_killed_runs_add_each_row_once(tmp_path: Path, kind: str) -> None:
    world, rng = World(tmp_path, kind, events(seed=11, count=300)), random.Random(kind)
    world.configure()
    for begin in range(0, len(world.rows), 30):
        world.add(begin, begin + 30)
        if begin < 30 * KILLS:
            process = world.start()
            time.sleep(rng.uniform(1, 25))
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert world.start().wait() == 0
    assert world.problems() == []


@pytest.mark.slow
def test_processor_of_the_users_has_its_state_and_sees_each_row_once(tmp_path: Path) -> None:
    world = World(tmp_path, "function", [{**row, "k": "a", "v": 1} for row in events(seed=13, count=40) if row["at"]])
    late = {"after": "10 days", "action": "divert"}
    step = {"function": "tests.spark.test_stateful:running", "time": "at", "late": late, "keys": ["k"]}
    section = {"source": "bronze.t", "steps": [{"stateful": step}], "table": "gold.t"}
    (tmp_path / "p.yaml").write_text(yaml.safe_dump({"name": "p", "transform": section}))
    for begin, end in ((0, 20), (20, len(world.rows))):
        world.add(begin, end)
        assert world.start().wait() == 0
    found = DeltaTable(str(tmp_path / "warehouse" / "gold" / "t")).to_pyarrow_table().to_pylist()
    assert found == [{"k": "a", "total": len(world.rows)}]
