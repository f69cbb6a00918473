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
from spark_jobs.engine.transform.source import CHANGE_TYPE, Source, SourceChanged
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
        rows = self.steps.apply(self.source.added(planned), planned)
        gone = self._gone(planned, rows) if planned.versions.kind == "changes" else ""
        self.target.append(rows, planned, BatchFigures(rows_read=planned.versions.rows or 0, rows_loaded=None), gone)

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


def changed(planned: PlannedRange, why: str) -> SourceChanged:
    """The refusal of a range whose changes cannot be followed."""
    versions = planned.versions
    return SourceChanged(
        f"Rows of the source were updated or deleted in versions {versions.first} to {versions.last}, and these steps "
        f"cannot follow: {why}.",
        remedy="Set options: {skipChangeCommits: true} to leave such versions out, "
        "or read the table with an apply_changes or a window step.",
    )
