"""Small JSON documents in a pipeline's state folder (schemas, batch decisions, failures): written whole or not at all.

Works on local folders and object stores alike. A document that exists is never half there: local files are written
beside their name and moved into place, object stores put atomically.
"""

import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from include.config.errors import StorageError
from include.config.settings import is_remote

Document = Mapping[str, Any]


def read_document(location: str) -> Document | None:
    """The document at an absolute path or URI, or None where there is none.

    Raises:
        StorageError: it is there but cannot be read or is not JSON.
    """
    try:
        text = _get_remote(location) if is_remote(location) else Path(location).read_bytes()
        document: Document = json.loads(text)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise StorageError(f"{location} cannot be read: {error}", remedy="Restore it from a backup.") from error
    return document


def write_document(location: str, document: Document) -> None:
    """Write or replace the document at an absolute path or URI."""
    _put(location, document, replace=True)


def create_document(location: str, document: Document) -> Document:
    """Write the document unless one is there already; returns the one that stands afterwards.

    What was decided first stays decided: a replay reads the first writer's decision.
    """
    if _put(location, document, replace=False):
        return document
    standing = read_document(location)
    if standing is None:
        raise StorageError(
            f"{location} was there and is gone.", remedy="Does something else delete files in the state folder?"
        )
    return standing


def delete_document(location: str) -> None:
    """Remove a document; nothing happens where there is none."""
    if is_remote(location):
        _delete_remote(location)
    else:
        Path(location).unlink(missing_ok=True)


def list_documents(folder: str) -> list[str]:
    """The names of the JSON documents in a folder, sorted; empty where there is no such folder."""
    if is_remote(folder):
        return _list_remote(folder)
    try:
        return sorted(name for name in os.listdir(folder) if name.endswith(".json"))  # noqa: PTH208  names only
    except FileNotFoundError:
        return []


def _put(location: str, document: Document, *, replace: bool) -> bool:
    data = (json.dumps(document, indent=2, sort_keys=True, default=str) + "\n").encode()
    if is_remote(location):
        return _put_remote(location, data, replace=replace)
    path = Path(location)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    with beside.open("wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    try:
        if replace:
            beside.replace(path)
        else:
            os.link(beside, path)  # fails when the name is taken, unlike rename
    except FileExistsError:
        return False
    finally:
        beside.unlink(missing_ok=True)
    return True


def _store_and_key(location: str) -> tuple[Any, str]:
    from obstore.store import from_url  # noqa: PLC0415  0.1 s of import that local state does without

    parts = urlsplit(location)
    return from_url(f"{parts.scheme}://{parts.netloc}"), parts.path.lstrip("/")


def _get_remote(location: str) -> bytes:
    import obstore  # noqa: PLC0415

    store, key = _store_and_key(location)
    return bytes(obstore.get(store, key).bytes())


def _put_remote(location: str, data: bytes, *, replace: bool) -> bool:
    import obstore  # noqa: PLC0415
    from obstore.exceptions import AlreadyExistsError  # noqa: PLC0415

    store, key = _store_and_key(location)
    try:
        obstore.put(store, key, data, mode="overwrite" if replace else "create")
    except AlreadyExistsError:
        return False
    return True


def _delete_remote(location: str) -> None:
    import obstore  # noqa: PLC0415

    store, key = _store_and_key(location)
    try:
        obstore.delete(store, key)
    except FileNotFoundError:
        return


def _list_remote(folder: str) -> list[str]:
    import obstore  # noqa: PLC0415

    store, key = _store_and_key(folder)
    entries = (entry for page in obstore.list(store, key + "/") for entry in page)
    names = (str(entry["path"]).removeprefix(key + "/") for entry in entries)
    return sorted(name for name in names if "/" not in name and name.endswith(".json"))
