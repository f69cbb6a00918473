"""New pins for planned batches whose joined table can no longer be read at the version that was pinned.

A batch keeps its pins through every replay. Where a pinned version is gone (the table was made anew, VACUUM took its
files), or was refused (it has two rows of a key, or lacks a column), the batch could never be done; as long as nothing
was written for it, it is planned again with the newest version. Once a side table holds rows of it, its rows there and
those that would come must be of one version: it stays.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
from deltalake import DeltaTable

from include.config.errors import StorageError, TableLocked
from include.config.pipeline import Pipeline
from include.config.settings import Settings, is_remote
from include.ledger.state_files import read_document, write_document
from include.ledger.table_lock import table_lock
from include.ledger.tables import open_table, storage_errors
from include.ledger.target import app_id, committed_batch
from include.transform.ranges import Pin, PlannedRange


def repinned(
    pipeline: Pipeline, settings: Settings, pending: Sequence[PlannedRange], now: Mapping[str, Pin], run_id: str
) -> list[PlannedRange]:
    """Those of the pending batches that need other pins, with them; `now` is what would be pinned now.

    Raises:
        StorageError: a table cannot be read.
    """
    tables = [step.join.table for step in pipeline.transformation().row_steps if step.join is not None]
    if not tables or not pending or pipeline.transformation().pinned_tables != tuple(dict.fromkeys(tables)):
        return []  # the range that a stream_join reads of its other table hangs on its pin
    lost: dict[tuple[str, Pin], bool] = {}
    refused = _refused(pipeline, settings, pending[0])  # those behind it take no older versions
    found = []
    for planned in pending:
        gone = {}
        for name in tables:
            pin = planned.pinned[name]
            if (name, pin) not in lost:
                lost[name, pin] = pin != now[name] and _is_lost(settings.table_root(name), pin)
            if lost[name, pin] or (refused and pin != now[name]):
                gone[name] = now[name]
        if gone:
            found.append(_with_pins(planned, gone, run_id))
    return _not_begun(pipeline, settings, found) if found else []


def note_refused(pipeline: Pipeline, settings: Settings, planned: PlannedRange) -> None:
    """Remember that a batch was refused with the versions that it has pinned: newer ones may be better.

    Raises:
        StorageError: the state folder cannot be written.
    """
    if planned.pinned:
        write_document(_refusal(pipeline, settings, planned), {"pinned": _versions(planned)})


def _refused(pipeline: Pipeline, settings: Settings, planned: PlannedRange) -> bool:
    document = read_document(_refusal(pipeline, settings, planned))
    return document is not None and document["pinned"] == _versions(planned)


def _refusal(pipeline: Pipeline, settings: Settings, planned: PlannedRange) -> str:
    return settings.state_root(pipeline.name, "refused_pins", f"{planned.batch}.json")


def _versions(planned: PlannedRange) -> dict[str, str]:
    return {name: f"{pin.table_id} {pin.version}" for name, pin in planned.pinned.items()}


def _with_pins(planned: PlannedRange, pins: Mapping[str, Pin], run_id: str) -> PlannedRange:
    """The batch planned again, later than before: the newest plan of a batch holds."""
    planned_at = max(time.time_ns() // 1000, planned.planned_at + 1)
    return replace(planned, pinned={**planned.pinned, **pins}, planned_at=planned_at, run_id=run_id)


def _not_begun(pipeline: Pipeline, settings: Settings, found: Sequence[PlannedRange]) -> list[PlannedRange]:
    """Without those that a job has begun; while one runs, that is not known of any."""
    try:
        with table_lock(settings, pipeline.lock_name, wait=0):
            begun = max(
                [committed_batch(settings, pipeline.targets[0], app_id(pipeline.name)), *_side(pipeline, settings)]
            )
    except TableLocked:
        return []
    return [planned for planned in found if planned.batch > begun and not _has_watermark(pipeline, settings, planned)]


def _side(pipeline: Pipeline, settings: Settings) -> Iterator[int]:
    """The last batch that each side table of the pipeline holds rows of."""
    names = {"late": "late", "deletes": "deletes", "input": "input"}
    for number in range(len(pipeline.transformation().steps)):
        names |= {f"seen_{number}": f"seen:{number}", f"refused_{number}": f"refused:{number}"}
    for folder, app in names.items():
        table = open_table(settings.state_root(pipeline.name, folder))
        if table is not None:
            yield table.transaction_version(f"{app_id(pipeline.name)}:{app}") or 0


def _has_watermark(pipeline: Pipeline, settings: Settings, planned: PlannedRange) -> bool:
    return read_document(settings.state_root(pipeline.name, "watermarks", f"{planned.batch}.json")) is not None


def _is_lost(root: str, pin: Pin) -> bool:
    """True where the pinned version cannot be read: another table stands there, its log or one of its files is gone."""
    newest = open_table(root)
    if newest is None or str(newest.metadata().id) != pin.table_id:
        return True
    try:
        table = open_table(root, pin.version)
    except StorageError:
        return True  # the newest version could be opened
    if table is None or str(table.metadata().id) != pin.table_id:
        return True
    if is_remote(root):
        return False  # one request for each file: too slow to ask before each run
    return any(not Path(root, unquote(path)).exists() for path in _files(table) - _files(newest))


def _files(table: DeltaTable) -> set[str]:
    with storage_errors("Reading the files of a joined table", table.table_uri):
        return set(pa.table(table.get_add_actions())["path"].to_pylist())
