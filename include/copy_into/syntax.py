"""The parts of a parsed COPY INTO statement: what was written, and where."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Place:
    """A place in the statement; both count from 1."""

    line: int
    column: int


@dataclass(frozen=True)
class Word:
    """A text of the statement and where it stands."""

    text: str
    place: Place


@dataclass(frozen=True)
class Expression:
    """One expression of the SELECT: its SQL as it was written, without the alias, and the alias if there is one."""

    sql: str
    alias: str | None
    place: Place


@dataclass(frozen=True)
class Setting:
    """One `key = value` of an option list; the value is a text, a number's text, or a flag."""

    key: Word
    value: str | bool


@dataclass
class Syntax:
    """A parsed statement: what was written, where, and nothing checked but the grammar."""

    target: tuple[Word, ...] = ()
    by_position: Place | None = None
    columns: tuple[Word, ...] | None = None
    source: Word = field(default_factory=lambda: Word("", Place(1, 1)))
    select: tuple[Expression, ...] | None = None
    file_format: Word = field(default_factory=lambda: Word("", Place(1, 1)))
    validate: Place | None = None
    validate_rows: int | None = None
    files: tuple[Word, ...] | None = None
    pattern: Word | None = None
    format_options: tuple[Setting, ...] = ()
    copy_options: tuple[Setting, ...] = ()


def place_of(sql: str, offset: int) -> Place:
    """The place of a character of the statement, by its offset from 0."""
    return Place(sql.count("\n", 0, offset) + 1, offset - sql.rfind("\n", 0, offset))
