import os
from collections.abc import Iterable
from typing import Any

from include.ledger.files import FILE_KEYS, QUARANTINE_KEYS, iter_files, iter_quarantine, status
from include.ledger.pending import pending
from include.ledger.quarantine import Refusal, write_refusals
from include.ledger.replan import retry
from include.ledger.state_files import write_document
from include.ledger.versions import micros
from tests.unit.ledger.site import NAME, Site


def files(site: Site) -> list[dict[str, Any]]:
    return list(iter_files(site.settings, site.pipeline()))


def states(site: Site) -> list[tuple[str, int | None, str]]:
    return [(row["path"], row["version"], row["status"]) for row in files(site)]


def refuse(site: Site, refusals: Iterable[Refusal]) -> None:
    batch = pending(site.settings, site.pipeline()).first
    assert batch is not None
    write_refusals(site.settings, NAME, batch, list(refusals), "run", 0)


def refused(site: Site) -> list[dict[str, Any]]:
    return list(iter_quarantine(site.settings, site.pipeline()))


def test_every_listed_file_has_one_state(site: Site) -> None:
    site.land("a.json", age=300)
    site.land("_hidden")
    os.mkfifo(site.source / "fifo")
    site.discover()
    site.load()
    site.land("b.json")
    site.discover()
    assert states(site) == [
        ("in/a.json", 1, "loaded"),
        ("in/b.json", 1, "pending"),
        ("in/_hidden", None, "skipped"),
        ("in/fifo", None, "skipped"),
    ]
    assert all(tuple(row) == FILE_KEYS for row in files(site))


def test_a_file_names_its_figures_its_batch_and_its_table_version(site: Site) -> None:
    modified_at = site.land("a.json", "12345").stat().st_mtime_ns
    site.discover()
    site.load()
    (row,) = files(site)
    assert micros(row["modified_at"]) == modified_at // 1000
    assert {
        key: row[key] for key in ("size", "batch", "rows_loaded", "rows_quarantined", "table_version", "error")
    } == {
        "size": 5,
        "batch": 1,
        "rows_loaded": 1,
        "rows_quarantined": 0,
        "table_version": 1,
        "error": None,
    }


def test_a_replaced_version_is_superseded_only_once_its_successor_is_loaded(site: Site) -> None:
    pipeline = site.pipeline(changed_files="replace")
    site.land("a.json", "1", age=300)
    site.discover(pipeline)
    site.load()
    site.land("a.json", "22", age=100)
    site.discover(pipeline)
    assert states(site) == [("in/a.json", 1, "loaded"), ("in/a.json", 2, "pending")]
    site.load()
    assert states(site) == [("in/a.json", 1, "superseded"), ("in/a.json", 2, "loaded")]


def test_a_skipped_file_names_its_rule(site: Site) -> None:
    site.land("_hidden")
    site.discover()
    (row,) = files(site)
    assert row["error"].startswith("hidden: ")


def test_refused_records_count_only_once_their_batch_is_committed(site: Site) -> None:
    site.land("a.json")
    site.discover()
    refuse(site, [Refusal("in/a.json", 1, "not JSON", record=2, raw="{"), Refusal("in/a.json", 1, "no", record=1)])
    assert refused(site) == []
    site.load()
    assert [(row["record"], row["reason"], row["raw"]) for row in refused(site)] == [
        (1, "no", None),
        (2, "not JSON", "{"),
    ]
    assert all(tuple(row) == QUARANTINE_KEYS for row in refused(site))


def test_refused_records_of_a_replaced_version_are_history(site: Site) -> None:
    site.land("a.json")
    site.discover()
    refuse(site, [Refusal("in/a.json", 1, "not JSON", record=1)])
    site.load()
    retry(site.pipeline(), site.settings, ["in/a.json"], "again")
    assert len(refused(site)) == 1
    site.load()
    assert refused(site) == []


def test_the_sums_are_those_of_the_files(site: Site) -> None:
    pipeline = site.pipeline(changed_files="replace")
    site.land("a.json", "1", age=300)
    site.land("b.json", age=200)
    site.land("_hidden")
    site.discover(pipeline)
    site.load()
    site.land("a.json", "22", age=100)
    site.discover(pipeline)
    site.load()
    site.land("c.json", "123", age=50)
    site.discover(pipeline)
    failure = {"error_class": "StorageError", "message": "the disk is full", "remedy": "", "exit_code": 74}
    for run in ("manual__2026-01-02", "cli__2026-01-03", "scheduled__2026-01-01"):
        write_document(site.settings.state_root(NAME, "failures", f"{run}.json"), failure)
    summary = status(site.settings, pipeline)
    assert summary == {
        "pipeline": NAME,
        "table": "bronze.trips",
        "files_pending": 1,
        "files_loaded": 2,
        "files_quarantined": 0,
        "files_skipped": 1,
        "files_superseded": 1,
        "rows_loaded": 2,
        "rows_rescued": 0,
        "rows_quarantined": 0,
        "last_batch": 3,
        "pending_batches": 1,
        "pending_bytes": 3,
        "table_version": 1,
        "last_failure": "cli__2026-01-03: [StorageError] the disk is full",
    }


def test_reports_on_a_pipeline_that_never_ran_are_empty(site: Site) -> None:
    assert files(site) == []
    assert refused(site) == []
    assert status(site.settings, site.pipeline())["table_version"] is None
