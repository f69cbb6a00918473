"""Spark settings that must not be seen in the list of processes.

They go by a file that only the job's own processes can open.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from include.config.values import CREDENTIAL_KEY

# Names of things that deal with credentials, not credentials.
_HARMLESS = re.compile(r"\.(provider|enabled|path)$", re.IGNORECASE)


def is_secret(key: str) -> bool:
    """True for a Spark conf key whose value may be a credential."""
    return bool(CREDENTIAL_KEY.search(key)) and not _HARMLESS.search(key)


def split_secrets(conf: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """(what may stand on a command line, what may not)."""
    public = {key: value for key, value in conf.items() if not is_secret(key)}
    return public, {key: value for key, value in conf.items() if key not in public}


@contextmanager
def secrets_file(secrets: Mapping[str, str]) -> Iterator[int | None]:
    """A file descriptor holding `secrets` as a Spark properties file, None when there are none.

    The file is in memory, has no name and is gone with the last process that inherited it, also after kill -9.
    Pass the descriptor on by `pass_fds` and name it `properties_path(fd)`.
    """
    if not secrets:
        yield None
        return
    descriptor = os.memfd_create("spark-properties")
    try:
        with os.fdopen(os.dup(descriptor), "w", encoding="utf-8") as file:
            file.writelines(f"{_escaped(key, key=True)}={_escaped(value)}\n" for key, value in secrets.items())
        yield descriptor
    finally:
        os.close(descriptor)


def properties_path(descriptor: int) -> str:
    """The path under which a process that inherited `descriptor` opens it."""
    return f"/dev/fd/{descriptor}"


def _escaped(text: str, *, key: bool = False) -> str:
    """`text` as java.util.Properties reads it back unchanged."""
    special = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"} | (
        {"=": "\\=", ":": "\\:", " ": "\\ "} if key else {}
    )
    out = "".join(special.get(char, char) for char in text)
    return "\\" + out if out[:1] in (" ", "#", "!") else out
