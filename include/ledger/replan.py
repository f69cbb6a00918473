"""Loading known files once more, on request: `sluice retry` plans them now, `sluice forget` at the next discovery.

Either way the new version is planned as `replace`: old rows go in the commit that brings the new ones (a retry's
those of the latest version, a forgotten file's all), so nothing is ever doubled. Both are one commit; a kill leaves
it done or not done.
"""

import stat
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path

import pyarrow.compute as pc

from include.config.errors import SourceNotFound, UsageError
from include.config.pipeline import Pipeline
from include.config.settings import Settings, is_remote
from include.ledger import forgotten
from include.ledger.accounting import rebuild_missing
from include.ledger.contention import contention, pauses
from include.ledger.ledger import Ledger, LedgerMoved
from include.ledger.outcomes import last_outcome_batch
from include.ledger.plan import known_files
from include.ledger.target import app_id, committed_batch
from include.ledger.versions import PLANNED, column, table


@dataclass(frozen=True)
class Replanned:
    """The files that were planned again, and the first and last number of their batches, which are pending now."""

    paths: tuple[str, ...]
    first_batch: int
    last_batch: int


@dataclass(frozen=True)
class Forgotten:
    """Paths that the next discovery takes for new. Their rows stay in the table until then."""

    paths: tuple[str, ...]


@dataclass(frozen=True)
class _Known:
    version: int
    batch: int
    replaces: int | None


def retry(pipeline: Pipeline, settings: Settings, paths: Sequence[str], run_id: str) -> Replanned:
    """Plan files again, as they are now, in place of what was loaded of them.

    `paths` are as in `sluice files`, or absolute.

    Raises:
        UsageError: a path was never planned, or waits to be loaded already.
        SourceNotFound: a file is gone.
        LedgerContention: discoveries kept winning the race for the ledger.
        StateLost, StorageError: as `discover`.
    """
    options = pipeline.ingestion().options
    rebuild_missing(settings, pipeline, run_id)
    for pause in pauses():
        ledger = Ledger(settings, pipeline.name)
        ledger.refuse_lost_state(committed_batch(settings, pipeline.ingestion().table, app_id(pipeline.name)))
        known = _known(settings, pipeline, ledger, paths)
        _refuse_pending(known, last_outcome_batch(settings, pipeline.name))
        rows = [
            (path, *_identity(settings, pipeline, path), file.version + 1, "replace", file.replaces or file.version)
            for path, file in known.items()
        ]
        planned = table(list(zip(*rows, strict=True)), PLANNED)
        try:
            first, last = ledger.append(
                planned, options.max_files_per_trigger, options.max_bytes_per_trigger, run_id, datetime.now(UTC)
            )
        except LedgerMoved:
            time.sleep(pause)
        else:
            return Replanned(tuple(known), first, last)
    raise contention(pipeline.name)


def forget(pipeline: Pipeline, settings: Settings, paths: Sequence[str], run_id: str) -> Forgotten:
    """Take files out of the ledger's memory: the next discovery plans those that are there, whatever they hold.

    No row is removed now. A file that comes again replaces its old rows, one that does not come leaves them.

    Raises:
        UsageError: a path was never seen.
        StorageError: the mark cannot be written.
    """
    ledger = Ledger(settings, pipeline.name)
    known = _known(settings, pipeline, ledger, paths)
    versions = {path: file.version for path, file in known.items()}
    forgotten.record(settings, pipeline.name, versions, run_id, datetime.now(UTC))
    return Forgotten(tuple(known))


def _known(settings: Settings, pipeline: Pipeline, ledger: Ledger, paths: Sequence[str]) -> dict[str, _Known]:
    wanted = dict.fromkeys(settings.ledger_path(path) for path in paths)
    everything = known_files(settings, pipeline, ledger)
    rows = everything.filter(pc.is_in(everything["path"], value_set=column(list(wanted), PLANNED.field("path").type)))
    found = {row["path"]: _Known(row["version"], row["batch"], row["replaces"]) for row in rows.to_pylist()}
    missing = [path for path in wanted if path not in found]
    if missing or not wanted:
        near = get_close_matches(missing[0], everything["path"].to_pylist(), n=1) if missing else []
        raise UsageError(
            f"Pipeline {pipeline.name} never planned {', '.join(missing) or 'a file without a path'}."
            + (f" Did you mean {near[0]}?" if near else ""),
            remedy=f"Give paths as `sluice files {pipeline.name}` shows them.",
            paths=missing,
        )
    return found


def _refuse_pending(known: Mapping[str, _Known], accounted: int) -> None:
    waiting = {path: file.batch for path, file in known.items() if file.batch > accounted}
    if waiting:
        shown = ", ".join(f"{path} (batch {batch})" for path, batch in waiting.items())
        raise UsageError(
            f"Planned already and not loaded yet: {shown}.",
            remedy="Run the pipeline; retry what does not come out as it should.",
            paths=list(waiting),
        )


def _identity(settings: Settings, pipeline: Pipeline, path: str) -> tuple[int, int, str | None]:
    """Size, time in microseconds and etag of a file as it is now."""
    root = settings.source_root(pipeline.ingestion().source)
    if is_remote(root):
        from include.ledger.remote_files import head  # noqa: PLC0415 - obstore is not needed for local sources

        found = head(root, path.removeprefix(settings.ledger_path(root + "/")))
    else:
        found = _local_identity(Path(settings.file_uri(path)))
    if found is None:
        raise SourceNotFound(
            f"{settings.file_uri(path)} is not there any more, so it cannot be loaded again.",
            remedy="Put the file back, and retry it then.",
            path=path,
        )
    return found


def _local_identity(file: Path) -> tuple[int, int, str | None] | None:
    try:
        status = file.stat()
    except FileNotFoundError:
        return None
    return (status.st_size, status.st_mtime_ns // 1000, None) if stat.S_ISREG(status.st_mode) else None
