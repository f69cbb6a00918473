"""What is in a source right now: files as Arrow columns, and by name what a rule leaves out.

Runs in `discover` and `plan`; opens no file. Memory grows by the columns only (about 100 bytes for each file).
"""

from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa

from include.config.errors import SourceNotFound
from include.config.pipeline import Ingest
from include.config.settings import Settings, is_remote
from include.ledger.glob_filter import compile_glob
from include.ledger.skips import Rule, Skip
from include.ledger.versions import IDENTITY, micros, table

# Files are turned into Arrow this many at a time, so that a million Python strings never exist at once.
CHUNK_FILES = 50_000


@dataclass(frozen=True)
class Listing:
    """`files` has the columns of IDENTITY. `waiting` counts the files younger than `settle`: the next run sees them."""

    files: pa.Table
    skips: tuple[Skip, ...]
    waiting: int


class Sieve:
    """The rules that look at a name, a size and times only; the same for local and remote files.

    Times are microseconds since the epoch. Feed it with `hidden`, `file` and `skip`, then take `listing`.
    """

    def __init__(self, ingest: Ingest, prefix: str, now: int) -> None:
        options = ingest.options
        self._prefix = prefix
        self._now = now
        self._settle = round(ingest.settle * 1_000_000)
        self._glob = compile_glob(options.path_glob_filter).fullmatch if options.path_glob_filter else None
        self._glob_text = options.path_glob_filter
        self._after = _limit(options.modified_after)
        self._before = _limit(options.modified_before)
        self._skips: list[Skip] = []
        self._waiting = 0
        self._paths: list[str] = []
        self._sizes: list[int] = []
        self._times: list[int] = []
        self._etags: list[str | None] = []
        self._chunks: list[pa.Table] = []

    def file(self, path: str, hidden: bool, size: int, modified_at: int, changed_at: int, etag: str | None) -> None:
        """Take a regular file by its path below the source; `hidden` when a folder above it is.

        `changed_at` is a second opinion on the file's age, for a `modified_at` that lies in the future.
        """
        name = path[path.rfind("/") + 1 :]
        if hidden or is_hidden(name):
            self._leave("hidden", path, size, modified_at, etag, "names that start with _ or . are not data")
        elif self._glob is not None and self._glob(name) is None:
            self._leave("glob", path, size, modified_at, etag, f"pathGlobFilter {self._glob_text}")
        elif self._after is not None and modified_at <= self._after:
            self._leave("modified_after", path, size, modified_at, etag, f"modifiedAfter {_text(self._after)}")
        elif self._before is not None and modified_at >= self._before:
            self._leave("modified_before", path, size, modified_at, etag, f"modifiedBefore {_text(self._before)}")
        elif self._settle and self._young(modified_at, changed_at):
            self._waiting += 1
        else:
            self._keep(path, size, modified_at, etag)

    def skip(self, rule: Rule, path: str, detail: str) -> None:
        """Leave out an entry of which nothing but the path below the source is known."""
        self._skips.append(Skip(self._prefix + path, rule, detail))

    def listing(self) -> Listing:
        """All that was taken so far."""
        self._flush()
        return Listing(pa.concat_tables(self._chunks), tuple(self._skips), self._waiting)

    def _young(self, modified_at: int, changed_at: int) -> bool:
        # A time further ahead than `settle` comes from a wrong clock. It says nothing of the age, and waiting for it
        # could take years: the file counts by its other time, and is taken when that is out of reason too.
        if modified_at - self._now >= self._settle:
            modified_at = changed_at
        return abs(self._now - modified_at) < self._settle

    def _leave(self, rule: Rule, path: str, size: int, modified_at: int, etag: str | None, detail: str) -> None:
        self._skips.append(Skip(self._prefix + path, rule, detail, size, modified_at, etag))

    def _keep(self, path: str, size: int, modified_at: int, etag: str | None) -> None:
        self._paths.append(self._prefix + path)
        self._sizes.append(size)
        self._times.append(modified_at)
        self._etags.append(etag)
        if len(self._paths) >= CHUNK_FILES:
            self._flush()

    def _flush(self) -> None:
        columns = (self._paths, self._sizes, self._times, self._etags)
        self._chunks.append(table(columns, IDENTITY))
        for column in columns:
            column.clear()


def list_source(settings: Settings, ingest: Ingest, now: int) -> Listing:
    """List a pipeline's source, recursively, in no particular order. `now` is in microseconds since the epoch.

    Raises:
        SourceNotFound: the folder or bucket is not there.
        StorageError: it cannot be read at the moment.
        ConfigError: pathGlobFilter is not a pattern.
    """
    root = settings.source_root(ingest.source)
    sieve = Sieve(ingest, settings.ledger_path(root.rstrip("/") + "/"), now)
    if is_remote(root):
        from include.ledger.remote_files import walk_remote  # noqa: PLC0415 - obstore is not needed for local sources

        walk_remote(root, sieve)
    else:
        from include.ledger.local_files import walk_local  # noqa: PLC0415 - and this is not needed for remote ones

        walk_local(root, settings.landing, sieve)
    return sieve.listing()


def source_not_found(root: str, reason: str) -> SourceNotFound:
    """The error for a source that cannot be listed at all."""
    return SourceNotFound(
        f"The source {root} {reason}.",
        remedy="Create the folder (an empty one is fine) or correct ingest.source in the pipeline file.",
        location=root,
    )


def is_hidden(name: str) -> bool:
    """Whether a name is one that Spark's file source leaves out too: metadata, or an upload that is not finished."""
    return name.startswith(("_", ".")) or name.endswith("._COPYING_")


def _limit(moment: datetime | None) -> int | None:
    return None if moment is None else micros(moment)


def _text(micros: int) -> str:
    return datetime.fromtimestamp(micros / 1_000_000, UTC).isoformat()
