"""The sink of a pipeline whose rows are added to the target.

Where rows of the source went (a file of an ingest pipeline was replaced), the rows that came of the same file version
go from the target, in the commit that brings the new ones. That needs the columns that say where a row is from on both
sides; without them the batch is refused. With a deduplicate step the rows of the keys that are concerned go and come
instead: what was a duplicate of a row that went is none any more.
"""

from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812

from include.ledger.outcomes import SOURCE_FILE, SOURCE_VERSION
from include.transform.outcomes import BatchFigures
from include.transform.ranges import PlannedRange
from spark_jobs.engine.frames import sql_literal
from spark_jobs.engine.transform.commit import Target
from spark_jobs.engine.transform.keyed import KeyedTable, of_keys
from spark_jobs.engine.transform.problems import changed
from spark_jobs.engine.transform.source import CHANGE_TYPE, FEED_COLUMNS
from spark_jobs.engine.transform.sources import SOURCE_TABLE, Source
from spark_jobs.engine.transform.states import persisted
from spark_jobs.engine.transform.steps import RowSteps

LINEAGE = (SOURCE_FILE, SOURCE_VERSION)


@dataclass(frozen=True)
class AppendSink:
    """Adds what the steps make of the source's new rows."""

    source: Source
    steps: RowSteps
    target: Target

    def write(self, planned: PlannedRange) -> None:
        """One commit of the target.

        Raises:
            SourceChanged: rows of the source were changed and cannot be found again in the target.
        """
        changes = planned.versions.kind == "changes"
        if changes and self.steps.memory is not None:
            self._follow_keys(planned, self.steps.memory)
            return
        if changes:
            self.steps.refuse_memory(planned)
        rows = self.steps.apply(self.source.added(planned), planned)
        figures = BatchFigures(
            rows_read=planned.versions.rows or 0, rows_loaded=None, rows_quarantined=self.steps.rows_refused
        )
        self.target.append(rows, planned, figures, self._gone(planned, rows) if changes else "")

    def _follow_keys(self, planned: PlannedRange, place: int) -> None:
        """Compute anew the rows of all keys that have rows which were added, taken away or updated."""
        seen = self.steps.seen_keys(place)
        before, after = range(place), range(place + 1, len(self.steps.steps))
        came = self.steps.part(self.source.added(planned), planned, before)
        touched = self.steps.part(self.source.feed(planned).drop(*FEED_COLUMNS), planned, before, again=True)
        shape = self.steps.part(came.limit(0), planned, after, again=True).columns
        if missing := [key for key in seen.step.keys if key not in shape]:
            raise changed(planned, f"the keys of the deduplicate step are not in the table: {', '.join(missing)}")
        with persisted(seen.keys_of(touched).unionByName(seen.keys_of(came)).distinct()) as keys:
            standing = self.steps.part(self.source.as_of(planned), planned, before, again=True)
            first = seen.again(of_keys(standing, keys), keys, planned, self.target)
            rows = self.steps.part(first, planned, after)
            with persisted(rows) as fresh:
                figures = BatchFigures(
                    rows_read=planned.versions.rows or 0,
                    rows_loaded=fresh.count(),
                    rows_quarantined=self.steps.rows_refused,
                )
                KeyedTable(self.target, planned).replace(fresh, keys, figures)

    def _gone(self, planned: PlannedRange, rows: DataFrame) -> str:
        """The predicate of the target's rows that go with the source's: those of the same versions of files."""
        feed = self.source.feed(planned)
        lineage = (*LINEAGE, SOURCE_TABLE) if planned.tables else LINEAGE
        if any(name not in frame.columns for name in lineage for frame in (feed, rows)):
            raise changed(planned, f"the columns {' and '.join(lineage)} are not on both sides")
        updated = feed.where(F.col(CHANGE_TYPE).startswith("update")).limit(1).count()
        if updated:
            raise changed(planned, "rows were updated in place")
        deleted = feed.where(F.col(CHANGE_TYPE) == "delete")
        versions = deleted.select(*lineage).distinct()
        left = self.source.as_of(planned).join(versions, on=list(lineage), how="left_semi").limit(1).count()
        if left:
            raise changed(planned, "some rows of a file version went and others stayed")
        keys = versions.collect()
        return " OR ".join(
            f"({SOURCE_FILE} = {sql_literal(path)} AND {SOURCE_VERSION} = {version}"
            + "".join(f" AND {SOURCE_TABLE} = {sql_literal(table)}" for table in tables)
            + ")"
            for path, version, *tables in keys
        )
