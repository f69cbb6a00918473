"""What a path that comes again with other content does to the table, and what is left alone by a named rule."""

import gzip
import os

import pytest

from include.config.errors import DataRefused
from tests.spark.conftest import Landing

OLD = '{"id": 1}\n{"id": 2}\n'
NEW = '{"id": 2}\n{"id": 3}\n{"id": 4}\n'


@pytest.mark.parametrize(
    ("policy", "ids"), [("append", [1, 2, 2, 3, 4, 9]), ("replace", [2, 3, 4, 9]), ("ignore", [1, 2, 9])]
)
def test_second_version_does_what_the_policy_says(landing: Landing, policy: str, ids: list[int]) -> None:
    landing.configure(changed_files=policy)
    landing.drop("other.json", '{"id": 9}\n')
    landing.drop("a.json", OLD)
    landing.run()
    landing.drop("a.json", NEW)
    landing.run()
    assert landing.values("id") == ids
    assert not landing.run().has_work
    versions = {row["_source_file_version"] for row in landing.rows("_source_file_version")}
    assert versions == ({1} if policy == "ignore" else {1, 2})


def test_error_policy_loads_nothing_of_either_file_until_the_change_is_settled(landing: Landing) -> None:
    landing.configure(changed_files="error")
    landing.drop("a.json", OLD)
    landing.run()
    landing.drop("a.json", NEW)
    landing.drop("b.json", '{"id": 9}\n')
    with pytest.raises(DataRefused):
        landing.run()
    assert landing.values("id") == [1, 2]
    landing.configure(changed_files="replace")
    landing.run()
    assert landing.values("id") == [2, 3, 4, 9]


def test_broken_second_version_leaves_the_rows_of_the_first(landing: Landing) -> None:
    landing.configure(changed_files="replace")
    landing.drop("a.json.gz", _gzip(OLD))
    landing.run()
    landing.drop("a.json.gz", b"not gzip at all")
    landing.run()
    assert landing.values("id") == [1, 2]
    landing.drop("a.json.gz", _gzip(NEW))
    landing.run()
    assert landing.values("id") == [2, 3, 4]


def test_empty_second_version_takes_the_rows_of_the_first_away(landing: Landing) -> None:
    landing.configure(changed_files="replace")
    landing.drop("a.json", OLD)
    landing.drop("b.json", '{"id": 9}\n')
    landing.run()
    landing.drop("a.json", "")
    landing.run()
    assert landing.values("id") == [9]


def test_versions_that_came_between_two_runs_are_one(landing: Landing) -> None:
    landing.drop("a.json", OLD)
    landing.drop("a.json", NEW)
    landing.run()
    assert landing.values("id") == [2, 3, 4]


def test_what_is_no_file_to_load_is_named_with_a_rule_and_blocks_nothing(landing: Landing) -> None:
    landing.drop("a.json", OLD)
    os.mkfifo(landing.folder / "fifo.json")
    (landing.folder / "nowhere.json").symlink_to(landing.folder / "gone.json")
    for name in ("_started.json", ".a.json.swp", "_folder/x.json"):
        landing.drop(name, NEW)
    landing.run()
    assert landing.values("id") == [1, 2]
    named = {path: row["error"].partition(":")[0] for path, row in landing.files().items() if row["error"]}
    assert named == {
        "fifo.json": "not_a_regular_file",
        "nowhere.json": "broken_symlink",
        "_started.json": "hidden",
        ".a.json.swp": "hidden",
        "_folder/x.json": "hidden",
    }


def test_two_paths_to_one_content_are_two_files(landing: Landing) -> None:
    first = landing.drop("a.json", OLD)
    (landing.folder / "b.json").hardlink_to(first)
    landing.run()
    assert landing.values("id") == [1, 1, 2, 2]


def _gzip(text: str) -> bytes:
    return gzip.compress(text.encode())
