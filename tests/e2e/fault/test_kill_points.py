"""Each record is loaded once, wherever a run is killed: real SIGKILLs of all processes, before and after each commit.

A few points of every kind run always. The whole enumeration, over every commit that a recorded run makes, is `slow`:
`make faults`.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.fault.checker import problems
from tests.e2e.fault.home import Home
from tests.e2e.fault.injector import Injector, Point, When, recorded_points
from tests.e2e.fault.kills import Verdict, killed_and_recovered
from tests.e2e.fault.scenario import prepared

TARGET = "warehouse/bronze/t/_delta_log"
# One of each kind, before or after. The target's versions 0 and 1 are the first scenario's, 2 and 3 the later one's;
# the stream's micro-batch 0 is the first one's, 1 the later one's.
KINDS: list[tuple[str, When, Point]] = [
    ("first", "after", Point("put", "state/p/ledger/_delta_log/00000000000000000001.json")),
    ("first", "before", Point("put", f"{TARGET}/00000000000000000000.json")),
    ("first", "after", Point("put", f"{TARGET}/00000000000000000001.json")),
    ("later", "before", Point("put", "state/p/checkpoint/commits/1")),
]


def test_checker_sees_what_is_lost_doubled_and_misreported(loaded_once: Path, tmp_path: Path) -> None:
    shutil.copytree(loaded_once, tmp_path / "home")
    home = Home(tmp_path / "home")
    assert problems(home) == []
    whole = (home.landing / "c.json").read_bytes()
    (home.landing / "c.json").write_bytes(whole + b'{"id": 99, "s": "lost"}\n')
    assert any("is not loaded" in problem for problem in problems(home))
    (home.landing / "c.json").write_bytes(whole.partition(b"\n")[2])
    found = problems(home)
    assert any("is loaded too often" in problem for problem in found)
    assert any("should be reported as" in problem for problem in found)


@pytest.mark.parametrize(("scenario", "when", "point"), KINDS, ids=lambda value: str(value).replace("/", "_"))
def test_killed_run_is_finished_by_the_next_with_each_record_once(
    injector: Injector, loaded_once: Path, tmp_path: Path, scenario: str, when: When, point: Point
) -> None:
    home = prepared(scenario, tmp_path / "home", loaded_once)
    assert killed_and_recovered(injector, home, point, when) == []


@pytest.mark.slow
@pytest.mark.parametrize("scenario", ["first", "later"])
def test_every_commit_of_a_run_can_be_the_last_thing_before_a_kill(
    injector: Injector, loaded_once: Path, tmp_path: Path, scenario: str, capsys: pytest.CaptureFixture[str]
) -> None:
    points = _points(injector, loaded_once, tmp_path, scenario)
    assert {point.path.split("/_delta_log/")[0] for point in points} >= {"state/p/ledger", "warehouse/bronze/t"}
    failed = []
    with capsys.disabled():
        print(f"\n{len(points)} commits, killed before and after each:", flush=True)  # noqa: T201  progress of an hour
        for verdict in _verdicts(injector, loaded_once, tmp_path, scenario, points):
            print(verdict, flush=True)  # noqa: T201
            failed += [verdict] if verdict.problems else []
    assert failed == []


def _points(injector: Injector, loaded_once: Path, tmp_path: Path, scenario: str) -> list[Point]:
    if scenario == "first":
        return recorded_points(loaded_once.parent / "first.log")
    home = prepared(scenario, tmp_path / "recorded", loaded_once)
    run = home.run(injector.recording(home.folder, tmp_path / "later.log"))
    assert (run.returncode, problems(home)) == (0, []), run.stderr
    return recorded_points(tmp_path / "later.log")


def _verdicts(
    injector: Injector, loaded_once: Path, tmp_path: Path, scenario: str, points: list[Point]
) -> Iterator[Verdict]:
    sides: tuple[When, When] = ("before", "after")
    for point in points:
        for when in sides:
            home = prepared(scenario, tmp_path / "home", loaded_once)
            found = killed_and_recovered(injector, home, point, when)
            yield Verdict(scenario, point, when, found)
            shutil.rmtree(home.folder)
