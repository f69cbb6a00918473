"""The sink of a pipeline whose rows are added to the target.

Where rows of the source went (a file of an ingest pipeline was replaced), the rows that came of the same file version
go from the target, in the commit that brings the new ones. That needs the columns that say where a row is from on both
sides; without them the batch is refused.
"""

from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812

from include.ledger.outcomes import SOURCE_FILE, SOURCE_VERSION
from include.transform.outcomes import BatchFigures
from include.transform.ranges import PlannedRange
from spark_jobs.engine.transform.commit import Target
from spark_jobs.engine.transform.problems import changed
from spark_jobs.engine.transform.source import CHANGE_TYPE, Source
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
        if changes:
            self.steps.refuse_memory(planned)
        rows = self.steps.apply(self.source.added(planned), planned)
        figures = BatchFigures(
            rows_read=planned.versions.rows or 0, rows_loaded=None, rows_quarantined=self.steps.rows_refused
        )
        self.target.append(rows, planned, figures, self._gone(planned, rows) if changes else "")

    def _gone(self, planned: PlannedRange, rows: DataFrame) -> str:
        """The predicate of the target's rows that go with the source's: those of the same versions of files."""
        feed = self.source.feed(planned)
        if any(name not in frame.columns for name in LINEAGE for frame in (feed, rows)):
            raise changed(planned, f"the columns {' and '.join(LINEAGE)} are not on both sides")
        updated = feed.where(F.col(CHANGE_TYPE).startswith("update")).limit(1).count()
        if updated:
            raise changed(planned, "rows were updated in place")
        deleted = feed.where(F.col(CHANGE_TYPE) == "delete")
        versions = deleted.select(*LINEAGE).distinct()
        left = self.source.as_of(planned).join(versions, on=list(LINEAGE), how="left_semi").limit(1).count()
        if left:
            raise changed(planned, "some rows of a file version went and others stayed")
        keys = versions.collect()
        return " OR ".join(
            f"({SOURCE_FILE} = {literal(path)} AND {SOURCE_VERSION} = {version})" for path, version in keys
        )


def literal(text: str) -> str:
    """A text as a SQL literal."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
