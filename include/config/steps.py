"""The steps of a `transform` section: what each takes, and which of them stands last."""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, model_validator

from include.config.ingest import Check
from include.config.section import Duration, Flag, Names, Section, Table, Text, check_pick, not_empty
from include.config.windows import StatefulFunction, Window

JoinKind = Literal["inner", "left", "left_semi", "left_anti"]
LAST = ("window", "stream_join", "apply_changes", "stateful")


class Deduplicate(Section):
    """Keep the row of each key that came first: by ledger batch, then by `time`, then by the row itself.

    With `order_by` (SQL expressions, each with ASC or DESC), as the last step, the first row by that order is kept: one
    that comes later takes the place of the one in the table. NULL is last where it does not say NULLS FIRST.
    With `within` (seconds), which needs `time`, a row is a duplicate only of a kept one at most that far from it. With
    both, each micro-batch takes the rows of its keys again from the whole source, in that order.
    Rows whose keys are equal are duplicates also where a key is NULL.
    """

    keys: Names
    time: Text | None = None
    within: Duration | None = None
    order_by: Names | None = None

    @model_validator(mode="after")
    def _time_of_within(self) -> Self:
        if self.within is not None and self.time is None:
            raise ValueError("`within` needs `time`: the column that says when a row happened")
        if self.order_by is not None and self.time is not None and self.within is None:
            raise ValueError("`order_by` says which row is kept: write it without `time`, or with `time` and `within`")
        return self


class Join(Section):
    """Add columns of another table, at the version that was pinned with the micro-batch before its first write.

    `cached` looks them up in a snapshot of that table. `columns` are those of the table that are added, by default all.
    `pick: latest` takes, of several rows of one key, the one whose `latest_by` is the greatest; NULL is the least.
    """

    table: Table
    on: Names
    how: JoinKind = "inner"
    columns: Names | None = None
    cached: Flag = False
    pick: Literal["latest"] | None = None
    latest_by: Text | None = None

    @model_validator(mode="after")
    def _picked_by(self) -> Self:
        check_pick(self.pick, self.latest_by)
        return self


class StreamJoin(Section):
    """Join with another table that grows: rows of equal `on` whose times are near.

    A row of the other table matches when its `other_time` is between `time` - `before` and `time` + `after` (seconds).
    """

    table: Table
    on: Names
    time: Text
    other_time: Text
    before: Duration = 0.0
    after: Duration = 0.0
    how: Literal["inner", "left"] = "inner"
    columns: Names | None = None


class ApplyChanges(Section):
    """Keep the newest row of each key (`scd: 1`), or all of them with `__start_at` and `__end_at` (`scd: 2`).

    Newest is by the column `sequence_by`; of equal ones a delete wins, then the greater row. A row for which the SQL
    boolean `delete_when` is true ends its key there; it may come before the rows that it ends.
    """

    keys: Names
    sequence_by: Text
    delete_when: Text | None = None
    scd: Literal[1, 2] = 1


class Step(Section):
    """One step of a transformation: exactly one of its keys."""

    filter: Text | None = None
    select: Names | None = None
    checks: Annotated[tuple[Check, ...], AfterValidator(not_empty)] | None = None
    custom: Text | None = None
    deduplicate: Deduplicate | None = None
    join: Join | None = None
    window: Window | None = None
    stream_join: StreamJoin | None = None
    apply_changes: ApplyChanges | None = None
    stateful: StatefulFunction | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise ValueError(f"must hold exactly one of {', '.join(type(self).model_fields)}")
        return self

    @property
    def kind(self) -> str:
        """Which of its keys it holds."""
        return next(iter(self.model_fields_set))

    @property
    def last(self) -> bool:
        """True where it says how rows enter the table."""
        return self.kind in LAST or (self.deduplicate is not None and self.deduplicate.order_by is not None)

    @property
    def rereads(self) -> bool:
        """True where it takes rows of earlier micro-batches again from the source."""
        found = self.deduplicate
        return found is not None and found.order_by is not None and found.within is not None

    @property
    def body(self) -> Any:
        """What stands under that key."""
        return getattr(self, self.kind)


def in_order(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """The same steps.

    Raises:
        ValueError: one that must be the last is not.
    """
    for step in not_empty(steps)[:-1]:
        if step.last:
            what = "deduplicate with order_by" if step.kind == "deduplicate" else step.kind
            raise ValueError(
                f"{what} must be the last step: it says how rows enter the table. "
                "What comes after it belongs into a pipeline on that table"
            )
    return steps
