"""What lands in the tests of kills: good records, bad records, broken files, and files that come again.

Two scenarios, of two planned micro-batches each: `first`, into an empty home; `later`, on top of the first one's end,
where a changed file replaces its rows.
"""

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.e2e.fault.home import Home

LONG_AGO = 1_700_000_000
TRUNCATED = gzip.compress(b"".join(b'{"id": %d, "s": "zip"}\n' % number for number in range(500)))[:-30]


def lines(*ids: int, bad: bytes = b"") -> bytes:
    """A JSON record a line for each id, and a bad line in the middle."""
    good = [b'{"id": %d, "s": "n%d"}' % (ident, ident) for ident in ids]
    return b"\n".join([*good[:1], *([bad] if bad else []), *good[1:], b""])


def drop_first(home: Home) -> None:
    """Two batches: a cut-off record and a broken file; then a good file and a record of a wrong type."""
    home.drop("a.json", lines(1, 2, 3, bad=b'{"id": 9'), LONG_AGO)
    home.drop("b.json.gz", TRUNCATED, LONG_AGO + 1)
    home.drop("c.json", lines(4, 4, 5), LONG_AGO + 2)
    home.drop("d.json", lines(6, 7, bad=b'{"id": "x", "s": "y"}'), LONG_AGO + 3)


def drop_later(home: Home) -> None:
    """Two batches: a file that replaces its rows, a good one; then a broken one, and one whose bad record is gone."""
    home.drop("a.json", lines(1, 20, bad=b'{"id": 9}{"id": 10}'), LONG_AGO + 100)
    home.drop("e.json", lines(21, 22), LONG_AGO + 101)
    home.drop("f.json.gz", TRUNCATED, LONG_AGO + 102)
    home.drop("d.json", lines(6, 23), LONG_AGO + 103)


DROPS: dict[str, Callable[[Home], None]] = {"first": drop_first, "later": drop_later}


def prepared(scenario: str, folder: Path, loaded_once: Path) -> Home:
    """A home in `folder` where the scenario's files have landed and nothing of them was looked at yet.

    `loaded_once` is the home in which the first scenario came to its end.
    """
    if scenario == "later":
        shutil.copytree(loaded_once, folder, symlinks=True)
    home = Home(folder)
    home.configure()
    DROPS[scenario](home)
    return home
