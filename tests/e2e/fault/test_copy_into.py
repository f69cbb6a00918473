"""COPY INTO loads each record once: killed at its commits, run by many at once, killed at random."""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.fault.chaos import Chaos
from tests.e2e.fault.copying import CopyHome, copying, records
from tests.e2e.fault.injector import Injector, Point, When, recorded_points
from tests.e2e.fault.kills import target_version

STATE = "warehouse/bronze/t/_copy_into"
COMMIT = "warehouse/bronze/t/_delta_log/00000000000000000000.json"
KINDS: list[tuple[When, Point]] = [
    ("after", Point("put", f"{STATE}/ledger/_delta_log/00000000000000000001.json")),
    ("after", Point("put", COMMIT)),
]
STATEMENTS, KILLS = 20, 25
SEEDS = [int(seed) for seed in os.environ.get("SLUICE_FAULT_SEEDS", "1 2 3").split()]


def killed_and_recovered(injector: Injector, home: CopyHome, point: Point, when: When) -> list[str]:
    """Kill a run at the point, run again, run once more with nothing to do; returns what is wrong."""
    killed = home.run(injector.killing(home.folder, point, when))
    if killed.returncode != -signal.SIGKILL:
        return [f"not killed but ended with {killed.returncode}: {killed.stderr[-2000:]}"]
    again = home.run()
    if again.returncode != 0:
        return [f"the next run ended with {again.returncode}: {again.stderr[-2000:]}"]
    found = home.wrong()
    version = target_version(home.target)
    idle = home.run()
    if idle.result.get("status") != "nothing_new" or target_version(home.target) != version:
        found.append(f"a run with nothing to do was not idle: {idle.result}")
    reported = {row["path"]: (row["status"], row["rows_loaded"]) for row in home.report("files")}
    if reported != {f"in/f{number}.json": ("loaded", 10) for number in range(3)}:
        found.append(f"reported: {reported}")
    return found


@pytest.mark.parametrize(("when", "point"), KINDS, ids=lambda value: str(value).replace("/", "_"))
def test_a_killed_statement_is_finished_by_the_next_with_each_record_once(
    injector: Injector, tmp_path: Path, when: When, point: Point
) -> None:
    assert killed_and_recovered(injector, copying(tmp_path / "home"), point, when) == []


@pytest.mark.slow
def test_every_commit_of_a_statement_can_be_the_last_thing_before_a_kill(
    injector: Injector, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = copying(tmp_path / "recorded")
    run = home.run(injector.recording(home.folder, tmp_path / "points.log"))
    assert (run.returncode, home.wrong()) == (0, []), run.stderr
    points = recorded_points(tmp_path / "points.log")
    assert {point.path for point in points} >= {COMMIT, KINDS[0][1].path}
    failed = []
    with capsys.disabled():
        print(f"\n{len(points)} commits, killed before and after each:", flush=True)  # noqa: T201  progress
        for point, when, problems in _verdicts(injector, tmp_path, points):
            print(f"{when:7} {point!s:70} {'; '.join(problems) or '0 lost, 0 doubled'}", flush=True)  # noqa: T201
            failed += problems
    assert failed == []


def _verdicts(injector: Injector, tmp_path: Path, points: list[Point]) -> Iterator[tuple[Point, When, list[str]]]:
    sides: tuple[When, When] = ("before", "after")
    for point in points:
        for when in sides:
            home = copying(tmp_path / "home")
            yield point, when, killed_and_recovered(injector, home, point, when)
            shutil.rmtree(home.folder)


def test_statements_on_one_table_at_once_load_each_file_once(tmp_path: Path) -> None:
    home = copying(tmp_path / "home", files=4)
    clauses = ["PATTERN = 'f[01].json'", "FILES = ('f2.json')", "FILES = ('f2.json', 'f3.json')", ""]
    processes = [home.start_statement(clause) for clause in clauses]
    ends = [home.finish_statement(process) for process in processes]
    assert [end[0] for end in ends] == [0] * len(clauses), [end[2][-1000:] for end in ends]
    assert home.wrong() == []
    assert sum(end[1]["num_affected_rows"] for end in ends) == 40


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_twenty_statements_at_once_with_random_kills_lose_and_double_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], seed: int
) -> None:
    home = copying(tmp_path / "home", files=0)
    for number in range(STATEMENTS):
        home.drop(f"own{number}.json", records(number * 100, 50), 1_700_000_000 + number)
    home.drop("shared.json", records(100_000, 50), 1_700_000_100)
    chaos, started = Chaos(home, seed, KILLS), time.monotonic()
    chaos.run([f"FILES = ('own{number}.json', 'shared.json')" for number in range(STATEMENTS)])
    with capsys.disabled():
        seconds = time.monotonic() - started
        print(f"\nseed {seed}: {seconds:.0f} s, ends {dict(chaos.ends)}, killed {dict(chaos.hit)}")  # noqa: T201
    assert chaos.problems == []
    assert home.wrong() == []
    assert home.unaccounted() == []
    version = target_version(home.target)
    code, result, _ = home.finish_statement(home.start_statement(""))
    assert (code, result["num_affected_rows"], target_version(home.target)) == (0, 0, version)
