"""What is planned and not yet in the target: the work of the next load."""

from dataclasses import dataclass

from include.config.pipeline import Pipeline
from include.config.settings import Settings
from include.ledger.ledger import Ledger
from include.ledger.target import app_id, committed_batch
from include.ledger.versions import total_size


@dataclass(frozen=True)
class Pending:
    """Planned batches above the target's last. `first` and `last` are None when there are none; `size` is in bytes."""

    first: int | None
    last: int | None
    batches: int
    files: int
    size: int


def pending(settings: Settings, pipeline: Pipeline) -> Pending:
    """The planned batches that the target does not hold.

    Raises:
        StateLost: the target holds batches that the ledger never planned.
        StorageError: the ledger or the target cannot be read.
    """
    committed = committed_batch(settings, pipeline.ingestion().table, app_id(pipeline.name))
    ledger = Ledger(settings, pipeline.name)
    ledger.refuse_lost_state(committed)
    return pending_above(ledger, committed)


def pending_above(ledger: Ledger, committed: int) -> Pending:
    """The planned batches above `committed`; reads nothing when there are none."""
    last = ledger.last_batch
    if last <= committed:
        return Pending(None, None, 0, 0, 0)
    files = ledger.rows(("size",), committed + 1, last)
    return Pending(committed + 1, last, last - committed, files.num_rows, total_size(files))
