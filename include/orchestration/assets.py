"""Tables as Airflow assets: one pipeline writes what another waits for. Airflow connects them by name and URI."""

from pathlib import Path

from airflow.sdk import Asset

from include.config.settings import Settings, is_remote

ASSET_GROUP = "sluice"


def table_asset(table: str, settings: Settings) -> Asset:
    """The asset of a table, named as the pipeline files name it; the URI is where it lies."""
    root = settings.table_root(table)
    return Asset(name=table, uri=root if is_remote(root) else Path(root).as_uri(), group=ASSET_GROUP)
