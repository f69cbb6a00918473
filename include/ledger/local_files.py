"""Walking a folder of the local disk: what is a file, what is a link, and what is neither. No entry is ever opened.

Names are taken as bytes and read as UTF-8, whatever the locale of the process. Real folders are walked first and links
to folders after them, in the order of their names, so that a file always goes by the same path.

Links: a link to a file is a file of that name, like a copy. A link to a folder is followed once. Both must lead to a
place below the source or landing/; otherwise whoever may write to a landing folder could read any file of the host.
"""

# ruff: noqa: PTH115, PTH116 - paths are bytes here, which pathlib does not take

import errno
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from include.config.errors import StorageError
from include.config.settings import Settings
from include.ledger.listing import Sieve, is_hidden, source_not_found
from include.ledger.skips import Rule, Skip

_KINDS = {stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


@dataclass(frozen=True)
class _Folder:
    location: bytes
    path: str  # below the source, with a slash at its end; empty for the source itself
    hidden: bool


def walk_local(root: str, landing: str, sieve: Sieve) -> None:
    """Feed every entry below `root`, recursively, into the sieve.

    Raises:
        SourceNotFound: `root` is not there, not a folder, or closed to this user.
        StorageError: the disk fails.
    """
    try:
        _Walk(root, landing, sieve).run()
    except OSError as error:
        raise StorageError(
            f"Listing {root} failed: {error}.",
            remedy="Check the disk or the mount; then run again.",
            location=root,
        ) from error


class _Walk:
    def __init__(self, root: str, landing: str, sieve: Sieve) -> None:
        self._root = root
        self._sieve = sieve
        real_root = os.path.realpath(root)
        self._allowed = tuple(
            os.fsencode(folder.rstrip("/") + "/") for folder in (real_root, os.path.realpath(landing))
        )
        self._above = {_inode(os.stat(folder)) for folder in Path(real_root).parents if folder.exists()}
        self._seen: set[tuple[int, int]] = set()
        self._folders: list[_Folder] = []
        self._links: list[_Folder] = []

    def run(self) -> None:
        """Walk the real folders, then those that links lead to, until none is left."""
        self._enter_root()
        self._drain()
        while self._links:
            links, self._links = sorted(self._links, key=lambda link: link.path), []
            for link in links:
                self._follow(link)
                self._drain()

    def _drain(self) -> None:
        while self._folders:
            self._scan(self._folders.pop())

    def _enter_root(self) -> None:
        location = os.fsencode(self._root)
        try:
            self._seen.add(_inode(os.stat(location)))
            os.scandir(location).close()
        except (FileNotFoundError, NotADirectoryError) as error:
            reason = "is not there" if isinstance(error, FileNotFoundError) else "is not a folder"
            raise source_not_found(self._root, reason) from error
        except PermissionError as error:
            raise source_not_found(self._root, f"may not be read by the user with the id {os.geteuid()}") from error
        self._folders.append(_Folder(location, "", hidden=False))

    def _scan(self, folder: _Folder) -> None:
        try:
            with os.scandir(folder.location) as entries:
                for entry in entries:
                    self._take(folder, entry)
        except (FileNotFoundError, NotADirectoryError):
            self._sieve.skip("vanished", folder.path, "the folder was gone when it was to be read")
        except PermissionError:
            self._sieve.skip("unreadable", folder.path, "no permission to read the folder; what is in it is not known")

    def _take(self, folder: _Folder, entry: os.DirEntry[bytes]) -> None:
        try:
            path = folder.path + entry.name.decode()
        except UnicodeDecodeError:
            shown = folder.path + entry.name.decode(errors="backslashreplace")
            self._sieve.skip("name_not_utf8", shown, "rename it: a path must be text")
            return
        try:
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISLNK(status.st_mode):
                self._take_link(folder, entry, path)
            else:
                self._take_real(folder, entry.path, path, status)
        except FileNotFoundError:
            self._sieve.skip("vanished", path, "it was gone when its size was to be read")
        except PermissionError:
            self._sieve.skip("unreadable", path, "no permission to look at it; the folder lacks the x right")

    def _take_real(self, folder: _Folder, location: bytes, path: str, status: os.stat_result) -> None:
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFREG:
            modified_at, changed_at = status.st_mtime_ns // 1000, status.st_ctime_ns // 1000
            self._sieve.file(path, folder.hidden, status.st_size, modified_at, changed_at, None)
        elif kind == stat.S_IFDIR:
            self._enter(_Folder(location, path + "/", _hides(folder, path)), status)
        else:
            self._sieve.skip("not_a_regular_file", path, f"{_KINDS.get(kind, 'a special file')}; it was not opened")

    def _enter(self, folder: _Folder, status: os.stat_result) -> None:
        inode = _inode(status)
        if inode in self._seen or inode in self._above:
            self._sieve.skip(
                "symlink_loop", folder.path, "the folder is reached by another name too, or lies above the source"
            )
        else:
            self._seen.add(inode)
            self._folders.append(folder)

    def _take_link(self, folder: _Folder, entry: os.DirEntry[bytes], path: str) -> None:
        problem = self._link_problem(entry.path)
        if problem is not None:
            self._sieve.skip(problem[0], path, problem[1])
        elif stat.S_ISDIR((status := os.stat(entry.path)).st_mode):
            self._links.append(_Folder(entry.path, path + "/", _hides(folder, path)))
        else:
            self._take_real(folder, entry.path, path, status)

    def _link_problem(self, location: bytes) -> tuple[Rule, str] | None:
        """Why a link is not followed, None when it is."""
        try:
            target = os.path.realpath(location, strict=True)
        except (FileNotFoundError, NotADirectoryError):
            return "broken_symlink", f"it points to {_shown(os.readlink(location))}, which is not there"
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            return "symlink_loop", "the link leads to itself"
        if not (target + b"/").startswith(self._allowed):
            return "outside_source", f"it leads to {_shown(target)}, outside of the source and of landing/"
        return None

    def _follow(self, link: _Folder) -> None:
        try:
            self._enter(link, os.stat(link.location))
        except FileNotFoundError:
            self._sieve.skip("vanished", link.path, "the folder was gone when it was to be read")


def refuse_unreadable(settings: Settings, paths: Sequence[str]) -> list[Skip]:
    """Those of the ledger's paths that this user may not read, or that are gone by now.

    Asked for new files only: one more look at each file would double the cost of a listing.
    """
    refused = []
    for path in paths:
        location = settings.file_uri(path)
        if not os.access(location, os.R_OK, effective_ids=True):
            there = os.path.lexists(location)
            detail = (
                f"the user with the id {os.geteuid()} may not read it" if there else "it was gone before it was planned"
            )
            refused.append(Skip(path, "unreadable" if there else "vanished", detail))
    return refused


def _hides(folder: _Folder, path: str) -> bool:
    return folder.hidden or is_hidden(path[path.rfind("/") + 1 :])


def _inode(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _shown(location: bytes) -> str:
    return location.decode(errors="backslashreplace")
