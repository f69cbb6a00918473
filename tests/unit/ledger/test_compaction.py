from datetime import UTC, datetime

from include.ledger.compaction import MERGE_ABOVE_FILES, compact_loaded, neighbours
from include.ledger.ledger import DataFile, Ledger, ledger_version_of, read_batches
from include.ledger.versions import PLANNED, table
from tests.unit.ledger.site import NAME, Site


def plan(site: Site, first: int, count: int) -> None:
    """One discovery with so many batches of two files."""
    files = [
        (f"in/{number}.json", 1, number, None, 1, "append", None) for number in range(2 * first, 2 * (first + count))
    ]
    ledger = Ledger(site.settings, NAME)
    ledger.append(table(list(zip(*files, strict=True)), PLANNED), 2, None, "run", datetime.now(UTC))


def test_many_small_data_files_become_one_and_all_batches_stay(site: Site) -> None:
    plan(site, 0, MERGE_ABOVE_FILES)
    plan(site, MERGE_ABOVE_FILES, 1)
    last = MERGE_ABOVE_FILES + 1
    before = read_batches(site.settings, NAME, 1, last)
    assert compact_loaded(Ledger(site.settings, NAME), last) == MERGE_ABOVE_FILES
    ledger = Ledger(site.settings, NAME)
    assert len(ledger.data_files()) == 1
    assert read_batches(site.settings, NAME, 1, last) == before
    assert ledger.last_batch == last
    assert [ledger_version_of(site.settings, NAME, batch) for batch in (1, last)] == [1, 2]
    plan(site, last, 1)
    assert read_batches(site.settings, NAME, last + 1, last + 1)[0].batch == last + 1


def test_a_ledger_with_a_pending_batch_is_left_alone(site: Site) -> None:
    plan(site, 0, MERGE_ABOVE_FILES + 1)
    assert compact_loaded(Ledger(site.settings, NAME), MERGE_ABOVE_FILES) == 0
    assert len(Ledger(site.settings, NAME).data_files()) == MERGE_ABOVE_FILES + 1


def test_a_merge_on_a_ledger_that_moved_gives_way(site: Site) -> None:
    plan(site, 0, MERGE_ABOVE_FILES + 1)
    stale = Ledger(site.settings, NAME)
    plan(site, MERGE_ABOVE_FILES + 1, 1)
    assert compact_loaded(stale, MERGE_ABOVE_FILES + 1) == 0
    assert len(read_batches(site.settings, NAME, 1, MERGE_ABOVE_FILES + 2)) == MERGE_ABOVE_FILES + 2


def test_only_neighbours_are_merged_up_to_the_limit_of_rows() -> None:
    files = [DataFile(batch, batch, rows, f"{batch}", 1) for batch, rows in ((3, 4), (1, 4), (2, 9), (4, 6), (5, 1))]
    assert [[file.first for file in group] for group in neighbours(files, 10)] == [[1], [2], [3, 4], [5]]
