import pytest

from include.config.errors import SourceNotFound, UsageError
from include.ledger.files import iter_files
from include.ledger.replan import forget, retry
from tests.unit.ledger.site import Site


def test_a_retried_file_is_planned_again_to_replace_its_rows(site: Site) -> None:
    site.land("a.json", age=300)
    site.land("b.json", age=200)
    site.discover()
    site.load()
    replanned = retry(site.pipeline(), site.settings, ["in/b.json", "in/a.json", "in/a.json"], "again")
    assert (replanned.first_batch, replanned.last_batch) == (2, 2)
    assert site.planned()[2:] == [(2, "in/a.json", 2, "replace"), (2, "in/b.json", 2, "replace")]
    site.load()
    assert not site.discover().has_work
    assert [row["status"] for row in iter_files(site.settings, site.pipeline())] == ["superseded"] * 2 + ["loaded"] * 2


def test_a_retry_takes_the_file_as_it_is_now(site: Site) -> None:
    pipeline = site.pipeline(changed_files="error")
    site.land("a.json", "1", age=300)
    site.discover(pipeline)
    site.load()
    changed = site.land("a.json", "22222", age=100)
    retry(pipeline, site.settings, [str(changed)], "again")
    (_, row) = iter_files(site.settings, pipeline)
    assert (row["size"], row["version"]) == (5, 2)
    site.load()
    assert not site.discover(pipeline).has_work, "the change that the policy refused is settled"


def test_a_retry_refuses_what_is_unknown_waiting_or_gone(site: Site) -> None:
    file = site.land("a.json")
    site.discover()
    with pytest.raises(UsageError, match=r"Did you mean in/a\.json"):
        retry(site.pipeline(), site.settings, ["in/aa.json"], "again")
    with pytest.raises(UsageError, match=r"in/a\.json \(batch 1\)"):
        retry(site.pipeline(), site.settings, ["in/a.json"], "again")
    site.load()
    file.unlink()
    with pytest.raises(SourceNotFound, match=r"in/a\.json"):
        retry(site.pipeline(), site.settings, ["in/a.json"], "again")
    assert len(site.planned()) == 1


@pytest.mark.parametrize("policy", ["ignore", "error", "append", "replace"])
def test_a_forgotten_file_is_new_to_the_next_discovery_and_doubles_nothing(site: Site, policy: str) -> None:
    pipeline = site.pipeline(changed_files=policy)
    site.land("a.json", age=300)
    site.land("b.json", age=200)
    site.discover(pipeline)
    site.load()
    forget(pipeline, site.settings, ["in/a.json"], "forget")
    assert [site.discover(pipeline).discovered, site.discover(pipeline).discovered] == [1, 0]
    assert site.planned()[2:] == [(2, "in/a.json", 2, "replace")]
    site.load()
    assert not site.discover(pipeline).has_work
    forget(pipeline, site.settings, ["in/a.json"], "forget")
    assert site.discover(pipeline).discovered == 1, "it can be forgotten again"


def test_forgetting_a_file_that_is_gone_changes_nothing_until_it_comes_again(site: Site) -> None:
    file = site.land("a.json", "1", age=300)
    site.discover()
    site.load()
    file.unlink()
    forget(site.pipeline(), site.settings, ["in/a.json"], "forget")
    assert not site.discover().has_work
    site.land("a.json", "other", age=100)
    site.discover()
    assert site.planned()[1:] == [(2, "in/a.json", 2, "replace")]


def test_a_file_forgotten_while_it_waits_is_not_planned_twice_at_a_time(site: Site) -> None:
    site.land("a.json")
    site.discover()
    forget(site.pipeline(), site.settings, ["in/a.json"], "forget")
    assert (site.discover().waiting, len(site.planned())) == (1, 1)
    site.load()
    assert site.discover().discovered == 1


def test_a_forgotten_file_of_before_the_first_run_is_loaded(site: Site) -> None:
    pipeline = site.pipeline(options={"cloudFiles.includeExistingFiles": False})
    site.land("before.json")
    site.discover(pipeline)
    forget(pipeline, site.settings, ["in/before.json"], "forget")
    site.discover(pipeline)
    assert site.planned() == [(1, "in/before.json", 1, "append")]


def test_forgetting_what_was_never_seen_is_refused(site: Site) -> None:
    with pytest.raises(UsageError, match="never planned"):
        forget(site.pipeline(), site.settings, ["in/a.json"], "forget")
