"""The result of a run: the JSON object that `sluice run --json` prints last and that the DAG publishes."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

RunStatus = Literal["loaded", "nothing_new", "rejected", "failed"]


@dataclass(frozen=True)
class FileCounts:
    """File versions, counted once each. `waiting` are those left for the next run (younger than `settle`)."""

    discovered: int = 0
    loaded: int = 0
    quarantined: int = 0
    skipped: int = 0
    waiting: int = 0


@dataclass(frozen=True)
class RowCounts:
    """Records, counted in what was committed."""

    loaded: int = 0
    rescued: int = 0
    quarantined: int = 0
    late: int = 0


@dataclass(frozen=True)
class Figures:
    """What a run committed, as its section counts it. `batches` are the planned micro-batches that it finished."""

    files: FileCounts = field(default_factory=FileCounts)
    rows: RowCounts = field(default_factory=RowCounts)
    batches: int = 0
    table_version: int | None = None
    schema_version: int | None = None
    cache: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class RunResult:
    """What one run did. `table_version` is None while the target does not exist; `seconds` is wall time.

    `error` names what went wrong in a rejected or failed run, and is None otherwise; `exit_code` is that of the
    command. `cache` holds the figures of each dimension that was cached (include.cache.figures).
    """

    pipeline: str
    run_id: str
    status: RunStatus
    files: FileCounts = field(default_factory=FileCounts)
    rows: RowCounts = field(default_factory=RowCounts)
    batches: int = 0
    table_version: int | None = None
    schema_version: int | None = None
    seconds: float = 0.0
    error: str | None = None
    exit_code: int = 0
    cache: tuple[Mapping[str, Any], ...] = ()

    def to_dict(self) -> dict[str, object]:
        """The contract's JSON object."""
        document = asdict(self)
        return {**document, "cache": list(document["cache"])}
