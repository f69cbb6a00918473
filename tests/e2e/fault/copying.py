"""A home whose table is loaded by COPY INTO statements, run by the real command in processes of their own."""

import json
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from deltalake import DeltaTable

from tests.e2e.fault.home import SLUICE, Home

STATEMENT = (
    "COPY INTO bronze.t FROM 'in' FILEFORMAT = JSON {} COPY_OPTIONS ('mergeSchema' = 'true')"  # {}: FILES or PATTERN
)
STATEMENT_SECONDS = 600.0


class CopyHome(Home):
    """As Home, with a copy_into section."""

    def configure(self, options: Mapping[str, object] | None = None, conf: Mapping[str, str] | None = None) -> None:
        """Write the pipeline's file: one statement over landing/in."""
        del options
        document = {"name": "p", "resources": {"conf": dict(conf or {})}, "copy_into": [STATEMENT.format("")]}
        self.pipeline.write_text(yaml.safe_dump(document))

    def start_statement(self, clause: str, *, options: str = "") -> "subprocess.Popen[bytes]":
        """Start `sluice copy-into` as the leader of a process group."""
        return subprocess.Popen(
            [SLUICE, "copy-into", STATEMENT.format(clause) + options, "--json"],
            env={**os.environ, "SLUICE_HOME": str(self.folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def finish_statement(self, process: "subprocess.Popen[bytes]") -> tuple[int, Mapping[str, Any], str]:
        """Exit code, the JSON object that was printed, and what went to stderr."""
        try:
            out, err = process.communicate(timeout=STATEMENT_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise
        printed = out.decode().splitlines()
        return process.returncode, json.loads(printed[-1]) if printed else {}, err.decode()

    def wrong(self) -> list[str]:
        """What is lost and what is doubled: every `id` of the landing files stands in the table as often as there."""
        due: Counter[int] = Counter()
        for file in sorted(self.landing.rglob("*.json")):
            due.update(json.loads(line)["id"] for line in file.read_text().splitlines())
        found: Counter[int] = Counter()
        if (self.target / "_delta_log").is_dir():
            found.update(DeltaTable(str(self.target)).to_pyarrow_table(columns=["id"])["id"].to_pylist())
        return [
            f"{ident} stands {found[ident]} times for {due[ident]}"
            for ident in sorted({*due, *found})
            if found[ident] != due[ident]
        ]

    def unaccounted(self) -> list[str]:
        """What `sluice files` does not say of the landing files: each is loaded once, with all of its records."""
        printed = [json.loads(line) for line in self.sluice("files", "bronze.t", "--json").splitlines()]
        loaded = Counter((row["path"], row["rows_loaded"]) for row in printed if row["status"] == "loaded")
        due = Counter((f"in/{file.name}", len(file.read_text().splitlines())) for file in self.landing.rglob("*.json"))
        pending = [f"{row['path']} is pending" for row in printed if row["status"] == "pending"]
        return [*pending, *(f"{key} is told {loaded[key]} times" for key in {*due, *loaded} if loaded[key] != due[key])]


def records(first: int, count: int) -> bytes:
    """`count` JSON records with ids from `first`."""
    return b"".join(b'{"id": %d, "s": "n%d"}\n' % (number, number) for number in range(first, first + count))


def copying(folder: Path, files: int = 3) -> CopyHome:
    """A home with landed files of ten records each, and nothing loaded."""
    home = CopyHome(folder)
    home.configure()
    for number in range(files):
        home.drop(f"f{number}.json", records(number * 10, 10), 1_700_000_000 + number)
    return home
