"""The quarantine table: records, and files as a whole (record null), that were refused, with the reason and the raw
text.

A batch's rows are written before the target's commit and count from that commit on. Until then each attempt replaces
the rows of the attempt before it, so that the table says what the attempt that was committed has refused, whatever
was killed before.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
from deltalake import CommitProperties, Transaction, write_deltalake

from include.config.settings import Settings
from include.ledger.outcomes import QUARANTINE_SCHEMA
from include.ledger.tables import open_table, storage_errors


@dataclass(frozen=True)
class Refusal:
    """A refused record, or a whole file where `raw` is None ("" is a record whose text is not kept).

    `record` is the line in the file, from 1, or where `line` is false the record's number. `records` is how many
    records this stands for: those of a whole file, 0 where nobody could count them.
    """

    path: str
    version: int
    reason: str
    record: int | None = None
    raw: str | None = None
    records: int = 1
    line: bool = True


def write_refusals(
    settings: Settings, pipeline: str, batch: int, refusals: Sequence[Refusal], run_id: str, at: int
) -> None:
    """Make `refusals` all that the quarantine table has of `batch`; `at` is in microseconds since the epoch.

    Raises:
        StorageError: the table cannot be read or written.
    """
    location = settings.state_root(pipeline, "quarantine")
    app_id = f"sluice:{pipeline}:quarantine"
    table = open_table(location)
    newest = 0 if table is None else table.transaction_version(app_id) or 0
    tried_before = newest >= batch
    if not refusals and not tried_before:
        return
    rows = _rows(refusals, batch, run_id, at)
    properties = CommitProperties(app_transactions=[Transaction(app_id, max(batch, newest))])
    target = table if table is not None else location
    with storage_errors("Writing the quarantine table", location):
        if tried_before:
            write_deltalake(target, rows, mode="overwrite", predicate=f"batch = {batch}", commit_properties=properties)
        else:
            write_deltalake(target, rows, mode="append", commit_properties=properties)


def _rows(refusals: Sequence[Refusal], batch: int, run_id: str, at: int) -> pa.Table:
    rows = [{**vars(refusal), "batch": batch, "run_id": run_id, "quarantined_at": at} for refusal in refusals]
    return pa.Table.from_pylist(rows, schema=QUARANTINE_SCHEMA)
