"""The cached joins of one run: which snapshot serves which join, and when the uncached join has to."""

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F  # noqa: N812

from include.cache.cache import DimensionCache, Held, MemoryPressure
from include.cache.dimension import Dimension, TableVersion
from include.cache.errors import CannotCache, DuplicateKeys
from include.cache.figures import CacheFigures
from include.cache.memory import Memory, measure
from include.cache.versions import VersionGone, open_version
from include.config.errors import StorageError
from include.config.settings import Settings
from spark_jobs.engine.cache.lookup import Counters, look_up

# Seconds after which a snapshot that could not be made is tried again: making one in vain costs as much as the join.
RETRY_AFTER = 60.0
log = logging.getLogger(__name__)
_RANK = "_sluice_rank"


@dataclass
class _Served:
    """A dimension of this run: its cache, its counters, the snapshots held so far by version.

    `failed`: until when a version's snapshot is not tried again, and what it failed of.
    """

    cache: DimensionCache
    counters: Counters
    held: dict[TableVersion, Held] = field(default_factory=dict)
    failed: dict[TableVersion, tuple[float, Exception]] = field(default_factory=dict)
    noted: bool = False  # that this run uses it


class CachedJoins:
    """Joins micro-batches with snapshots, and counts. Snapshots stay until `close`.

    `memory` measures what is left before each join.
    """

    def __init__(self, spark: SparkSession, settings: Settings, memory: Callable[[], Memory] = measure) -> None:
        self._spark = spark
        self._settings = settings
        self._memory = memory
        self._served: dict[Dimension, _Served] = {}
        self._columns: dict[tuple[str, TableVersion], tuple[str, ...]] = {}

    def join(
        self,
        frame: DataFrame,
        dimension: Dimension,
        version: TableVersion,
        how: str,
        uncached: Callable[[], DataFrame],
    ) -> DataFrame:
        """`frame` joined with one version of a dimension: its own columns first, then `dimension.columns`.

        `uncached` is the same join without the cache; it serves while the cache cannot.

        Raises:
            DuplicateKeys: the dimension has two rows of one key in that version.
        """
        served = self._serving(dimension)
        added = () if how in ("left_semi", "left_anti") else dimension.columns
        try:
            self._refuse_other_hosts()
            held = self._held(served, version)
            if served.cache.frugal:
                log.warning("memory is short: of %s no page is kept after a look-up", dimension.table)
            return look_up(frame, held, how, added, served.counters, frugal=served.cache.frugal)
        except (MemoryPressure, CannotCache, VersionGone, StorageError) as reason:
            served.cache.figures.note_fallback(str(reason).splitlines()[0])
            log.warning("%s is joined without its cache: %s", dimension.table, str(reason).splitlines()[0])
            return uncached()

    def columns_at(self, root: str, version: TableVersion) -> tuple[str, ...] | None:
        """The names of a table's columns in one version; None where that cannot be read any more."""
        key = (root, version)
        if key not in self._columns:
            try:
                table = open_version(root, version)
            except VersionGone:
                return None
            self._columns[key] = tuple(field.name for field in table.schema().fields)
        return self._columns[key]

    def figures(self) -> list[CacheFigures]:
        """What was done so far, one for each dimension."""
        found = []
        for served in self._served.values():
            figures = served.cache.figures
            figures.rows_matched = served.counters.matched.value
            figures.rows_unmatched = served.counters.unmatched.value
            figures.look_up_seconds = round(served.counters.seconds.value, 3)
            found.append(figures)
        return found

    def close(self) -> None:
        """Let the snapshots go."""
        for served in self._served.values():
            _let_go(served)

    def _serving(self, dimension: Dimension) -> _Served:
        if dimension not in self._served:
            cache = DimensionCache(self._settings.home, dimension, self._memory)
            self._served[dimension] = _Served(cache, Counters.of(self._spark))
        return self._served[dimension]

    def _held(self, served: _Served, version: TableVersion) -> Held:
        if not served.noted:
            served.cache.note_use()
            served.noted = True
        standing = served.held.get(version)
        if standing is not None:
            served.cache.keep_using(standing)
            return standing
        until, failure = served.failed.get(version, (0.0, None))
        if failure is not None and time.monotonic() < until:
            raise failure
        _let_go(served)  # batches go from older versions to newer ones
        try:
            served.held[version] = served.cache.hold(version)
        except (CannotCache, StorageError) as error:
            wait = math.inf if isinstance(error, CannotCache) else RETRY_AFTER
            served.failed[version] = (time.monotonic() + wait, error)
            raise
        return served.held[version]

    def _refuse_other_hosts(self) -> None:
        """Snapshots are files of this host, or of storage that all hosts see.

        Raises:
            CannotCache: executors may run elsewhere.
        """
        master = self._spark.sparkContext.master or ""
        if not master.startswith("local") and not self._settings.shared_home:
            raise CannotCache(
                f"The executors of {master} may run on other hosts, which do not have the snapshot.",
                remedy="Set SLUICE_SHARED_HOME=true where they see SLUICE_HOME at its path, or take a local master.",
            )


def _let_go(served: _Served) -> None:
    for held in served.held.values():
        held.lease.close()
    served.held.clear()


def refuse_duplicates(other: DataFrame, keys: Sequence[str], table: str) -> None:
    """Refuse what the cached join refuses, in front of an uncached one that takes its place.

    Raises:
        DuplicateKeys: two rows of `other` have one key.
    """
    keyed = other.dropna(subset=list(keys))
    twice = keyed.groupBy(*keys).count().where(F.col("count") > 1).take(1)
    if twice:
        key = ", ".join(f"{name} = {twice[0][name]!r}" for name in keys)
        raise DuplicateKeys(
            f"The dimension {table} has {twice[0]['count']} rows of the key {key}.",
            remedy="Give it one row for each key, or name further columns in the key.",
        )


def latest(other: DataFrame, keys: Sequence[str], columns: Sequence[str], by: str, table: str) -> DataFrame:
    """Of the rows of one key the one whose `by` is the greatest, as a snapshot with `latest_by` has it.

    Raises:
        DuplicateKeys: two rows that differ in `columns` are both the latest of their key.
    """
    rank = F.rank().over(Window.partitionBy(*keys).orderBy(F.col(by).desc_nulls_last()))
    best = other.dropna(subset=list(keys)).select(*columns, rank.alias(_RANK)).where(F.col(_RANK) == 1).drop(_RANK)
    text = F.to_json(F.struct(*columns), {"ignoreNullFields": "false"})
    ties = best.groupBy(*keys).agg(F.min(text).alias("least"), F.max(text).alias("most")).where("least <> most").take(1)
    if ties:
        key = ", ".join(f"{name} = {ties[0][name]!r}" for name in keys)
        raise DuplicateKeys(
            f"The dimension {table} has several latest rows of the key {key}, which differ.",
            remedy="Name a column in `latest_by` that tells them apart.",
        )
    number = F.row_number().over(Window.partitionBy(*keys).orderBy(F.lit(1)))
    return best.select(*columns, number.alias(_RANK)).where(F.col(_RANK) == 1).drop(_RANK)
