"""Which files a target table holds already, or is about to: by COPY INTO's own ledger, and by those of the ingest
pipelines that load into the same table.
"""

import os
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from include.config.errors import ConfigError
from include.config.reader import load_pipeline
from include.config.settings import PIPELINES_DIR, Settings, is_remote
from include.copy_into.state import STATE, TableState
from include.copy_into.target import open_target
from include.ledger.changes import FORGOTTEN_SIZE, latest
from include.ledger.copied import batch_and_path, not_loaded
from include.ledger.ledger import Ledger
from include.ledger.outcomes import SOURCE_FILE
from include.ledger.tables import open_table, read, storage_errors
from include.ledger.target import app_id
from include.ledger.versions import KNOWN, column

NEVER = -1  # the last batch of a pipeline that never committed


def known_files(state: TableState, ledger: Ledger, *, force: bool) -> pa.Table:
    """The latest version of each path of the ledger (columns of KNOWN), of `FORGOTTEN_SIZE` where it is not remembered.

    Not remembered are files that were skipped as corrupt or whose statement was rejected; with `force`, none is.
    """
    rows = ledger.known()
    if not rows.num_rows:
        return rows
    if force:
        return _forgotten(latest(rows))
    gone = not_loaded(state.settings)
    if not gone.num_rows:
        return latest(rows)
    lost = pc.is_in(batch_and_path(rows), value_set=batch_and_path(gone))
    remembered = latest(rows.filter(pc.invert(lost)))
    others = latest(rows.filter(lost))
    others = others.filter(pc.invert(pc.is_in(others["path"], value_set=remembered["path"].combine_chunks())))
    # A path that stands in both keeps the higher version number, so that none is given twice.
    newest = latest(rows)
    numbers = newest["version"].take(pc.index_in(remembered["path"], value_set=newest["path"].combine_chunks()))
    remembered = remembered.set_column(KNOWN.get_field_index("version"), KNOWN.field("version"), numbers)
    return pa.concat_tables([remembered, _forgotten(others)])


def ingested_paths(settings: Settings, table: str) -> pa.Array:
    """The paths that ingest pipelines planned for the table, without files that they refused as a whole. Where a ledger
    of theirs is lost, or there is none any more, the rows of the table say what they loaded.
    """
    target = open_target(settings.table_root(table))
    names = list(_pipelines_into(settings, table, target))
    parts = [_paths_of(settings, name) for name in names]
    if target is not None and not all(_is_whole(settings, name, target) for name in names or [""]):
        parts.append(_lineage(target))
    return pa.concat_arrays(parts).unique() if parts else column([], pa.string())


def _is_whole(settings: Settings, name: str, target: DeltaTable) -> bool:
    """Whether a pipeline's ledger holds all that it committed."""
    return bool(name) and Ledger(settings, name).last_batch >= _committed(target, name)


def _forgotten(rows: pa.Table) -> pa.Table:
    sizes = column([FORGOTTEN_SIZE] * rows.num_rows, pa.int64())
    return rows.set_column(KNOWN.get_field_index("size"), KNOWN.field("size"), sizes)


def _pipelines_into(settings: Settings, table: str, target: DeltaTable | None) -> Iterator[str]:
    """The names of the pipelines with a ledger that committed to the table, or whose file says that they will."""
    for name in _states(settings):
        if name == STATE:
            continue
        if (target is not None and _committed(target, name) > NEVER) or _declares(name, settings, table):
            yield name


def _committed(target: DeltaTable, name: str) -> int:
    """The last batch of a pipeline that the target holds."""
    with storage_errors("Reading the transactions of the target", target.table_uri):
        version = target.transaction_version(app_id(name))
    return NEVER if version is None else version


def _declares(name: str, settings: Settings, table: str) -> bool:
    file = PIPELINES_DIR / f"{name}.yaml"
    if not file.is_file():
        return False
    try:
        pipeline = load_pipeline(file)
    except ConfigError:
        return False  # it cannot run as it stands, so it plans nothing
    return pipeline.ingest is not None and settings.table_root(pipeline.ingest.table) == settings.table_root(table)


def _states(settings: Settings) -> list[str]:
    if is_remote(settings.state):
        import obstore  # noqa: PLC0415  0.1 s of import that local state does without
        from obstore.store import from_url  # noqa: PLC0415

        found = obstore.list_with_delimiter(from_url(settings.state))
        return sorted(str(prefix).rstrip("/").rpartition("/")[2] for prefix in found["common_prefixes"])
    return sorted(os.listdir(settings.state)) if os.path.isdir(settings.state) else []  # noqa: PTH112, PTH208


def _paths_of(settings: Settings, pipeline: str) -> pa.Array:
    known = Ledger(settings, pipeline).known()
    if not known.num_rows:
        return column([], pa.string())
    table = open_table(settings.state_root(pipeline, "outcomes"))
    if table is not None:
        refused = read(table, ("batch", "path"), "status = 'quarantined'")
        if refused.num_rows:
            known = known.filter(pc.invert(pc.is_in(batch_and_path(known), value_set=batch_and_path(refused))))
    return known["path"].combine_chunks()


def _lineage(target: DeltaTable) -> pa.Array:
    """The files whose rows the table holds, where its rows say so."""
    if SOURCE_FILE not in {field.name for field in target.schema().fields}:
        return column([], pa.string())
    paths = read(target, (SOURCE_FILE,))[SOURCE_FILE].unique()
    return paths.drop_null() if isinstance(paths, pa.Array) else paths.combine_chunks().drop_null()
