"""The `transform` section: Delta -> steps -> Delta."""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, model_validator

from include.algebra.measures import measure
from include.config import values
from include.config.ingest import Check
from include.config.section import (
    NOT_EMPTY,
    Count,
    Duration,
    Flag,
    Names,
    Section,
    Table,
    Text,
    check_pick,
    not_empty,
)
from include.config.values import shown

Bytes = Annotated[int, BeforeValidator(values.byte_size, json_schema_input_type=str | int)]
JoinKind = Literal["inner", "left", "left_semi", "left_anti"]
STATELESS = ("filter", "select", "checks", "join", "custom")
LAST = ("window", "stream_join", "apply_changes", "stateful")


class Deduplicate(Section):
    """Keep the row of each key that came first: by ledger batch, then by `time`, then by the row itself.

    With `order_by` (SQL expressions, each with ASC or DESC), as the last step, the first row by that order is kept: one
    that comes later takes the place of the one in the table. NULL is last where it does not say NULLS FIRST.
    With `within` (seconds), which needs `time`, a row is a duplicate only of a kept one at most that far from it.
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
        if self.order_by is not None and self.time is not None:
            raise ValueError("`order_by` says which row is kept, for ever: write it without `time` and `within`")
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


class Late(Section):
    """What becomes of rows that are more than `after` seconds older than the newest row of earlier micro-batches."""

    after: Duration
    action: Literal["merge", "divert"] = "merge"


def _late(value: object) -> object:
    return value if isinstance(value, dict | Late) else {"after": value}


def _measures(measures: dict[str, str], info: ValidationInfo) -> dict[str, str]:
    """Refuse what cannot be merged, unless Spark's own state is to compute it."""
    if info.data.get("engine") == "stateful":
        return not_empty(measures)
    late = info.data.get("late")
    stateful = info.data.get("engine") is None and late is not None and late.action == "divert"
    for name, text in not_empty(measures).items():
        try:
            measure(name, text, lambda _: "double")
        except ValueError as error:
            if stateful and "cannot be merged" in str(error):
                continue
            hint = "; or write `late: {after: 10 minutes, action: divert}`: then Spark's own state computes it"
            raise ValueError(f"{name}: {error}{hint if 'cannot be merged' in str(error) else ''}") from error
    return measures


class Window(Section):
    """Aggregate by time. `size`, `slide` and `gap` are in seconds; `measures` are SQL aggregates by name.

    `time` is a SQL expression of a timestamp; a row where it is NULL goes to the late table. Rows with a NULL key are
    a group of their own.

    `engine` merge, the default, merges the measures of each micro-batch into the table. Engine stateful is Spark's own
    state with a watermark: for measures that cannot be merged, where it is the default if late rows are diverted. It
    writes windows as they change (`output: update`) or once they are final (append; sessions always).
    """

    type: Literal["tumbling", "sliding", "session"]
    time: Text
    size: Duration | None = None
    slide: Duration | None = None
    gap: Duration | None = None
    keys: tuple[Text, ...] = ()
    late: Annotated[Late, BeforeValidator(_late, json_schema_input_type=str | int | Late)] | None = None
    engine: Literal["merge", "stateful"] | None = None
    output: Literal["update", "append"] | None = None
    measures: Annotated[dict[Text, Text], AfterValidator(_measures), Field(json_schema_extra={"minProperties": 1})]

    @model_validator(mode="after")
    def _lengths(self) -> Self:
        wanted = {"tumbling": ("size",), "sliding": ("size", "slide"), "session": ("gap",)}[self.type]
        for name in ("size", "slide", "gap"):
            written = getattr(self, name)
            if (written is not None) != (name in wanted):
                raise ValueError(f"windows of type {self.type} have {' and '.join(wanted)}, and no other length")
            if written is not None and written <= 0:
                raise ValueError(f"`{name}` must be more than 0")
        if self.type == "sliding" and (self.slide or 0) > (self.size or 0):
            raise ValueError("`slide` must not be longer than `size`: rows between two windows would be lost")
        return self

    @property
    def stateful(self) -> bool:
        """True where Spark's own state aggregates, and not the merge of partial aggregates."""
        return self.engine == "stateful" or (self.engine is None and not all(map(_mergeable, self.measures.values())))

    @property
    def output_mode(self) -> Literal["update", "append"]:
        """What a stateful engine writes."""
        return self.output or ("append" if self.type == "session" else "update")

    @model_validator(mode="after")
    def _state(self) -> Self:
        if not self.stateful:
            if self.output is not None:
                raise ValueError(
                    "`output` goes with `engine: stateful`: the merge engine writes windows as they change"
                )
            return self
        if self.late is None or self.late.action != "divert":
            raise ValueError("engine stateful needs a watermark: `late: {after: 10 minutes, action: divert}`")
        if self.type == "session" and self.output == "update":
            raise ValueError("sessions of engine stateful come when they are final: `output: append`")
        return self

    @model_validator(mode="after")
    def _names(self) -> Self:
        taken = ["window_start", "window_end", *self.keys, *self.measures]
        twice = sorted({name for name in taken if [other.lower() for other in taken].count(name.lower()) > 1})
        if odd := [name for name in self.measures if "__" in name or name.startswith("_")]:
            raise ValueError(f"measures must not begin with _ or hold __, which the states' names do: {', '.join(odd)}")
        if twice:
            raise ValueError(f"two columns of the table would be named {', '.join(twice)}")
        return self


def _mergeable(text: str) -> bool:
    try:
        measure("measure", text, lambda _: "double")
    except ValueError:
        return False
    return True


class StatefulFunction(Section):
    """The user's `module:function` over a stream (DataFrame -> DataFrame), with Spark's own state: transformWithState.

    The stream has a watermark on the column `time`, `late.after` behind the newest one; rows that are later stand in
    the late table. Its result is appended, or with `keys` put in the place of the rows of equal keys (update mode).
    """

    function: Text
    time: Text
    late: Annotated[Late, BeforeValidator(_late, json_schema_input_type=str | int | Late)]
    keys: Names | None = None

    @model_validator(mode="after")
    def _diverts(self) -> Self:
        if self.late.action != "divert":
            raise ValueError("a state needs a watermark: `late: {after: 10 minutes, action: divert}`")
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
    def body(self) -> Any:
        """What stands under that key."""
        return getattr(self, self.kind)


def _steps(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    for step in not_empty(steps)[:-1]:
        if step.last:
            what = "deduplicate with order_by" if step.kind == "deduplicate" else step.kind
            raise ValueError(
                f"{what} must be the last step: it says how rows enter the table. "
                "What comes after it belongs into a pipeline on that table"
            )
    return steps


class TransformOptions(Section):
    """How the source's changes are cut into micro-batches, and what changed rows mean.

    A micro-batch ends after `maxVersionsPerTrigger` versions of the source, or at `maxBytesPerTrigger`, whatever comes
    first; one version is never cut. `skipChangeCommits` leaves out the source's updates and deletes, `ignoreDeletes`
    only commits that take whole files away and add none.
    """

    max_versions_per_trigger: Count = Field(default=1000, alias="maxVersionsPerTrigger")
    max_bytes_per_trigger: Bytes = Field(
        default=1 << 30, alias="maxBytesPerTrigger", json_schema_extra={"default": "1g"}
    )
    skip_change_commits: Flag = Field(default=False, alias="skipChangeCommits")
    ignore_deletes: Flag = Field(default=False, alias="ignoreDeletes")


class Transform(Section):
    """Delta -> steps -> Delta."""

    source: Table = Field(description="The Delta table whose changes are read.")
    options: TransformOptions = TransformOptions()
    steps: Annotated[tuple[Step, ...], AfterValidator(_steps), Field(json_schema_extra=NOT_EMPTY)]
    table: Table = Field(description="The Delta table that is written.")

    @property
    def last(self) -> Step | None:
        """The step that says how rows enter the table; None where they are appended."""
        return self.steps[-1] if self.steps[-1].last else None

    @property
    def row_steps(self) -> tuple[Step, ...]:
        """The steps before it."""
        return self.steps if self.last is None else self.steps[:-1]

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
        if self.table in (self.source, *self.pinned_tables):
            raise ValueError(f"`table` must not be read by its own pipeline: {shown(self.table)}")
        return self
