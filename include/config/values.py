"""The values of a pipeline file that are written as text: durations, sizes, shares, moments, names, places.

Each function takes what stands in the YAML and returns the typed value, or raises ValueError with what it must be.
"""

import re
from datetime import UTC, datetime
from difflib import get_close_matches

from include.config.settings import REMOTE_SCHEMES, is_remote, local_path

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")
TABLE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*\.[A-Za-z0-9_][A-Za-z0-9_-]*")
CREDENTIAL_KEY = re.compile(
    r"secret|passwd|password|token|credential|(access|account|private)[._-]?key|connection[._-]?string", re.IGNORECASE
)
CREDENTIAL_URI = re.compile(r"://[^/\s@]*:[^/\s@]+@|[?&](sig|signature|token|x-amz-signature)=", re.IGNORECASE)
NAME_LENGTH = 128  # a name becomes a folder, a DAG id and a part of a lock file's name

_SECONDS = {"ms": 0.001, "s": 1, "sec": 1, "second": 1, "m": 60, "min": 60, "minute": 60}
_SECONDS |= {"h": 3600, "hour": 3600, "d": 86400, "day": 86400, "w": 604800, "week": 604800}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)", re.IGNORECASE)
_BYTES = re.compile(r"(\d+)\s*([kmgt]?)(?:i?b)?", re.IGNORECASE)
_SHARE = re.compile(r"(\d+(?:\.\d+)?)\s*%")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def shown(value: object) -> str:
    """A value as an error shows it: short, with the name of its kind where that is the surprise."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    text = repr(value)
    if CREDENTIAL_URI.search(text):
        return "a text that holds a credential"
    return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004 (one line of a terminal)


def did_you_mean(word: str, known: list[str]) -> str:
    """`; did you mean X?` for the nearest of `known` (letter case does not count), or nothing."""
    by_lower = {name.lower(): name for name in known}
    near = get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return f"; did you mean {by_lower[near[0]]}?" if near else ""


def duration(value: object) -> float:
    """Seconds of a text such as 30s, 5 minutes, 1.5 h. A number without a unit is refused, but for 0."""
    if value == 0 and not isinstance(value, bool):
        return 0.0
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    unit = match[2].lower() if match else ""
    seconds = _SECONDS.get(unit, _SECONDS.get(unit.removesuffix("s")) if unit else None)
    if match is None or seconds is None:
        raise ValueError(f"must be a number and a unit, such as 30s, 5 minutes, 1 hour, not {shown(value)}")
    return float(match[1]) * seconds


def byte_size(value: object) -> int:
    """Bytes of a whole number, or of a text with a suffix k, m, g, t (powers of 1024, as Spark counts)."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    match = _BYTES.fullmatch(value.strip()) if isinstance(value, str) else None
    size = int(match[1]) * 1024 ** " kmgt".index(match[2].lower() or " ") if match else 0
    if size < 1:
        raise ValueError(f"must be a size such as 512m or 1g, not {shown(value)}")
    return size


def share(value: object) -> float:
    """The ratio (0 to 1) of a text such as 1% or 0.5%."""
    match = _SHARE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or float(match[1]) > 100:  # noqa: PLR2004 (per cent)
        raise ValueError(f"must be a share from 0% to 100%, not {shown(value)}")
    return float(match[1]) / 100


def moment(value: object) -> datetime:
    """The UTC moment of an ISO 8601 text; one without an offset is taken as UTC, whatever zone the host has."""
    try:
        parsed = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        parsed = None
    if parsed is None:
        raise ValueError(f"must be a moment such as 2026-01-31T00:00:00Z, not {shown(value)}")
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)


def name(value: str) -> str:
    """A name that is safe as a folder, a DAG id and a SQL identifier: letters, digits, _ and -."""
    if not NAME.fullmatch(value) or len(value) > NAME_LENGTH:
        raise ValueError(
            f"must be letters, digits, _ and - (not first), at most {NAME_LENGTH} characters, not {shown(value)}"
        )
    return value


def table(value: str) -> str:
    """A table: `schema.table` below the warehouse, an absolute path, or a URI."""
    if TABLE.fullmatch(value):
        return value
    if "://" not in value and not value.startswith(("/", "file:")):
        raise ValueError(f"must be schema.table (letters, digits, _, -), an absolute path or a URI, not {shown(value)}")
    return place(value)


def place(value: str) -> str:
    """A path or URI without steps upwards, control characters or a scheme that cannot be read."""
    if not value.strip() or _CONTROL.search(value):
        raise ValueError(f"must be a path or a URI without control characters, not {shown(value)}")
    if "://" in value and not is_remote(value) and not value.startswith("file:"):
        schemes = ", ".join(f"{scheme}://" for scheme in REMOTE_SCHEMES)
        raise ValueError(f"has a scheme that is not supported; use {schemes} or a local path, not {shown(value)}")
    if ".." in local_path(value).split("/"):
        raise ValueError(f"must not step upwards with `..`: {shown(value)}")
    return value
