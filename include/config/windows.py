"""The steps that aggregate by time: windows, and functions of the user's over a stream with a state."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, model_validator

from include.algebra.measures import measure
from include.config.section import Duration, Names, Section, Text, not_empty


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
