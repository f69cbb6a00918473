"""Against obstore's own store in memory: what S3, GCS and Azure stores share."""

import time

import obstore
import pytest
from obstore.store import MemoryStore

from include.ledger.changes import compare
from include.ledger.listing import Listing, Sieve
from include.ledger.remote_files import walk_store
from include.ledger.versions import never_planned
from tests.unit.ledger.site import Site


def listed(site: Site, store: MemoryStore, **options: object) -> Listing:
    sieve = Sieve(site.pipeline(options=dict(options)).ingestion(), "in/", time.time_ns() // 1000)
    walk_store(store, sieve)
    return sieve.listing()


@pytest.mark.parametrize("key", ["a b.json", "a%20b.json", "#?*[]{}&=+.json", "caf\u00e9.json", "x/col:on.json", "-a"])
def test_a_key_is_a_name_as_it_stands(site: Site, key: str) -> None:
    store = MemoryStore()
    obstore.put(store, key, b"12345")
    files = listed(site, store).files
    assert files.select(["path", "size"]).to_pylist() == [{"path": f"in/{key}", "size": 5}]


def test_the_rules_for_names_are_those_of_local_files(site: Site) -> None:
    store = MemoryStore()
    for key in ("_tmp/a.json", "x/.b.json", "c.csv", "d.json"):
        obstore.put(store, key, b"")
    listing = listed(site, store, pathGlobFilter="*.json")
    assert listing.files["path"].to_pylist() == ["in/d.json"]
    assert {skip.path: skip.rule for skip in listing.skips} == {
        "in/_tmp/a.json": "hidden",
        "in/x/.b.json": "hidden",
        "in/c.csv": "glob",
    }


def test_another_etag_is_another_version_even_with_equal_size_and_time(site: Site) -> None:
    store = MemoryStore()
    obstore.put(store, "a.json", b"1")
    files = listed(site, store).files
    known = never_planned(files)
    assert not compare(files, known).any
    index = files.schema.get_field_index("etag")
    other = files.set_column(index, files.schema.field("etag"), [["other"]])
    assert compare(other, known).changed.num_rows == 1
