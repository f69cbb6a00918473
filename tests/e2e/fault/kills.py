"""A run that is killed at a point, the run after it, and what is wrong then."""

import signal
from dataclasses import dataclass
from pathlib import Path

from deltalake import DeltaTable

from tests.e2e.fault.checker import problems
from tests.e2e.fault.home import Home
from tests.e2e.fault.injector import Injector, Point, When


@dataclass(frozen=True)
class Verdict:
    """What was found after a kill `when` (before or after) `point`, and the run that followed; no problems is good."""

    scenario: str
    point: Point
    when: When
    problems: list[str]

    def __str__(self) -> str:
        result = "; ".join(self.problems) or "0 lost, 0 doubled"
        return f"{self.scenario:6} {self.when:7} {self.point!s:58} {result}"


def killed_and_recovered(injector: Injector, home: Home, point: Point, when: When) -> list[str]:
    """Kill a run at the point, run again to the end, run once more; returns what is wrong."""
    killed = home.run(injector.killing(home.folder, point, when))
    if killed.returncode != -signal.SIGKILL:
        return [f"the run was not killed but ended with {killed.returncode}: {killed.stderr[-2000:]}"]
    return recovered(home)


def recovered(home: Home) -> list[str]:
    """Run to the end, then once more with nothing to do; returns what is wrong."""
    again = home.run()
    if again.returncode != 0:
        return [f"the next run ended with {again.returncode}: {again.result.get('error')} {again.stderr[-2000:]}"]
    found = problems(home)
    version = target_version(home.target)
    idle = home.run()
    if idle.result.get("status") != "nothing_new" or target_version(home.target) != version:
        found.append(f"a run with nothing to do was not idle: {idle.result}")
    return found


def target_version(target: Path) -> int:
    """The newest version of the target table."""
    return DeltaTable(str(target)).version()
