"""What COPY INTO loaded into a table, for an ingest pipeline that loads into the same one. Its ledger lies in the
table's own folder (include/copy_into/state.py).
"""

from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from include.config.settings import Settings
from include.ledger.ledger import Ledger
from include.ledger.tables import open_table, read
from include.ledger.versions import IDENTITY, column, empty, never_planned

STATE = "_copy_into"
NOT_LOADED = pa.schema([("batch", pa.int64()), ("path", pa.string())])


def table_settings(settings: Settings, table: str) -> Settings:
    """The settings under which the ledger's rooms find the table's own state as that of a pipeline named STATE."""
    return replace(settings, state=settings.table_root(table))


def copied_files(settings: Settings, table: str) -> pa.Table:
    """The files that statements loaded, or are about to, as known files (KNOWN) of version 0."""
    inner = table_settings(settings, table)
    known = Ledger(inner, STATE).known()
    if known.num_rows:
        gone = not_loaded(inner)
        known = known.filter(pc.invert(pc.is_in(batch_and_path(known), value_set=batch_and_path(gone))))
    return never_planned(known.select(IDENTITY.names))


def not_loaded(inner: Settings) -> pa.Table:
    """Batch and path of files that are not remembered: skipped as corrupt, or their statement was rejected."""
    table = open_table(inner.state_root(STATE, "outcomes"))
    return empty(NOT_LOADED) if table is None else read(table, NOT_LOADED.names, "status <> 'loaded'")


def batch_and_path(rows: pa.Table) -> pa.Array:
    """Both in one text: a path stands once in a batch."""
    if not rows.num_rows:
        return column([], pa.string())
    return pc.binary_join_element_wise(pc.cast(rows["batch"], pa.string()), rows["path"], " ").combine_chunks()
