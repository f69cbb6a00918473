"""The steps of an `ingest` pipeline: discover the files, count their outcomes."""

from collections.abc import Mapping
from typing import Any, cast

from include.config.pipeline import Pipeline
from include.config.result import Figures, FileCounts, RowCounts
from include.config.settings import Settings
from include.ledger.discover import Discovery, discover
from include.ledger.outcomes import run_figures
from include.ledger.target import table_version
from include.submit.sections import Plan


class IngestSteps:
    """See include.submit.sections.SectionSteps."""

    def plan(self, pipeline: Pipeline, settings: Settings, run_id: str) -> Discovery:
        """Plan the new file versions; what became of files since the last run is put in order."""
        return discover(pipeline, settings, run_id)

    def restored(self, found: Mapping[str, Any]) -> Discovery:
        """The discovery from its JSON form."""
        return Discovery.from_dict(found)

    def figures(self, pipeline: Pipeline, settings: Settings, plan: Plan) -> Figures:
        """Counted from the outcomes of the run."""
        discovery, figures = cast(Discovery, plan), run_figures(settings, pipeline.name, plan.run_id)
        return Figures(
            files=FileCounts(
                discovered=discovery.discovered,
                loaded=figures.files_loaded,
                quarantined=figures.files_quarantined,
                skipped=discovery.skipped,
                waiting=discovery.waiting,
            ),
            rows=RowCounts(
                loaded=figures.rows_loaded,
                rescued=figures.rows_rescued,
                quarantined=figures.rows_quarantined,
                late=figures.rows_late,
            ),
            batches=figures.batches,
            table_version=table_version(settings, pipeline.ingestion().table),
            schema_version=figures.schema_version,
        )
