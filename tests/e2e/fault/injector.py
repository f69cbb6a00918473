"""The injector of faults: built from injector.c, told what to do by environment variables, and its record read back."""

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

SOURCE = Path(__file__).with_name("injector.c")
When = Literal["before", "after"]


@dataclass(frozen=True)
class Point:
    """The `nth` time (from 1) that a path below the home gets its final name (`put`) or is deleted."""

    verb: str
    path: str
    nth: int = 1

    def __str__(self) -> str:
        return f"{self.verb} {self.path}" + (f" #{self.nth}" if self.nth > 1 else "")


@dataclass(frozen=True)
class Injector:
    """A shared library that is preloaded into all processes of a run."""

    library: Path

    @classmethod
    def build(cls, folder: Path) -> "Injector | None":
        """Compile it; None on a machine without a C compiler."""
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            return None
        library = folder / "injector.so"
        subprocess.run(
            [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", library, SOURCE, "-ldl"], check=True
        )
        return cls(library)

    def recording(self, home: Path, log: Path) -> Mapping[str, str]:
        """The environment of a run whose commits below `home` are written to `log`."""
        return self._environment(home, FAULT_LOG=str(log))

    def killing(self, home: Path, point: Point, when: When) -> Mapping[str, str]:
        """The environment of a run that is killed, with its whole process group, before or after a point."""
        return self._environment(
            home, FAULT_POINT=f"{point.verb} {point.path}", FAULT_NTH=str(point.nth), FAULT_WHEN=when
        )

    def hanging(self, home: Path, file: Path) -> Mapping[str, str]:
        """The environment of a run whose JVM never finishes opening `file`."""
        return self._environment(home, FAULT_HANG=str(file))

    def _environment(self, home: Path, **orders: str) -> Mapping[str, str]:
        preload = " ".join(filter(None, (str(self.library), os.environ.get("LD_PRELOAD"))))
        return {"LD_PRELOAD": preload, "FAULT_ROOT": f"{home}/", **orders}


def recorded_points(log: Path) -> list[Point]:
    """The commits of a recorded run, in order.

    Left out are files that nothing reads by their name: data files, which count from the commit that names them, and
    the temporary and checksum files beside a document, whose names begin with a dot.
    """
    times: Counter[str] = Counter()
    points = []
    for line in log.read_text().splitlines():
        verb, _, path = line.partition(" ")
        name = path.rpartition("/")[2]
        if name.startswith(".") or name.endswith((".parquet", "#1")):
            continue
        times[line] += 1
        points.append(Point(verb, path, times[line]))
    return points
