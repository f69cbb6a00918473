"""Listing a source on an object store (s3://, gs://, abfss://, az://). Credentials come from the environment.

Keys are taken as they are, without any decoding: `a%20b` and `a b` are two names.
"""

from collections.abc import Sequence

import obstore
import pyarrow as pa
from obstore.exceptions import BaseError, InvalidPathError, NotFoundError, PermissionDeniedError, UnauthenticatedError
from obstore.store import ObjectStore, from_url

from include.config.errors import DataRefused, SluiceError, StorageError
from include.ledger.listing import Sieve, is_hidden, source_not_found
from include.ledger.skips import Skip
from include.ledger.versions import micros

CHUNK_OBJECTS = 10_000


def walk_remote(root: str, sieve: Sieve) -> None:
    """Feed every object below `root` into the sieve. Where nothing is below it, nothing is fed.

    Raises:
        SourceNotFound: the bucket is not there.
        DataRefused: an object has a key that the client cannot express.
        StorageError: the store cannot be reached, or refuses.
    """
    try:
        walk_store(from_url(root), sieve)
    except (BaseError, OSError, ValueError) as error:
        raise _meaning(root, error) from error


def walk_store(store: ObjectStore, sieve: Sieve) -> None:
    """Feed every object of a store into the sieve."""
    for chunk in obstore.list(store, chunk_size=CHUNK_OBJECTS, return_arrow=True):
        _feed(pa.record_batch(chunk), sieve)


def refuse_markers(root: str, prefix: str, paths: Sequence[str]) -> list[Skip]:
    """Those of the ledger's paths that are not objects: a key that ends with a slash is listed without it.

    Consoles make such empty objects to show folders. Asked for new and empty ones only.
    """
    gone = [path for path in paths if head(root, path.removeprefix(prefix)) is None]
    return [Skip(path, "not_a_regular_file", "a folder's marker, or gone before it was planned") for path in gone]


def head(root: str, key: str) -> tuple[int, int, str | None] | None:
    """Size, time in microseconds and etag of an object by its key below `root`; None where there is none.

    Raises:
        StorageError: the store cannot be reached, or refuses.
    """
    try:
        found = obstore.head(from_url(root), key)
    except (NotFoundError, FileNotFoundError):
        return None
    except (BaseError, OSError, ValueError) as error:
        raise _meaning(root, error) from error
    return int(found["size"]), micros(found["last_modified"]), found["e_tag"]


def _feed(objects: pa.RecordBatch, sieve: Sieve) -> None:
    times = objects.column("last_modified").cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_pylist()
    columns = (objects.column(name).to_pylist() for name in ("path", "size", "e_tag"))
    for path, size, etag, modified_at in zip(*columns, times, strict=True):
        folders = path.split("/")[:-1]
        hidden = any(is_hidden(folder) for folder in folders)
        sieve.file(path, hidden, size, modified_at, modified_at, etag)


def _meaning(root: str, error: Exception) -> SluiceError:
    if isinstance(error, NotFoundError) or "NoSuchBucket" in str(error):
        return source_not_found(root, "is in a bucket that is not there")
    if isinstance(error, InvalidPathError):
        return DataRefused(
            f"{root} holds an object whose key has an empty part, or . or .. as a part: {error}",
            remedy="Give the object another key; no client of this project can read it under this one.",
            location=root,
        )
    refused = isinstance(error, PermissionDeniedError | UnauthenticatedError)
    return StorageError(
        f"Listing {root} failed: {error}",
        remedy="Set credentials that may list the bucket, by environment variables."
        if refused
        else "Check the address, the region and the network; then run again.",
        location=root,
    )
