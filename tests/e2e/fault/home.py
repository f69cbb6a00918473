"""A home of one pipeline: its landing files, and the real `sluice` command run on it in processes of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

SLUICE = Path(sys.executable).with_name("sluice")
RUN_SECONDS = 240.0
OPTIONS = {"cloudFiles.format": "json", "cloudFiles.inferColumnTypes": True, "cloudFiles.maxFilesPerTrigger": 2}


@dataclass(frozen=True)
class Run:
    """How a `sluice run` ended: exit code (negative: the signal), its last line as JSON, what it wrote to stderr."""

    returncode: int
    result: Mapping[str, Any]
    stderr: str


class Home:
    """Everything below one folder: landing/in, warehouse/bronze/t, state/p and the pipeline's file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.landing = folder / "landing" / "in"
        self.target = folder / "warehouse" / "bronze" / "t"
        self.state = folder / "state" / "p"
        self.pipeline = folder / "p.yaml"
        self.landing.mkdir(parents=True, exist_ok=True)
        self._stderr: dict[int, Path] = {}

    def configure(self, options: Mapping[str, object] | None = None, conf: Mapping[str, str] | None = None) -> None:
        """Write the pipeline's file: JSON, two files a batch, changed files replace their rows; `conf` is Spark's."""
        section = {
            "source": "in",
            "table": "bronze.t",
            "options": {**OPTIONS, **(options or {})},
            "changed_files": "replace",
        }
        document = {"name": "p", "resources": {"conf": dict(conf or {})}, "ingest": section}
        self.pipeline.write_text(yaml.safe_dump(document))

    def drop(self, name: str, content: bytes, modified_at: int) -> Path:
        """Put a file into landing with a time of its own (seconds since the epoch), which decides its batch."""
        path = self.landing / name
        path.write_bytes(content)
        os.utime(path, (modified_at, modified_at))
        return path

    def start(self, env: Mapping[str, str] | None = None) -> "subprocess.Popen[str]":
        """Start `sluice run` as the leader of a process group that holds all of its processes."""
        written = self.folder / f"run-{len(self._stderr) + 1}.stderr"
        with written.open("w") as stderr:
            process = subprocess.Popen(
                [SLUICE, "run", self.pipeline, "--json"],
                env=self._environment(env),
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                start_new_session=True,
            )
        self._stderr[process.pid] = written
        return process

    def finish(self, process: "subprocess.Popen[str]") -> Run:
        """Wait for a started run and for all processes of its group, which is killed when that takes too long."""
        try:
            stdout = process.communicate(timeout=RUN_SECONDS)[0]
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise
        wait_for_group(process.pid)
        lines = stdout.splitlines()
        result = json.loads(lines[-1]) if lines and process.returncode >= 0 else {}
        return Run(process.returncode, result, self._stderr[process.pid].read_text())

    def run(self, env: Mapping[str, str] | None = None) -> Run:
        """`sluice run` to its end, whatever that is."""
        return self.finish(self.start(env))

    def report(self, command: str) -> list[dict[str, Any]]:
        """The objects that `sluice files` or `sluice quarantine` prints."""
        printed = self.sluice(command, self.pipeline, "--json")
        return [json.loads(line) for line in printed.splitlines()]

    def sluice(self, *arguments: str | Path) -> str:
        """What a command prints to stdout; it must end with 0."""
        command: Sequence[str | Path] = [SLUICE, *arguments]
        return subprocess.run(
            command, env=self._environment(None), capture_output=True, text=True, check=True, timeout=60
        ).stdout

    def _environment(self, env: Mapping[str, str] | None) -> Mapping[str, str]:
        return {**os.environ, "SLUICE_HOME": str(self.folder), **(env or {})}


def group_members(group: int) -> list[int]:
    """The living processes of a group. A zombie is dead: it waits for somebody to ask how it ended."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            status = (entry / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(status[2]) == group and status[0] not in "ZX":
            found.append(int(entry.name))
    return found


def wait_for_group(group: int, seconds: float = 10.0) -> None:
    """Wait until no process of the group is alive.

    Raises:
        TimeoutError: some still are.
    """
    deadline = time.monotonic() + seconds
    while members := group_members(group):
        if time.monotonic() > deadline:
            raise TimeoutError(f"still alive after {seconds} s: {members}")
        time.sleep(0.02)
