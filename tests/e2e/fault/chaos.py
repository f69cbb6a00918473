"""Statements that run at once while a killer goes round: it kills whole commands, or one process of theirs."""

import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from include.config.exit_codes import ExitCode
from tests.e2e.fault.copying import CopyHome
from tests.e2e.fault.home import group_members

# Of a statement that was killed, or whose job was: it is run again.
AGAIN = (-signal.SIGKILL, ExitCode.DEFECT, ExitCode.IO, ExitCode.LOCKED)
TRIES = 40
PAUSE_SECONDS = (0.1, 3.0)
EVERY = "everything"


@dataclass
class Chaos:
    """Runs statements, each until it succeeds, and kills at random until `kills` processes were hit."""

    home: CopyHome
    seed: int
    kills: int
    ends: Counter[int] = field(default_factory=Counter)
    hit: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)
        self._groups: set[int] = set()
        self._lock = threading.Lock()
        self._over = threading.Event()

    def run(self, clauses: Sequence[str]) -> None:
        """Start one statement for each clause at once; returns when all have succeeded."""
        killer = threading.Thread(target=self._kill)
        killer.start()
        try:
            with ThreadPoolExecutor(len(clauses)) as threads:
                list(threads.map(self._until_it_succeeds, clauses))
        finally:
            self._over.set()
            killer.join()

    def _until_it_succeeds(self, clause: str) -> None:
        for _ in range(TRIES):
            process = self.home.start_statement(clause)
            with self._lock:
                self._groups.add(process.pid)
            code, _, stderr = self.home.finish_statement(process)
            with self._lock:
                self._groups.discard(process.pid)
                self.ends[code] += 1
            if code == 0:
                return
            if code not in AGAIN:
                self.problems.append(f"{clause} ended with {code}: {stderr[-2000:]}")
                return
        self.problems.append(f"{clause} did not succeed in {TRIES} tries")

    def _kill(self) -> None:
        while self.hit.total() < self.kills and not self._over.wait(self._chance.uniform(*PAUSE_SECONDS)):
            with self._lock:
                groups = sorted(self._groups)
            # Half of the time whoever has a JVM: the others wait for it.
            loading = [group for group in groups if "java" in map(_name, group_members(group))]
            of = loading if loading and self._chance.random() < 0.5 else groups
            if of:
                self._hit(self._chance.choice(of))

    def _hit(self, group: int) -> None:
        """Kill the group, or one process of it."""
        victims = {_name(pid): pid for pid in group_members(group)}
        what = self._chance.choice([EVERY, *sorted(victims)])
        with suppress(ProcessLookupError):
            if what == EVERY:
                os.killpg(group, signal.SIGKILL)
            else:
                os.kill(victims[what], signal.SIGKILL)
            self.hit[what] += 1


def _name(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""
