"""The base of all sections of a pipeline file, and the field types they share."""

from collections.abc import Sized
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, Strict

from include.config import values

Items = TypeVar("Items", bound=Sized)
NOT_EMPTY = {"minItems": 1}


class Section(BaseModel):
    """Read-only; a key it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _filled(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    return text


def not_empty(items: Items) -> Items:
    """Refuse an empty list or mapping. Unlike pydantic's min_length it stays silent where the items are wrong."""
    if not items:
        raise ValueError("must not be empty")
    return items


def _schema(pattern: str) -> Any:
    return Field(json_schema_extra={"pattern": f"^{pattern}$"})


Flag = Annotated[bool, Strict()]
Count = Annotated[int, Strict(), Field(ge=1)]
Text = Annotated[str, AfterValidator(_filled)]
Name = Annotated[str, AfterValidator(values.name), _schema(values.NAME.pattern)]
Table = Annotated[str, AfterValidator(values.table)]
Place = Annotated[str, AfterValidator(values.place)]
Names = Annotated[tuple[Text, ...], AfterValidator(not_empty), Field(json_schema_extra=NOT_EMPTY)]
Duration = Annotated[
    float,
    BeforeValidator(values.duration, json_schema_input_type=str | int),
]


def check_pick(pick: str | None, latest_by: str | None) -> None:
    """`pick: latest` and `latest_by` belong together.

    Raises:
        ValueError: one is there without the other.
    """
    if pick is not None and latest_by is None:
        raise ValueError("`pick: latest` needs `latest_by`: the column whose greatest value is the latest")
    if pick is None and latest_by is not None:
        raise ValueError("`latest_by` needs `pick: latest`")
