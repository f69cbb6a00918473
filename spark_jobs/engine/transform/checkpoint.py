"""The checkpoint of a stream with a state: which of its micro-batches are done, and its way aside."""

import logging
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from include.config.errors import ConfigError
from include.config.settings import is_remote

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

    def done(self, known: int) -> range:
        """The micro-batches that Spark calls done, of the `known` ones."""
        names = (entry.name for entry in Path(self.location, "commits").glob("*"))
        newest = max((int(name) for name in names if name.isdigit()), default=-1)
        if newest >= known:
            self.move_aside(f"it has micro-batch {newest}, and the input ends at {known - 1}")
            return range(0)
        return range(newest + 1)

    def move_aside(self, why: str) -> None:
        """Rename it, so that a person can look at it; the state is made again."""
        aside = f"{self.location}.{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
        log.warning("the state is made again, because of its checkpoint: %s; it is now %s", why, aside)
        if Path(self.location).exists():
            shutil.move(self.location, aside)
