"""Clean copies of files that Spark's reader cannot be given as they are: the records that may be loaded, and no others.

A copy is made by the probe of the file, lies in the state folder under a name that is used once, and goes with its
batch: whatever an attempt that was killed has left there is never read, and deleted by the next one.
"""

import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from include.config.settings import is_remote, join

PART = 64 << 20  # bytes of one part of an upload


@contextmanager
def spooled(folder: str, suffix: str) -> Iterator[tuple[str, IO[bytes]]]:
    """The location of a new copy below `folder` and where to write it; it is whole when the context ends well."""
    location = join(folder, f"{uuid.uuid4().hex}{suffix}")
    if is_remote(location):
        with tempfile.TemporaryFile() as out:
            yield location, out
            out.seek(0)
            _upload(location, out)
        return
    path = Path(location)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as out:
        yield location, out


def write_spool(folder: str, suffix: str, parts: Iterable[bytes]) -> str:
    """Write `parts` to a new copy and return its location."""
    with spooled(folder, suffix) as (location, out):
        for part in parts:
            out.write(part)
    return location


def clear_spool(folder: str) -> None:
    """Delete all copies below a folder."""
    if not is_remote(folder):
        shutil.rmtree(folder, ignore_errors=True)
        return
    import obstore  # noqa: PLC0415  only where the state is in a bucket

    store, key = _store_and_key(folder)
    found = [str(entry["path"]) for page in obstore.list(store, key + "/") for entry in page]
    if found:
        obstore.delete(store, found)


def _upload(location: str, source: IO[bytes]) -> None:
    import obstore  # noqa: PLC0415

    store, key = _store_and_key(location)
    obstore.put(store, key, source, chunk_size=PART)


def _store_and_key(location: str) -> tuple[Any, str]:
    from obstore.store import from_url  # noqa: PLC0415

    parts = urlsplit(location)
    return from_url(f"{parts.scheme}://{parts.netloc}"), parts.path.lstrip("/")
