"""Which files of the source a statement names: all, those of FILES, or those that PATTERN matches."""

import os
import posixpath
import re
from dataclasses import replace
from pathlib import PurePosixPath

import pyarrow as pa

from include.config.settings import Settings, is_remote, local_path
from include.copy_into import errors
from include.copy_into.errors import TargetMissing
from include.copy_into.statement import CopyInto
from include.ledger.glob_filter import compile_glob
from include.ledger.listing import Listing, list_source
from include.ledger.versions import column

GLOB = re.compile(r"[*?\[{]")
SHOWN = 5


def named_files(settings: Settings, statement: CopyInto, now: int) -> Listing:
    """The files that the statement names, as they are now (`now` in microseconds since the epoch).

    Raises:
        SourceNotFound: the source is not there.
        TargetMissing: a file of FILES is not there.
        ConfigError: PATTERN is not a pattern.
    """
    statement = _folder_first(settings, _one_spelling(statement))
    listing = list_source(settings, statement.ingest, now)
    if statement.files is None and statement.pattern is None:
        return listing
    root = settings.source_root(statement.ingest.source)
    prefix = settings.ledger_path(root.rstrip("/") + "/")
    paths = listing.files["path"].to_pylist()
    if statement.files is not None:
        wanted = {prefix + name for name in statement.files}
        _refuse_missing(wanted, set(paths), statement, prefix)
        chosen = [path in wanted for path in paths]
    else:
        pattern = Pattern(statement.pattern or "")
        chosen = [pattern.matches(path[len(prefix) :]) for path in paths]
    skips = tuple(skip for skip in listing.skips if statement.files is None)
    return replace(listing, files=listing.files.filter(column(chosen, pa.bool_())), skips=skips)


class Pattern:
    """A glob over paths below the source, folder by folder; one that matches a folder takes what is in it."""

    def __init__(self, pattern: str) -> None:
        self._parts = [compile_glob(part) for part in pattern.strip("/").split("/")]

    def matches(self, path: str) -> bool:
        """Whether a path below the source is one of the pattern's."""
        names = path.split("/")
        return len(names) >= len(self._parts) and all(
            part.fullmatch(name) for part, name in zip(self._parts, names, strict=False)
        )


def _one_spelling(statement: CopyInto) -> CopyInto:
    """A local source without `./` and `//`: a file has one name in the ledger, however its folder is written."""
    if is_remote(statement.source):
        return statement
    source = posixpath.normpath(local_path(statement.source))
    return _within(statement, "" if source == "." else source, files=statement.files, pattern=statement.pattern)


def _folder_first(settings: Settings, statement: CopyInto) -> CopyInto:
    """A source that is a file, or has a pattern in it, as a folder with FILES or PATTERN."""
    source = statement.source
    if statement.files is not None or statement.pattern is not None:
        return statement
    path = PurePosixPath(source)
    if GLOB.search(source) and (is_remote(source) or not os.path.exists(settings.source_root(source))):  # noqa: PTH110
        parts = source.split("/")
        first = next(index for index, part in enumerate(parts) if GLOB.search(part))
        folder, pattern = "/".join(parts[:first]), "/".join(parts[first:])
        return _within(statement, folder or ("/" if source.startswith("/") else ""), pattern=pattern)
    if not is_remote(source) and os.path.isfile(settings.source_root(source)):  # noqa: PTH113
        parent = "" if str(path.parent) == "." else str(path.parent)
        return _within(statement, parent, files=(path.name,))
    return statement


def _within(
    statement: CopyInto, folder: str, *, files: tuple[str, ...] | None = None, pattern: str | None = None
) -> CopyInto:
    ingest = statement.ingest.model_copy(update={"source": folder})
    return replace(statement, source=folder, ingest=ingest, files=files, pattern=pattern)


def _refuse_missing(wanted: set[str], found: set[str], statement: CopyInto, prefix: str) -> None:
    missing = sorted(path[len(prefix) :] for path in wanted - found)
    if missing:
        more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
        raise TargetMissing(
            errors.FILE_NOT_FOUND,
            f"FILES names {', '.join(missing[:SHOWN])}{more}, not found in {statement.source} "
            "(or left out by pathGlobFilter, modifiedAfter or modifiedBefore, or hidden by its name).",
            remedy="Correct the names; they are relative to the source. Nothing was planned.",
            files=missing,
            **statement.at(f"file {missing[0]}"),
        )
