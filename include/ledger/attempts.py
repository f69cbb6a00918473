"""What is decided about a batch before it is written: `batches/<n>.json`, from the first attempt until its outcomes
are there.

It makes a replay load under the same schema, lets the outcomes be rebuilt without Spark, and turns a file that hangs
or crashes Spark's reader into a named one: after three attempts that ended without a word the batch is *isolated*:
its files are read into nothing, noted before and after, first all together, then in smaller and smaller groups where
that fails. A file that was being read by itself when the process ended, twice, is the culprit. (Twice, because a
kill -9 from outside looks the same, once.)
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Literal

from include.config.settings import Settings
from include.ledger.state_files import delete_document, read_document, write_document

ATTEMPTS_BEFORE_ISOLATION = 3
STRIKES = 2
SMALLER = 8  # into how many groups files go that ended the process together

Fate = Literal["load", "quarantine", "superseded"]


@dataclass(frozen=True)
class Decision:
    """What is to become of a file, and the independent count of its records (None where only the reader can count)."""

    fate: Fate
    records: int | None = None


@dataclass(frozen=True)
class Attempt:
    """The state of one batch's load.

    `files` holds the decision for each path. `checking` are the files that are being read by themselves, `good` those
    that could be read so, `together` how many at most are read at once (0: all); `excluded` maps files that hung or
    crashed the reader to the reason.
    """

    schema_version: int | None = None
    attempts: int = 0
    isolate: bool = False
    checking: tuple[str, ...] = ()
    together: int = 0
    strikes: Mapping[str, int] = field(default_factory=dict)
    good: tuple[str, ...] = ()
    excluded: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Decision] = field(default_factory=dict)


class AttemptStore:
    """The attempt documents of a pipeline."""

    def __init__(self, settings: Settings, pipeline: str) -> None:
        self._folder = settings.state_root(pipeline, "batches")

    def read(self, batch: int) -> Attempt | None:
        """What is known of a batch; None once its outcomes are written, or before the first attempt."""
        document = read_document(self._location(batch))
        if document is None:
            return None
        files = {path: Decision(**decision) for path, decision in document["files"].items()}
        paths = {name: tuple(document[name]) for name in ("good", "checking")}
        return Attempt(**{**document, **paths, "files": files})

    def begin(self, batch: int) -> Attempt:
        """Note that an attempt begins, and draw the conclusion from how the last one ended."""
        last = self.read(batch) or Attempt()
        attempt = _after(replace(last, attempts=last.attempts + 1))
        self.write(batch, attempt)
        return attempt

    def write(self, batch: int, attempt: Attempt) -> None:
        """Make `attempt` what is known of the batch."""
        write_document(self._location(batch), asdict(attempt))

    def note_hang(self, batch: int, seconds: float) -> None:
        """Note that Spark made no progress: the file being read by itself is the culprit, or the batch is to be
        isolated.
        """
        self.note_end(batch, f"reading it did not end within {seconds:.0f} s")

    def note_end(self, batch: int, reason: str) -> None:
        """Note that Spark came to an end: the file being read by itself is the culprit, or the batch is isolated."""
        attempt = self.read(batch) or Attempt()
        if len(attempt.checking) == 1:
            excluded = {**attempt.excluded, attempt.checking[0]: reason}
            self.write(batch, replace(attempt, checking=(), excluded=excluded))
        else:
            self.write(batch, replace(_in_smaller_groups(attempt), isolate=True))

    def end(self, batch: int) -> None:
        """Forget a batch whose outcomes are written."""
        delete_document(self._location(batch))

    def _location(self, batch: int) -> str:
        return f"{self._folder}/{batch}.json"


def _after(attempt: Attempt) -> Attempt:
    """`attempt` with what follows from the end of the one before it."""
    if len(attempt.checking) != 1:
        isolate = attempt.isolate or attempt.attempts > ATTEMPTS_BEFORE_ISOLATION
        return replace(_in_smaller_groups(attempt), isolate=isolate)
    culprit = attempt.checking[0]
    strikes = {**attempt.strikes, culprit: attempt.strikes.get(culprit, 0) + 1}
    if strikes[culprit] < STRIKES:
        return replace(attempt, strikes=strikes, checking=())
    reason = f"reading it hung or ended the Spark process {strikes[culprit]} times"
    return replace(attempt, strikes=strikes, checking=(), excluded={**attempt.excluded, culprit: reason})


def _in_smaller_groups(attempt: Attempt) -> Attempt:
    """The attempt after one that ended while it read several files together."""
    if not attempt.checking:
        return attempt
    return replace(attempt, checking=(), together=max(1, len(attempt.checking) // SMALLER))
