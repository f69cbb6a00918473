"""Merging the ledger's small data files: each costs every discovery about half a millisecond of CPU.

The load streams the ledger by data files and takes each for a planned batch. So a ledger is touched only when all of
its batches are in the target, and the commit says that no data changed: a stream passes such commits over, and one that
starts anew begins at the commit that planned its first batch, whose own data files stay where they are.

Killed at any point: the merged files are not named by a commit, or the merge is done.
"""

from collections.abc import Sequence

from include.ledger.ledger import DataFile, Ledger, LedgerMoved

MERGE_ABOVE_FILES = 200
MERGED_ROWS = 500_000


def compact_loaded(ledger: Ledger, committed: int) -> int:
    """Merge data files when there are many and the target holds all batches; returns how many were merged away.

    A ledger that another process writes to at the same time is left as it is.

    Raises:
        StorageError: the ledger cannot be read or written; it is as it was then.
    """
    if ledger.last_batch > committed:
        return 0
    files = ledger.data_files()
    if len(files) <= MERGE_ABOVE_FILES:
        return 0
    groups = [group for group in neighbours(files, MERGED_ROWS) if len(group) > 1]
    try:
        ledger.merge(groups)
    except LedgerMoved:
        return 0
    return sum(len(group) - 1 for group in groups)


def neighbours(files: Sequence[DataFile], rows: int) -> list[list[DataFile]]:
    """Data files in the order of their batches, in groups of up to so many rows; a larger file is a group alone."""
    groups: list[list[DataFile]] = []
    total = 0
    for file in sorted(files):
        if not groups or total + file.rows > rows:
            groups.append([])
            total = 0
        groups[-1].append(file)
        total += file.rows
    return groups
