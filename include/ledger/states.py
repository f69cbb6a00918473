"""The state of every planned file version: ledger, outcomes and the target's last batch, joined; stored nowhere.

The target's transaction version has the last word: an outcome of a batch that the target does not hold does not count.
"""

import pyarrow as pa
import pyarrow.compute as pc

from include.config.pipeline import Pipeline
from include.config.settings import Settings
from include.ledger.ledger import Ledger
from include.ledger.tables import open_table, read
from include.ledger.target import app_id, committed_batch
from include.ledger.versions import column, empty

_PLANNED = ("batch", "path", "version", "size", "modified_at", "action", "replaces")
_FIGURES = ("rows_loaded", "rows_rescued", "rows_quarantined", "error", "table_version")
_OUTCOME = pa.schema(
    [
        ("batch", pa.int64()),
        ("path", pa.string()),
        ("status", pa.string()),
        ("rows_loaded", pa.int64()),
        ("rows_rescued", pa.int64()),
        ("rows_quarantined", pa.int64()),
        ("error", pa.string()),
        ("table_version", pa.int64()),
    ]
)


class FileStates:
    """All planned file versions of a pipeline at one moment, as columns."""

    def __init__(self, settings: Settings, pipeline: Pipeline) -> None:
        self.committed = committed_batch(settings, pipeline.ingestion().table, app_id(pipeline.name))
        ledger = Ledger(settings, pipeline.name)
        self.last_batch = ledger.last_batch
        planned = ledger.rows(_PLANNED, 1, self.last_batch)
        planned = planned.sort_by([(name, "ascending") for name in ("batch", "modified_at", "path")])
        outcomes = _outcomes(settings, pipeline.name, self.committed)
        matched = outcomes.take(pc.index_in(_key(planned), value_set=_key(outcomes)))
        status = pc.fill_null(matched["status"], "pending")
        self._replaced = _replaced(planned, status)
        self.table = planned.append_column("status", self._with_superseded(planned, status))
        for name in _FIGURES:
            self.table = self.table.append_column(name, matched[name])

    def is_replaced(self, path: str, version: int) -> bool:
        """True when the rows of a file version were removed by a later one's load."""
        return any(first <= version < by for first, by in self._replaced.get(path, ()))

    def _with_superseded(self, planned: pa.Table, status: pa.ChunkedArray) -> pa.ChunkedArray:
        if not self._replaced:
            return status
        again = pc.is_in(planned["path"], value_set=column(list(self._replaced), pa.string()))
        rows = planned.filter(again).select(["path", "version"]).to_pylist()
        gone = column([self.is_replaced(row["path"], row["version"]) for row in rows], pa.bool_())
        superseded = pc.if_else(gone, "superseded", status.filter(again))
        return pc.replace_with_mask(status.combine_chunks(), again.combine_chunks(), superseded.combine_chunks())


def _replaced(planned: pa.Table, status: pa.ChunkedArray) -> dict[str, list[tuple[int, int]]]:
    """For each path whose rows were replaced: from which version on, and by which; one that was refused did not."""
    replacing = planned.filter(pc.and_(pc.equal(planned["action"], "replace"), pc.equal(status, "loaded")))
    ranges: dict[str, list[tuple[int, int]]] = {}
    for row in replacing.select(["path", "version", "replaces"]).to_pylist():
        ranges.setdefault(row["path"], []).append((row["replaces"], row["version"]))
    return ranges


def _outcomes(settings: Settings, pipeline: str, committed: int) -> pa.Table:
    table = open_table(settings.state_root(pipeline, "outcomes"))
    if table is None:
        return empty(_OUTCOME)
    return read(table, _OUTCOME.names, f"batch <= {committed}")


def _key(rows: pa.Table) -> pa.Array:
    """Batch and path in one: a path stands once in a batch."""
    joined = pc.binary_join_element_wise(pc.cast(rows["batch"], pa.string()), rows["path"], " ")
    return joined.combine_chunks()
