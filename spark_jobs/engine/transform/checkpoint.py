"""The checkpoint of a stream with a state: which of its micro-batches are done, and its way aside."""

import logging
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from include.config.errors import ConfigError
from include.config.settings import is_remote
from include.ledger.state_files import read_document, write_document

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """A folder of Spark's, on this host's file system."""

    location: str

    def __post_init__(self) -> None:
        if is_remote(self.location):
            raise ConfigError(
                f"{self.location}: the state of a stream must lie on a file system.",
                remedy="Set SLUICE_STATE to a folder that all runs see, or use measures that can be merged.",
            )

    @property
    def exists(self) -> bool:
        """True where a stream has begun with it."""
        return Path(self.location, "offsets").is_dir()

    def done(self, known: int) -> int | None:
        """Which of the `known` files of the input is the newest that Spark calls done; None where none is."""
        names = (entry.name for entry in Path(self.location, "commits").glob("*"))
        newest = max((int(name) for name in names if name.isdigit()), default=None)
        if newest is None:
            return None
        file = newest + self._skipped()
        if file >= known:
            self.move_aside(f"it has file {file} of the input, which ends at {known - 1}")
            return None
        return file

    def begun_after(self, pruned: int) -> int:
        """How many files of the input were gone when its first micro-batch was made; `pruned` are gone now.

        Written before Spark begins: its n-th micro-batch is the n-th file after those, for as long as it lasts.
        """
        if self.exists:
            return self._skipped()
        Path(self.location).mkdir(parents=True, exist_ok=True)
        write_document(str(self._begin), {"skipped": pruned})
        return pruned

    def _skipped(self) -> int:
        found = read_document(str(self._begin))  # a checkpoint of an earlier version of Sluice began at the first file
        return 0 if found is None else int(found["skipped"])

    @property
    def _begin(self) -> Path:
        return Path(self.location, "sluice_begin.json")

    def move_aside(self, why: str) -> None:
        """Rename it, so that a person can look at it; the state is made again."""
        aside = f"{self.location}.{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
        log.warning("the state is made again, because of its checkpoint: %s; it is now %s", why, aside)
        if Path(self.location).exists():
            shutil.move(self.location, aside)
