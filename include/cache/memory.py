"""How much memory this host, or the container around the process, has left."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from include.config.errors import ConfigError

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


@dataclass(frozen=True)
class _Version:
    """Where a version of control groups says what; `files` are entries of `stat`."""

    controller: str
    folder: str
    limit: str
    used: str
    stat: str
    files: tuple[str, str]


_VERSIONS = (
    _Version("", "", "memory.max", "memory.current", "memory.stat", ("inactive_file", "active_file")),
    # Version 1; without a limit it says a number beyond all memory.
    _Version(
        "memory",
        "memory",
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        "memory.stat",
        ("total_inactive_file", "total_active_file"),
    ),
)


@dataclass(frozen=True)
class Memory:
    """Bytes. `available` can be taken without swapping: free, or pages that are clean copies of files."""

    available: int
    total: int

    @property
    def free_share(self) -> float:
        """The available part of all, 0 to 1."""
        return self.available / self.total


def measure(meminfo: Path = MEMINFO, cgroup: Path = CGROUP, membership: Path = MEMBERSHIP) -> Memory:
    """What is left now: of the host, or of a control group around this process where that has less.

    Raises:
        ConfigError: this is no Linux.
    """
    try:
        lines = meminfo.read_text().splitlines()
    except OSError as error:
        raise ConfigError(
            f"{meminfo} cannot be read: {error.strerror}.", remedy="Cached joins need Linux; leave `cached` out."
        ) from error
    values = {name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in lines)}
    host = Memory(values["MemAvailable"], values["MemTotal"])
    return min([host, *_groups(cgroup, membership)], key=lambda memory: memory.available)


def _groups(root: Path, membership: Path) -> Iterator[Memory]:
    """The limits of the control groups that this process is in, inner and outer: each holds."""
    try:
        lines = membership.read_text().splitlines()
    except FileNotFoundError:
        lines = []
    groups = {names: path.strip("/") for _, names, path in (line.split(":", 2) for line in lines)}
    for version in _VERSIONS:
        inner = PurePosixPath(groups.get(version.controller, ""))
        # In a container the files of its own group stand at the root, whatever the host calls it.
        for group in dict.fromkeys((inner, *inner.parents)):
            found = _group(root / version.folder / group, version)
            if found is not None:
                yield found


def _group(folder: Path, names: _Version) -> Memory | None:
    """The limit of a control group; None where there is none. Clean file pages count as available."""
    try:
        limit = (folder / names.limit).read_text().strip()
        used = int((folder / names.used).read_text())
        stat = dict(line.split() for line in (folder / names.stat).read_text().splitlines())
    except FileNotFoundError:
        return None
    if limit == "max":
        return None
    files = sum(int(stat[name]) for name in names.files)
    return Memory(max(0, int(limit) - used + files), int(limit))
