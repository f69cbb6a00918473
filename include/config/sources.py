"""Where the rows of a `transform` section come from, and how they are cut into micro-batches."""

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Strict, Tag

from include.config import values
from include.config.section import NOT_EMPTY, Count, Flag, Section, Table, not_empty

Bytes = Annotated[int, BeforeValidator(values.byte_size, json_schema_input_type=str | int)]
Share = Annotated[float, BeforeValidator(values.share, json_schema_input_type=str)]
# In the places that pydantic names: which kind of source is meant. Not a key of the file.
KINDS = ("<table>", "<tables>", "<events>")


class Generate(Section):
    """The built-in event generator: `rate` events a second, `per_run` micro-batches of so many `seconds` at each run.

    The events are those of `sluice generate` with the same settings: decided by them alone, so that a micro-batch that
    is done again has the same ones. After `batches` micro-batches there is nothing new any more.
    """

    rate: Annotated[float, Field(gt=0)] = 100.0
    seconds: Count = 60
    late: Share = Field(default=0.1, json_schema_extra={"default": "10%"})
    duplicates: Share = Field(default=0.01, json_schema_extra={"default": "1%"})
    users: Count = 1000
    skew: Annotated[float, Field(ge=0)] = 1.0
    seed: Annotated[int, Strict()] = 1
    batches: Count | None = None
    per_run: Count = 1


class Events(Section):
    """A source that is no table."""

    generate: Generate


def _kind(value: object) -> str:
    if isinstance(value, dict | Events):
        return "<events>"
    return "<tables>" if isinstance(value, list | tuple) else "<table>"


def _different(tables: tuple[str, ...]) -> tuple[str, ...]:
    if twice := sorted({name for name in not_empty(tables) if tables.count(name) > 1}):
        raise ValueError(f"names a table twice: {', '.join(twice)}")
    return tables


Tables = Annotated[tuple[Table, ...], AfterValidator(_different), Field(json_schema_extra=NOT_EMPTY)]
Source = Annotated[
    Annotated[Table, Tag(KINDS[0])] | Annotated[Tables, Tag(KINDS[1])] | Annotated[Events, Tag(KINDS[2])],
    Discriminator(_kind),
]


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
