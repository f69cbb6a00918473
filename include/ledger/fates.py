"""What became of the latest versions of changed paths, where that says what their next versions mean."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from include.config.settings import Settings
from include.ledger.ledger import Ledger
from include.ledger.tables import open_table, read


@dataclass(frozen=True)
class Fates:
    """Paths whose next version is loaded whatever `changed_files` says.

    `unread`: the file was no longer the planned one when it was to be read, so that nothing of it was loaded.
    `replaced`: its next version takes the place of its rows, because the file changed while it was read and what was
    loaded never was a whole file; or because a version that was to replace others was not read.
    """

    unread: frozenset[str] = frozenset()
    replaced: frozenset[str] = frozenset()


def fates(settings: Settings, pipeline: str, ledger: Ledger, latest: pa.Table) -> Fates:
    """The fates of versions (columns of KNOWN) that are each the latest one of their path."""
    outcomes = open_table(settings.state_root(pipeline, "outcomes"))
    if outcomes is None or not latest.num_rows:
        return Fates()
    rows = read(outcomes, ("path", "version", "torn"), "torn OR status = 'superseded'")
    versions = set(_pairs(latest))
    found = {pair: torn for pair, torn in zip(_pairs(rows), rows["torn"].to_pylist(), strict=True) if pair in versions}
    unread = {pair for pair, torn in found.items() if not torn}
    replacing = unread & _replacing(ledger, latest) if unread else set()
    return Fates(
        unread=frozenset(path for path, _ in unread - replacing),
        replaced=frozenset(path for path, _ in (found.keys() - unread) | replacing),
    )


def _replacing(ledger: Ledger, latest: pa.Table) -> set[tuple[str, int]]:
    batches = pc.min_max(latest["batch"]).as_py()
    rows = ledger.rows(("path", "version", "action"), batches["min"], batches["max"])
    return set(_pairs(rows.filter(pc.equal(rows["action"], "replace"))))


def _pairs(rows: pa.Table) -> list[tuple[str, int]]:
    return list(zip(rows["path"].to_pylist(), rows["version"].to_pylist(), strict=True))
