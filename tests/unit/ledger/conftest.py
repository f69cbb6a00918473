"""A whole installation in a temporary folder. The load is played by delta-rs: same tables, same transaction numbers."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.ledger.site import Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def ordinary_user(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """File permissions mean nothing to root: a test of them runs as somebody else."""
    if os.geteuid() != 0:
        yield
        return
    nobody = 65534
    # Only root may enter pytest's own folders.
    for folder in (site.home, *site.home.parents):
        if folder.stat().st_uid == 0 and folder != Path("/") and folder != Path("/tmp"):
            folder.chmod(0o755)
    for path in (site.home, *site.home.rglob("*")):
        os.chown(path, nobody, nobody, follow_symlinks=False)
    os.seteuid(nobody)
    try:
        yield
    finally:
        os.seteuid(0)
