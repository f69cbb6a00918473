import json
import os
import shutil
from pathlib import Path

import pytest

from include.config.errors import DataRefused, StateLost
from include.ledger.discover import Discovery, discover
from include.ledger.files import iter_files
from include.ledger.ledger import Ledger, ledger_version_of
from tests.unit.ledger.site import NAME, Site


def status_of(site: Site) -> dict[str, str]:
    return {row["path"]: row["status"] for row in iter_files(site.settings, site.pipeline())}


def tree(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(path), path.stat().st_mtime_ns) for path in folder.rglob("*"))


def test_what_landed_is_planned_once(site: Site) -> None:
    site.land("a.json", "12345")
    site.land("sub/b.json", "123")
    first = site.discover()
    assert (first.discovered, first.discovered_bytes, first.pending_batches, first.has_work) == (2, 8, 1, True)
    again = site.discover()
    assert (again.discovered, again.pending_files, again.pending_bytes) == (0, 2, 8)
    site.load()
    assert not site.discover().has_work
    site.land("c.json")
    third = site.discover()
    assert (third.discovered, third.first_pending, third.last_planned) == (1, 2, 2)


def test_an_empty_source_is_nothing_new(site: Site) -> None:
    discovery = site.discover()
    assert (discovery.discovered, discovery.has_work, discovery.first_pending) == (0, False, None)


def test_an_empty_file_is_a_file(site: Site) -> None:
    site.land("empty.json", "")
    assert site.discover().discovered == 1


def test_batches_go_by_age_and_keep_the_limits(site: Site) -> None:
    for number in range(7):
        site.land(f"{number}.json", "x" * (50 if number == 3 else 10), age=1000 - number)
    pipeline = site.pipeline(options={"cloudFiles.maxFilesPerTrigger": 3, "cloudFiles.maxBytesPerTrigger": "45b"})
    site.discover(pipeline)
    assert [(batch, path) for batch, path, _, _ in site.planned()] == [
        (1, "in/0.json"), (1, "in/1.json"), (1, "in/2.json"),
        (2, "in/3.json"),
        (3, "in/4.json"), (3, "in/5.json"), (3, "in/6.json"),
    ]  # fmt: skip
    commits = [ledger_version_of(site.settings, NAME, batch) for batch in (1, 2, 3, 4)]
    assert commits == [1, 1, 1, None], "all in one commit"


def test_an_old_mtime_is_a_new_file_like_any_other(site: Site) -> None:
    site.land("new.json", age=1)
    site.discover()
    site.load()
    os.utime(site.land("late.json"), (86400, 86400))
    site.land("same_time_as_new.json", age=1)
    assert site.discover().discovered == 2


@pytest.mark.parametrize(
    ("policy", "planned"),
    [
        ("append", [(2, "in/a.json", 2, "append")]),
        ("replace", [(2, "in/a.json", 2, "replace")]),
        ("ignore", []),
    ],
)
def test_a_changed_file_means_what_the_policy_says(
    site: Site, policy: str, planned: list[tuple[int, str, int, str]]
) -> None:
    pipeline = site.pipeline(changed_files=policy)
    site.land("a.json", "1", age=100)
    site.discover(pipeline)
    site.load()
    site.land("a.json", "2", age=50)
    found = [site.discover(pipeline) for _ in range(2)]
    assert [discovery.discovered for discovery in found] == [len(planned), 0]
    assert [discovery.skipped for discovery in found] == [int(policy == "ignore"), 0]
    assert site.planned()[1:] == planned


@pytest.mark.parametrize("text", ["22", "1"])
def test_size_alone_and_time_alone_make_a_change(site: Site, text: str) -> None:
    file = site.land("a.json", "1", age=100)
    then = file.stat().st_mtime_ns
    site.discover()
    site.load()
    site.land("a.json", text, age=100)
    os.utime(file, ns=(then, then) if text == "22" else (then, then + 1000))
    assert site.discover().discovered == 1


def test_a_file_that_changes_back_is_another_version_again(site: Site) -> None:
    file = site.land("a.json", "1", age=100)
    then = file.stat().st_mtime_ns
    for text, stamp in (("1", then), ("22", then + 10**9), ("1", then)):
        file.write_text(text)
        os.utime(file, ns=(stamp, stamp))
        site.discover()
        site.load()
    assert [version for _, _, version, _ in site.planned()] == [1, 2, 3]


def test_the_error_policy_names_the_files_and_plans_nothing(site: Site) -> None:
    pipeline = site.pipeline(changed_files="error")
    site.land("a.json", "1", age=100)
    site.discover(pipeline)
    site.load()
    changed, _ = site.land("a.json", "22"), site.land("new.json")
    with pytest.raises(DataRefused, match=r"in/a\.json") as caught:
        site.discover(pipeline)
    assert caught.value.exit_code == 65
    assert "sluice retry" in caught.value.remedy
    assert len(site.planned()) == 1
    changed.unlink()
    assert site.discover(pipeline).discovered == 1, "nothing was lost"


@pytest.mark.parametrize("policy", ["ignore", "error", "append", "replace"])
def test_a_file_that_changes_while_it_waits_has_one_pending_version(site: Site, policy: str) -> None:
    pipeline = site.pipeline(changed_files=policy)
    site.land("a.json", "1", age=100)
    site.discover(pipeline)
    site.land("a.json", "22", age=50)
    assert (site.discover(pipeline).waiting, len(site.planned())) == (1, 1)
    site.load(unread=["in/a.json"])
    assert site.discover(pipeline).discovered == 1, "what was never loaded is loaded, whatever the policy"
    assert status_of(site)["in/a.json"] == "pending"


@pytest.mark.parametrize("policy", ["ignore", "error", "append", "replace"])
def test_what_was_read_while_it_changed_is_replaced_whatever_the_policy(site: Site, policy: str) -> None:
    pipeline = site.pipeline(changed_files=policy)
    site.land("a.json", "1", age=100)
    site.discover(pipeline)
    site.land("a.json", "22", age=50)
    site.load(torn=["in/a.json"])
    site.discover(pipeline)
    assert site.planned()[1:] == [(2, "in/a.json", 2, "replace")]


def test_a_replacement_that_was_not_read_is_still_to_replace(site: Site) -> None:
    pipeline = site.pipeline(changed_files="append")
    site.land("a.json", "1", age=100)
    site.discover(pipeline)
    site.load(torn=["in/a.json"])
    for text in ("22", "333"):
        site.land("a.json", text, age=50)
        site.discover(pipeline)
        site.load(unread=["in/a.json"])
    assert [action for _, _, _, action in site.planned()] == ["append", "replace", "replace"]


def test_a_torn_version_is_replaced_and_those_before_it_stay(site: Site) -> None:
    for text, torn in (("1", []), ("22", ["in/a.json"]), ("333", ["in/a.json"]), ("4444", [])):
        site.land("a.json", text, age=50)
        site.discover()
        site.load(torn=torn)
    assert site.replaces() == [None, None, 2, 2]


def test_an_unread_version_does_not_replace_what_the_policy_keeps(site: Site) -> None:
    for text, unread in (("1", []), ("22", ["in/a.json"]), ("333", [])):
        site.land("a.json", text, age=50)
        site.discover()
        site.load(unread=unread)
    assert [action for _, _, _, action in site.planned()] == ["append", "append", "append"]


def test_outcomes_that_a_kill_left_out_are_there_after_the_next_discovery(site: Site) -> None:
    site.land("a.json")
    site.discover()
    site.load(outcomes=False)
    assert status_of(site) == {"in/a.json": "pending"}
    assert not site.discover().has_work
    assert status_of(site) == {"in/a.json": "loaded"}


def test_a_skip_is_named_once(site: Site) -> None:
    site.land("_SUCCESS")
    site.land("x.csv")
    os.mkfifo(site.source / "fifo")
    pipeline = site.pipeline(options={"pathGlobFilter": "*.json"})
    assert [site.discover(pipeline).skipped for _ in range(3)] == [3, 0, 0]
    site.land("_SUCCESS", "again")
    assert site.discover(pipeline).skipped == 0, "its name is the reason, whatever it holds"


def test_a_loaded_file_is_not_skipped_by_a_later_rule(site: Site) -> None:
    site.land("a.csv")
    site.discover()
    site.load()
    assert site.discover(site.pipeline(options={"pathGlobFilter": "*.json"})).skipped == 0
    assert status_of(site) == {"in/a.csv": "loaded"}


def test_a_file_that_a_rule_left_out_is_loaded_when_the_rule_goes(site: Site) -> None:
    site.land("a.csv")
    site.discover(site.pipeline(options={"pathGlobFilter": "*.json"}))
    assert status_of(site) == {"in/a.csv": "skipped"}
    site.discover()
    assert status_of(site) == {"in/a.csv": "pending"}


ONLY_NEW = {"cloudFiles.includeExistingFiles": False}


def test_existing_files_are_named_and_only_later_ones_loaded(site: Site) -> None:
    pipeline = site.pipeline(options=ONLY_NEW)
    site.land("before.json", "1")
    first = site.discover(pipeline)
    assert (first.discovered, first.skipped, first.has_work) == (0, 1, False)
    site.land("after.json")
    site.land("before.json", "22")
    second = site.discover(pipeline)
    assert [path for _, path, version, _ in site.planned() if version == 1] == ["in/after.json", "in/before.json"]
    assert (second.discovered, second.skipped) == (2, 0)


def test_the_first_run_is_over_also_when_it_found_nothing(site: Site) -> None:
    pipeline = site.pipeline(options=ONLY_NEW)
    site.discover(pipeline)
    site.land("after.json")
    assert site.discover(pipeline).discovered == 1


def test_existing_files_are_loaded_once_the_option_is_turned(site: Site) -> None:
    site.land("before.json")
    site.discover(site.pipeline(options=ONLY_NEW))
    assert site.discover().discovered == 1


def test_a_lost_ledger_is_refused_before_anything_is_doubled(site: Site) -> None:
    site.land("a.json")
    site.discover()
    site.load()
    shutil.rmtree(site.settings.state_root(NAME, "ledger"))
    with pytest.raises(StateLost, match="is gone") as caught:
        site.discover()
    assert caught.value.exit_code == 78
    assert "backup" in caught.value.remedy
    assert not Ledger(site.settings, NAME).exists


def test_a_ledger_from_an_old_backup_is_refused_before_anything_is_lost(site: Site, tmp_path: Path) -> None:
    ledger = site.settings.state_root(NAME, "ledger")
    site.land("a.json", age=100)
    site.discover()
    site.load()
    shutil.copytree(ledger, tmp_path / "backup")
    site.land("b.json", age=50)
    site.discover()
    site.load()
    shutil.rmtree(ledger)
    shutil.copytree(tmp_path / "backup", ledger)
    site.land("c.json", age=20)
    with pytest.raises(StateLost, match="ends at batch 1"):
        site.discover()


def test_a_dropped_target_is_filled_again(site: Site) -> None:
    site.land("a.json")
    site.discover()
    site.load()
    shutil.rmtree(site.settings.table_root("bronze.trips"))
    discovery = site.discover()
    assert (discovery.discovered, discovery.pending_batches, discovery.first_pending) == (0, 1, 1)


def test_a_moved_project_does_not_see_its_files_as_new(site: Site, tmp_path_factory: pytest.TempPathFactory) -> None:
    site.land("a.json")
    site.discover()
    site.load()
    elsewhere = tmp_path_factory.mktemp("moved") / "with space"
    shutil.copytree(site.home, elsewhere)
    assert not Site(elsewhere).discover().has_work


def test_a_dry_run_tells_all_and_writes_nothing(site: Site) -> None:
    site.land("a.json", "1", age=100)
    site.land("_hidden")
    before = tree(site.home)
    preview = discover(site.pipeline(), site.settings, "plan", dry_run=True)
    assert tree(site.home) == before
    assert [(file.path, file.version, file.action) for file in preview.new_files] == [("in/a.json", 1, "append")]
    assert [(skip.path, skip.rule) for skip in preview.new_skips] == [("in/_hidden", "hidden")]
    done = site.discover()
    figures = (
        "discovered",
        "discovered_bytes",
        "skipped",
        "pending_batches",
        "pending_files",
        "first_pending",
        "last_planned",
    )
    assert [getattr(preview, name) for name in figures] == [getattr(done, name) for name in figures]


def test_a_discovery_goes_through_json_unchanged(site: Site) -> None:
    site.land("a.json")
    site.land("_hidden")
    discovery = discover(site.pipeline(), site.settings, "plan", dry_run=True)
    assert Discovery.from_dict(json.loads(json.dumps(discovery.to_dict()))) == discovery
