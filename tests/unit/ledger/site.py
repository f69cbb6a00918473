"""The installation that tests of the ledger work in, and what they do to it."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import CommitProperties, Transaction, write_deltalake

from include.config.pipeline import Pipeline
from include.config.settings import Settings, load_settings
from include.ledger.discover import Discovery, discover
from include.ledger.ledger import Ledger, read_batches
from include.ledger.outcomes import FileOutcome, write_outcomes
from include.ledger.pending import pending
from include.ledger.target import app_id

NAME = "trips"
HOUR = 3600


class Site:
    """Landing, state and warehouse below `home`; one pipeline over landing/in with the options that a test wants."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.source = home / "landing" / "in"
        self.source.mkdir(parents=True, exist_ok=True)
        (home / "state").mkdir(exist_ok=True)

    @property
    def settings(self) -> Settings:
        return load_settings({"SLUICE_HOME": str(self.home)}, self.home / "no-settings.yaml")

    def pipeline(self, *, options: dict[str, Any] | None = None, **ingest: Any) -> Pipeline:
        section = {
            "source": "in",
            "table": "bronze.trips",
            "options": {"cloudFiles.format": "json", **(options or {})},
            **ingest,
        }
        return Pipeline.model_validate({"name": NAME, "file": self.home / f"{NAME}.yaml", "ingest": section})

    def land(self, name: str, text: str = "{}\n", age: float = HOUR) -> Path:
        """Put a file into the source, whole and with its time at once; `age` in seconds."""
        file = self.source / name
        file.parent.mkdir(parents=True, exist_ok=True)
        made = self.home / f"made-{os.getpid()}"
        made.write_text(text)
        then = int((made.stat().st_ctime - age) * 1_000_000_000)
        os.utime(made, ns=(then, then))
        return made.rename(file)

    def discover(self, pipeline: Pipeline | None = None, run_id: str = "run") -> Discovery:
        return discover(pipeline or self.pipeline(), self.settings, run_id)

    def planned(self) -> list[tuple[int, str, int, str]]:
        """Batch, path, version and action of all that was ever planned."""
        batches = read_batches(self.settings, NAME, 1, Ledger(self.settings, NAME).last_batch)
        return [(batch.batch, file.path, file.version, file.action) for batch in batches for file in batch.files]

    def replaces(self) -> list[int | None]:
        """The lowest version that each planned file version replaces."""
        batches = read_batches(self.settings, NAME, 1, Ledger(self.settings, NAME).last_batch)
        return [file.replaces for batch in batches for file in batch.files]

    def load(self, *, torn: Iterable[str] = (), unread: Iterable[str] = (), outcomes: bool = True) -> None:
        """Load the pending batches as the job does, one row for each file that is still what was planned."""
        due = pending(self.settings, self.pipeline())
        if due.first is None or due.last is None:
            return
        for batch in read_batches(self.settings, NAME, due.first, due.last):
            files = [file for file in batch.files if file.path not in unread]
            rows = pa.table(
                {
                    "_source_file": pa.array([file.path for file in files], pa.string()),
                    "_source_file_version": pa.array([file.version for file in files], pa.int32()),
                    "_batch": pa.array([batch.batch] * len(files), pa.int64()),
                }
            )
            done = CommitProperties(app_transactions=[Transaction(app_id(NAME), batch.batch)])
            write_deltalake(self.settings.table_root("bronze.trips"), rows, mode="append", commit_properties=done)
            if outcomes:
                became = [
                    FileOutcome(
                        batch=batch.batch,
                        path=file.path,
                        version=file.version,
                        status="loaded" if file in files else "superseded",
                        records=None,
                        rows_loaded=int(file in files),
                        rows_quarantined=0,
                        error=None,
                        torn=file.path in torn,
                        table_version=batch.batch,
                        schema_version=1,
                        run_id="load",
                    )
                    for file in batch.files
                ]
                write_outcomes(self.settings, NAME, batch.batch, became)
