"""The `transform` section: Delta, or made-up events -> steps -> Delta."""

from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from include.config.section import NOT_EMPTY, Section, Table
from include.config.sources import Events, Generate, Source, TransformOptions
from include.config.steps import Step, in_order
from include.config.values import shown


class Transform(Section):
    """Delta -> steps -> Delta."""

    source: Source = Field(
        description="The Delta table whose changes are read, or several, or {generate: {...}}: made-up events."
    )
    options: TransformOptions = TransformOptions()
    steps: Annotated[tuple[Step, ...], AfterValidator(in_order), Field(json_schema_extra=NOT_EMPTY)]
    table: Table = Field(description="The Delta table that is written.")

    @property
    def tables(self) -> tuple[str, ...]:
        """The source tables; none where the events are made up."""
        if isinstance(self.source, Events):
            return ()
        return (self.source,) if isinstance(self.source, str) else self.source

    @property
    def generate(self) -> Generate | None:
        """The settings of made-up events; None where tables are read."""
        return self.source.generate if isinstance(self.source, Events) else None

    @property
    def source_name(self) -> str:
        """The source in words."""
        return ", ".join(self.tables) or "the event generator"

    @property
    def last(self) -> Step | None:
        """The step that says how rows enter the table; None where they are appended."""
        return self.steps[-1] if self.steps[-1].last else None

    @property
    def row_steps(self) -> tuple[Step, ...]:
        """The steps before it."""
        return self.steps if self.last is None else self.steps[:-1]

    @property
    def joins_cached(self) -> bool:
        """Whether a step joins with a snapshot of a table."""
        return any(step.join is not None and step.join.cached for step in self.steps)

    @property
    def pinned_tables(self) -> tuple[str, ...]:
        """The tables that micro-batches read at a pinned version, each once."""
        tables = [step.body.table for step in self.steps if step.kind in ("join", "stream_join")]
        return tuple(dict.fromkeys(tables))

    @property
    def stateful(self) -> bool:
        """True where Spark's own state is used."""
        last = self.steps[-1]
        return last.stateful is not None or (last.window is not None and last.window.stateful)

    @property
    def engine(self) -> str | None:
        """How its windows are aggregated, in words; None without a window step."""
        last = self.steps[-1]
        if self.stateful:
            return "stateful (Spark's own state, with a watermark)"
        return None if last.window is None else "merge (partial aggregates, merged into the table)"

    @model_validator(mode="after")
    def _not_itself(self) -> Self:
        if self.table in (*self.tables, *self.pinned_tables):
            raise ValueError(f"`table` must not be read by its own pipeline: {shown(self.table)}")
        return self

    @model_validator(mode="after")
    def _source_is_whole(self) -> Self:
        if not self.steps[-1].rereads:
            return self
        what = "deduplicate with `order_by` and `within` takes rows again from the source"
        if self.options.skip_change_commits or self.options.ignore_deletes:
            raise ValueError(
                f"{what}, which must not have lost them: write it without skipChangeCommits, ignoreDeletes"
            )
        if any(step.deduplicate is not None for step in self.row_steps):
            raise ValueError(
                f"{what}, which a deduplicate step before it lets through once: give that its own pipeline"
            )
        return self
