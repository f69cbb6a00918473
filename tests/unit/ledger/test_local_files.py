import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from include.config.errors import SourceNotFound
from include.ledger.listing import Listing, list_source
from tests.unit.ledger.site import HOUR, Site

ODD_NAMES = [
    "with space.json",
    "per%20cent.json",
    "hash#.json",
    "question?.json",
    "star*.json",
    "[set].json",
    "{brace}.json",
    "a&b=c+d.json",
    "two\nlines.json",
    "col:on.json",
    "-dash.json",
    "caf\u00e9.json",
    "cafe\u0301.json",
    "back\\slash.json",
    "quote'\".json",
    "date=2024-01-01/part.json",
]


def listed(site: Site, **ingest: object) -> Listing:
    options = ingest.pop("options", {})
    assert isinstance(options, dict)
    pipeline = site.pipeline(options=options, **ingest)
    return list_source(site.settings, pipeline.ingestion(), time.time_ns() // 1000)


def paths(listing: Listing) -> list[str]:
    return sorted(listing.files["path"].to_pylist())


def rules(listing: Listing) -> dict[str, str]:
    return {skip.path: skip.rule for skip in listing.skips}


@pytest.mark.parametrize("name", ODD_NAMES)
def test_an_odd_name_is_an_ordinary_file_under_its_own_name(site: Site, name: str) -> None:
    site.land(name)
    listing = listed(site)
    assert paths(listing) == [f"in/{name}"]
    assert (site.source / name).samefile(site.settings.file_uri(f"in/{name}"))


def test_names_are_read_as_utf8_whatever_the_locale(site: Site) -> None:
    site.land("caf\u00e9.json")
    script = (
        "import sys; from pathlib import Path; from tests.unit.ledger.site import Site;"
        "from tests.unit.ledger.test_local_files import listed, paths;"
        "assert paths(listed(Site(Path(sys.argv[1])))) == ['in/caf\\u00e9.json']"
    )
    env = {**os.environ, "LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    subprocess.run([sys.executable, "-c", script, str(site.home)], check=True, env=env, cwd=Path(__file__).parents[3])


def test_a_name_that_is_not_utf8_is_named_and_the_rest_is_listed(site: Site) -> None:
    site.land("good.json")
    Path(os.fsdecode(os.fsencode(site.source) + b"/bad\xff.json")).write_text("{}")
    listing = listed(site)
    assert paths(listing) == ["in/good.json"]
    assert rules(listing) == {"in/bad\\xff.json": "name_not_utf8"}


def test_a_fifo_a_socket_and_a_device_are_named_and_never_opened(site: Site) -> None:
    os.mkfifo(site.source / "fifo.json")
    server = socket.socket(socket.AF_UNIX)
    here = Path.cwd()
    os.chdir(site.source)  # a socket's path is limited to about 100 bytes
    server.bind("socket.json")
    os.chdir(here)
    (site.home / "landing" / "null.json").symlink_to("/dev/null")
    started = time.monotonic()
    listing = listed(site)
    server.close()
    assert time.monotonic() - started < 5
    assert rules(listing) == {"in/fifo.json": "not_a_regular_file", "in/socket.json": "not_a_regular_file"}


def test_hidden_files_and_all_below_hidden_folders_are_named_one_by_one(site: Site) -> None:
    for name in ("_SUCCESS", ".part.crc", "_tmp/a.json", "x/.staging/b.json", "up._COPYING_", "x/good_.json"):
        site.land(name)
    listing = listed(site)
    assert paths(listing) == ["in/x/good_.json"]
    assert set(rules(listing)) == {
        "in/_SUCCESS",
        "in/.part.crc",
        "in/_tmp/a.json",
        "in/x/.staging/b.json",
        "in/up._COPYING_",
    }
    assert set(rules(listing).values()) == {"hidden"}


def test_the_glob_looks_at_the_name_and_not_at_the_folders(site: Site) -> None:
    site.land("csv/a.json")
    site.land("json/b.csv")
    listing = listed(site, options={"pathGlobFilter": "*.json"})
    assert paths(listing) == ["in/csv/a.json"]
    assert rules(listing) == {"in/json/b.csv": "glob"}


def test_modified_after_and_before_are_exclusive_and_named(site: Site) -> None:
    for name, moment in (("old", "2024-01-01"), ("in", "2024-01-02"), ("new", "2024-01-03")):
        stamp = time.mktime(time.strptime(f"{moment} UTC", "%Y-%m-%d %Z")) - time.timezone
        os.utime(site.land(name), (stamp, stamp))
    listing = listed(site, options={"modifiedAfter": "2024-01-01T00:00:00", "modifiedBefore": "2024-01-03T00:00:00"})
    assert paths(listing) == ["in/in"]
    assert rules(listing) == {"in/old": "modified_after", "in/new": "modified_before"}


def test_a_file_younger_than_settle_waits_and_is_not_skipped(site: Site) -> None:
    site.land("young.json", age=1)
    site.land("old.json", age=100)
    listing = listed(site, settle="60s")
    assert paths(listing) == ["in/old.json"]
    assert (listing.waiting, listing.skips) == (1, ())


def test_a_file_from_the_future_does_not_wait_for_its_time_to_come(site: Site) -> None:
    site.land("tomorrow.json", age=-24 * HOUR)
    assert listed(site, settle="60s").waiting == 1, "just written: its inode says so"
    later = time.time_ns() // 1000 + 61_000_000
    listing = list_source(site.settings, site.pipeline(settle="60s").ingestion(), later)
    assert paths(listing) == ["in/tomorrow.json"]


def test_a_file_is_loaded_when_the_clock_was_set_back_far(site: Site) -> None:
    site.land("a.json", age=0)
    last_year = time.time_ns() // 1000 - 365 * 24 * HOUR * 1_000_000
    assert paths(list_source(site.settings, site.pipeline(settle="60s").ingestion(), last_year)) == ["in/a.json"]


def test_a_link_to_a_file_below_landing_is_a_file_of_its_own_name(site: Site) -> None:
    target = site.home / "landing" / "elsewhere.json"
    target.write_text("12345")
    (site.source / "link.json").symlink_to(target)
    listing = listed(site)
    assert paths(listing) == ["in/link.json"]
    assert listing.files["size"].to_pylist() == [5]


def test_a_link_to_a_folder_below_landing_is_followed_once(site: Site) -> None:
    outside = site.home / "landing" / "archive"
    outside.mkdir()
    (outside / "a.json").write_text("{}")
    for name in ("one", "two"):
        (site.source / name).symlink_to(outside)
    listing = listed(site)
    assert paths(listing) == ["in/one/a.json"]
    assert rules(listing) == {"in/two/": "symlink_loop"}


def test_a_folder_goes_by_its_own_name_and_not_by_that_of_a_link(site: Site) -> None:
    site.land("real/a.json")
    (site.source / "alias").symlink_to(site.source / "real")
    listing = listed(site)
    assert paths(listing) == ["in/real/a.json"]
    assert rules(listing) == {"in/alias/": "symlink_loop"}


def test_loops_of_links_end_and_are_named(site: Site) -> None:
    site.land("a.json")
    (site.source / "self").symlink_to("self")
    (site.source / "here").symlink_to(site.source)
    (site.source / "up").symlink_to(site.source.parent)
    listing = listed(site)
    assert paths(listing) == ["in/a.json"]
    assert rules(listing) == {"in/self": "symlink_loop", "in/here/": "symlink_loop", "in/up/": "symlink_loop"}


def test_a_link_that_leaves_landing_is_refused(site: Site, tmp_path_factory: pytest.TempPathFactory) -> None:
    secret = tmp_path_factory.mktemp("secret") / "passwords.json"
    secret.write_text("{}")
    (site.source / "file.json").symlink_to(secret)
    (site.source / "folder").symlink_to(secret.parent)
    (site.source / "sibling").symlink_to(site.home / "landing2")
    (site.home / "landing2").mkdir()
    listing = listed(site)
    assert paths(listing) == []
    assert set(rules(listing).values()) == {"outside_source"}
    assert len(listing.skips) == 3


def test_a_broken_link_is_named(site: Site) -> None:
    (site.source / "gone.json").symlink_to(site.source / "never.json")
    assert rules(listed(site)) == {"in/gone.json": "broken_symlink"}


def test_the_source_itself_may_be_a_link(site: Site) -> None:
    real = site.home / "disk2"
    real.mkdir()
    (real / "a.json").write_text("{}")
    site.source.rmdir()
    site.source.symlink_to(real)
    assert paths(listed(site)) == ["in/a.json"]


@pytest.mark.usefixtures("ordinary_user")
def test_a_closed_folder_is_named_and_the_rest_is_listed(site: Site) -> None:
    site.land("good.json")
    site.land("closed/a.json").parent.chmod(0)
    site.land("no_x/b.json").parent.chmod(0o444)
    listing = listed(site)
    (site.source / "closed").chmod(0o755)
    (site.source / "no_x").chmod(0o755)
    assert paths(listing) == ["in/good.json"]
    assert rules(listing) == {"in/closed/": "unreadable", "in/no_x/b.json": "unreadable"}


@pytest.mark.usefixtures("ordinary_user")
def test_a_closed_file_is_named_and_loaded_once_it_is_open(site: Site) -> None:
    site.land("good.json")
    closed = site.land("closed.json")
    closed.chmod(0)
    first = site.discover()
    assert (first.discovered, first.skipped) == (1, 1)
    site.load()
    closed.chmod(0o644)
    assert site.discover().discovered == 1
    assert [path for _, path, _, _ in site.planned()] == ["in/good.json", "in/closed.json"]


@pytest.mark.usefixtures("ordinary_user")
def test_a_closed_source_is_an_error_and_not_an_empty_one(site: Site) -> None:
    site.source.chmod(0)
    with pytest.raises(SourceNotFound, match="may not be read"):
        listed(site)
    site.source.chmod(0o755)


def test_a_source_that_is_not_there_is_an_error_with_a_remedy(site: Site) -> None:
    site.source.rmdir()
    with pytest.raises(SourceNotFound) as caught:
        site.discover()
    assert str(site.source) in caught.value.message
    assert caught.value.exit_code == 66
    assert "Create the folder" in caught.value.remedy


def test_files_that_come_and_go_while_listed_never_stop_it(site: Site) -> None:
    churn = (
        "import os, sys, itertools\n"
        "for i in itertools.count():\n"
        "    d = f'{sys.argv[1]}/d{i % 7}'\n"
        "    os.makedirs(d, exist_ok=True)\n"
        "    for j in range(20): open(f'{d}/{j}', 'w').close()\n"
        "    for j in range(20): os.unlink(f'{d}/{j}')\n"
        "    os.rmdir(d)\n"
    )
    site.land("stays.json")
    with subprocess.Popen([sys.executable, "-c", churn, str(site.source)]) as process:
        try:
            listings = [listed(site) for _ in range(300)]
        finally:
            process.kill()
    assert all("in/stays.json" in paths(listing) for listing in listings)
    assert {rule for listing in listings for rule in rules(listing).values()} <= {"vanished"}
