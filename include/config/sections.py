"""The small sections: copy_into and cache."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from include.config.section import NOT_EMPTY, Duration, Names, Section, Table, Text, check_pick, not_empty


class CopyStatement(Section):
    """One COPY INTO statement; each `:name` in it where a text may stand is the parameter of that name."""

    sql: Text
    parameters: dict[Text, str] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _text_alone(cls, value: object) -> object:
        return {"sql": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _parses(self) -> Self:
        # Imported here: the SQL parser costs a fifth of a second, which files without the section do not pay.
        from include.copy_into.errors import StatementRefused  # noqa: PLC0415
        from include.copy_into.statement import read_statement  # noqa: PLC0415

        try:
            statement = read_statement(self.sql, self.parameters)
        except StatementRefused as error:
            raise ValueError(f"[{error.error_class}] {error.message} {error.remedy}") from None
        if statement.validate is not None:
            raise ValueError("VALIDATE loads nothing: use it with `sluice copy-into`")
        return self


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


CopyInto = Annotated[
    tuple[CopyStatement, ...],
    BeforeValidator(_listed),
    AfterValidator(not_empty),
    Field(json_schema_extra=NOT_EMPTY),
]


class Refresh(Section):
    """Adaptive: a changed table is read again after `min` seconds at the soonest, after `max` at the latest."""

    least: Duration = Field(alias="min")
    most: Duration = Field(alias="max")

    @model_validator(mode="after")
    def _order(self) -> Self:
        if self.least > self.most:
            raise ValueError("`min` must not be longer than `max`")
        return self


class Cache(Section):
    """A snapshot of a table's columns, kept for joins by key: made by each run after the table changed.

    With `refresh`, runs that find it too early leave it for later; joins take the newest version all the same.
    """

    table: Table
    keys: Names
    columns: Names
    refresh: Refresh | None = None
    pick: Literal["latest"] | None = None
    latest_by: Text | None = None

    @model_validator(mode="after")
    def _picked_by(self) -> Self:
        check_pick(self.pick, self.latest_by)
        return self
