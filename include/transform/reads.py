"""What a planning finds new in the source of a transformation: a table, several tables, or the event generator."""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Protocol

from deltalake import DeltaTable

from include.config.errors import TableNotFound
from include.config.settings import Settings
from include.config.sources import Generate, TransformOptions
from include.config.transform import Transform
from include.generator.events import Stream, batches
from include.ledger.tables import open_table, storage_errors
from include.transform.commits import CHANGE_FEED, HistoryLost, read_commits
from include.transform.ranges import PlannedRange, TableRange, VersionRange, cut, nothing_of, side_by_side, together


class Reads(Protocol):
    """The source as it is now."""

    @property
    def words(self) -> str:
        """What can be read of it, in words."""

    @property
    def version(self) -> int | None:
        """The version of the one source table; None where there is not one."""

    def new(self, last: PlannedRange | None, base: PlannedRange) -> list[PlannedRange]:
        """What came since the batch `last`, each as `base` with a range; their numbers are not set.

        Raises:
            HistoryLost: what was not read yet is gone, or the source is not what it was.
        """

    def nothing(self, last: PlannedRange) -> PlannedRange:
        """A batch after `last` that reads nothing of the source."""


def open_source(transform: Transform, settings: Settings, pipeline: str) -> Reads:
    """The source of a pipeline.

    Raises:
        TableNotFound: a source table is not there.
        StorageError: one cannot be read.
    """
    if transform.generate is not None:
        return MadeUp(transform.generate, pipeline)
    tables = [OneTable.open(name, settings, pipeline, transform.options) for name in transform.tables]
    return tables[0] if len(tables) == 1 else ManyTables(tables)


@dataclass(frozen=True)
class OneTable:
    """A table."""

    name: str
    location: str
    table: DeltaTable
    pipeline: str
    options: TransformOptions

    @classmethod
    def open(cls, name: str, settings: Settings, pipeline: str, options: TransformOptions) -> "OneTable":
        """The table as it is now.

        Raises:
            TableNotFound: it is not there.
        """
        return cls(name, settings.table_root(name), opened(name, settings, "transform.source"), pipeline, options)

    @property
    def words(self) -> str:
        """See Reads."""
        return f"{self.name} up to its version {self.version}"

    @property
    def version(self) -> int:
        """Its newest version."""
        return int(self.table.version())

    @property
    def id(self) -> str:
        """What tells it from a table made anew at its place."""
        return table_id(self.table)

    def new(self, last: PlannedRange | None, base: PlannedRange) -> list[PlannedRange]:
        """See Reads."""
        if last is not None and last.tables:
            raise no_longer_named(self.pipeline, {*last.tables} - {self.name})
        known = None if last is None else TableRange(last.table_id, last.versions)
        return [replace(base, table_id=self.id, versions=item) for item in self.ranges(known)]

    def nothing(self, last: PlannedRange) -> PlannedRange:
        """See Reads."""
        return replace(last, versions=nothing_of(last.versions))

    def ranges(self, known: TableRange | None) -> list[VersionRange]:
        """Its new ranges, after what is known of it.

        Raises:
            HistoryLost: versions that were not read yet are gone, or it was made anew.
        """
        if known is None:
            return self._snapshot()
        if self.id != known.table_id or self.version < known.versions.last:
            raise HistoryLost(
                f"{self.name} is not the table that pipeline {self.pipeline} has read up to version "
                f"{known.versions.last}: it was made anew.",
                remedy="Give the pipeline another name and another table: then it reads all of it. "
                f"Or restore {self.location}.",
            )
        return list(
            cut(
                read_commits(self.location, known.versions.last + 1, self.version),
                self.options.max_versions_per_trigger,
                self.options.max_bytes_per_trigger,
                feed=known.versions.feed,
                skip_changes=self.options.skip_change_commits,
                ignore_deletes=self.options.ignore_deletes,
            )
        )

    def unread(self) -> VersionRange:
        """Nothing of it, as it is now."""
        return VersionRange("none", self.version, self.version, 0, 0, self._feed())

    def _snapshot(self) -> list[VersionRange]:
        """The table as it is now: nothing of its history need be there any more. An empty one is no work."""
        with storage_errors("Reading the files of the source", self.location):
            import pyarrow as pa  # noqa: PLC0415

            files = pa.RecordBatchReader.from_stream(self.table.get_add_actions(flatten=True)).read_all()
        if not files.num_rows:
            return []
        counts, version = files["num_records"].to_pylist(), self.version
        rows = None if None in counts else sum(counts)
        return [VersionRange("snapshot", version, version, rows, sum(files["size_bytes"].to_pylist()), self._feed())]

    def _feed(self) -> bool:
        return str(self.table.metadata().configuration.get(CHANGE_FEED, "false")).lower() == "true"


@dataclass(frozen=True)
class ManyTables:
    """Several tables: a batch has a durable range of each."""

    tables: list[OneTable]

    @property
    def words(self) -> str:
        """See Reads."""
        return ", ".join(table.words for table in self.tables)

    @property
    def version(self) -> None:
        """See Reads."""
        return

    def new(self, last: PlannedRange | None, base: PlannedRange) -> list[PlannedRange]:
        """See Reads. A table that was added to the list since then is read from its snapshot on."""
        known = self._known(last)
        fresh = {table.name: table.ranges(known.get(table.name)) for table in self.tables}
        standing = {
            table.name: known[table.name].versions if table.name in known else table.unread() for table in self.tables
        }
        return [self._batch(base, ranges) for ranges in side_by_side(fresh, standing)]

    def nothing(self, last: PlannedRange) -> PlannedRange:
        """See Reads."""
        return self._batch(last, {name: nothing_of(part.versions) for name, part in last.tables.items()})

    def _batch(self, base: PlannedRange, ranges: Mapping[str, VersionRange]) -> PlannedRange:
        ids = {table.name: table.id for table in self.tables}
        parts = {name: TableRange(ids[name], versions) for name, versions in ranges.items()}
        return replace(base, table_id="", versions=together(parts), tables=parts)

    def _known(self, last: PlannedRange | None) -> Mapping[str, TableRange]:
        if last is None:
            return {}
        # While the pipeline had one source its name was not written; the table's id tells which it was.
        one = TableRange(last.table_id, last.versions)
        known = last.tables or {table.name: one for table in self.tables if table.id == last.table_id}
        if gone := {*known} - {table.name for table in self.tables} or (set() if known else {"its first one"}):
            raise no_longer_named(self.tables[0].pipeline, gone)
        return known


@dataclass(frozen=True)
class MadeUp:
    """The built-in event generator. Its settings decide the events, so they are its identity."""

    generate: Generate
    pipeline: str

    @property
    def words(self) -> str:
        """See Reads."""
        return "made-up events"

    @property
    def version(self) -> None:
        """See Reads."""
        return

    def new(self, last: PlannedRange | None, base: PlannedRange) -> list[PlannedRange]:
        """See Reads."""
        settings = generator_id(self.generate)
        if last is not None and last.table_id != settings:
            raise HistoryLost(
                f"transform.source: generate: the settings of pipeline {self.pipeline} are not those of its first "
                f"{last.versions.last} batches: the events would be other ones.",
                remedy="Write them as they were (`batches` and `per_run` may change), or give the pipeline another "
                "name and another table.",
            )
        begun = 0 if last is None else last.versions.last
        end = begun + self.generate.per_run
        end = end if self.generate.batches is None else min(end, self.generate.batches)
        made = islice(batches(stream_of(self.generate, end), begun), end - begun)
        return [
            replace(base, table_id=settings, versions=VersionRange("generated", number, number, len(events), 0, True))
            for number, events in enumerate(made, begun + 1)
        ]

    def nothing(self, last: PlannedRange) -> PlannedRange:
        """See Reads."""
        return replace(last, versions=nothing_of(last.versions))


def stream_of(generate: Generate, last: int) -> Stream:
    """What the generator makes, up to the batch number `last` (from 1)."""
    names = ("rate", "seconds", "late", "duplicates", "users", "skew", "seed")
    return Stream(batches=last, **{name: getattr(generate, name) for name in names})


def generator_id(generate: Generate) -> str:
    """What tells one generator from another: all that decides its events."""
    written = generate.model_dump(exclude={"batches", "per_run"})
    return f"generate:{hashlib.sha256(json.dumps(written, sort_keys=True).encode()).hexdigest()[:16]}"


def no_longer_named(pipeline: str, tables: Collection[str]) -> HistoryLost:
    """The refusal of a pipeline that has read rows of tables which are not among its sources now."""
    return HistoryLost(
        f"Pipeline {pipeline} has read rows of a source table that it does not name any more: "
        f"{', '.join(sorted(tables))}.",
        remedy="Name it again, or give the pipeline another name and another table.",
    )


def table_id(table: DeltaTable) -> str:
    """The id that Delta gave the table when it was made."""
    return str(table.metadata().id)


def opened(name: str, settings: Settings, what: str) -> DeltaTable:
    """A table that must be there.

    Raises:
        TableNotFound: it is not.
    """
    table = open_table(settings.table_root(name))
    if table is None:
        raise TableNotFound(
            f"There is no Delta table {name} ({what}) at {settings.table_root(name)}.",
            remedy="Run the pipeline that writes it first, or correct the name.",
            table=name,
        )
    return table
