"""A COPY INTO statement as a typed value: the grammar's parts with names, options and combinations checked."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from include.config import values
from include.config.available import unavailable_in_statements
from include.config.ingest import Ingest
from include.config.options import IngestOptions
from include.config.values import did_you_mean
from include.copy_into import errors
from include.copy_into.copy_options import CopyOptions, copy_options
from include.copy_into.errors import StatementRefused
from include.copy_into.grammar import parse
from include.copy_into.syntax import Expression, Place, Setting, Syntax, Word

# Databricks' formats by the names of Spark's readers.
FORMATS = {
    "CSV": "csv",
    "JSON": "json",
    "PARQUET": "parquet",
    "TEXT": "text",
    "AVRO": "avro",
    "ORC": "orc",
    "XML": "xml",
    "BINARYFILE": "binaryFile",
}
DEFAULT_SCHEMA = "default"  # of a table that is named without one, as in Spark
# Reader options of Databricks' COPY INTO that are said otherwise here, or are always so.
INFER = "inferschema"
AS_STRING = "primitivesasstring"
OWN_OPTIONS = ("ignorecorruptfiles", "mode", "mergeschema", "recursivefilelookup", INFER, AS_STRING)
_QUARANTINED = "what cannot be loaded goes to the quarantine with its raw text: `sluice quarantine SCHEMA.TABLE`"
REFUSED = {
    "rescueddatacolumn": f"is of Auto Loader: {_QUARANTINED}; an ingest pipeline has a rescue column",
    "columnnameofcorruptrecord": f"is refused: {_QUARANTINED}",
    "badrecordspath": f"is refused: {_QUARANTINED}",
}


@dataclass(frozen=True)
class Validate:
    """VALIDATE: look at the files and write nothing; `rows` records are shown, None for all of them."""

    rows: int | None


@dataclass(frozen=True)
class CopyInto:
    """One statement.

    `table` is a table as pipeline files name it, `source` likewise. `columns` are those of the target that the source's
    columns are matched with, in order; `by_position` means all of them. `ingest` is the same source for the listing,
    the probe and the readers. `identity` is equal for statements with the same text and parameters.
    """

    sql: str
    parameters: Mapping[str, str]
    table: str
    source: str
    by_position: bool
    columns: tuple[str, ...] | None
    select: tuple[Expression, ...] | None
    validate: Validate | None
    files: tuple[str, ...] | None
    pattern: str | None
    options: CopyOptions
    ingest: Ingest
    places: Mapping[str, Place]

    def at(self, part: str) -> dict[str, Any]:
        """Where a part stands in the statement (target, columns, source, select, format, or a file's name), as the
        parameters of an error.
        """
        place = self.places.get(part)
        return {} if place is None else {"line": place.line, "column": place.column}

    @property
    def identity(self) -> str:
        """A short name of the statement's text and parameters."""
        text = "\0".join([" ".join(self.sql.split()), *(f"{k}={v}" for k, v in sorted(self.parameters.items()))])
        return hashlib.sha256(text.encode()).hexdigest()[:24]


def read_statement(sql: str, parameters: Mapping[str, str] | None = None) -> CopyInto:
    """Parse and check one statement; nothing is looked up in files or tables.

    Raises:
        StatementRefused: what is wrong, where, and what to write instead.
    """
    syntax = parse(sql, parameters)
    table = _table(syntax.target)
    source = _place(syntax.source)
    kind = _format(syntax.file_format)
    own, reader = _split(syntax.format_options)
    options = copy_options(own, syntax.copy_options)
    ingest_options = _reader_options(kind, own, reader, syntax)
    ingest = Ingest(source=source, table=table, options=ingest_options, on_error=options.on_error)
    for name, what in unavailable_in_statements(ingest):
        raise _refused_option(_key(syntax.format_options, name, syntax.file_format), name, what)
    _check_positions(syntax, kind, ingest_options)
    return CopyInto(
        sql=sql,
        parameters=dict(parameters or {}),
        table=table,
        source=source,
        by_position=syntax.by_position is not None,
        columns=_columns(syntax.columns),
        select=syntax.select,
        validate=None if syntax.validate is None else Validate(syntax.validate_rows),
        files=None if syntax.files is None else _files(syntax.files),
        pattern=None if syntax.pattern is None else syntax.pattern.text,
        options=options,
        ingest=ingest,
        places=_places(syntax),
    )


def _places(syntax: Syntax) -> dict[str, Place]:
    places = {"target": syntax.target[0].place, "source": syntax.source.place, "format": syntax.file_format.place}
    columns = syntax.by_position or (syntax.columns[0].place if syntax.columns else None)
    select = syntax.select[0].place if syntax.select else None
    for part, place in (("columns", columns), ("select", select)):
        places |= {} if place is None else {part: place}
    return (
        places
        | {f"column {word.text}": word.place for word in syntax.columns or ()}
        | {f"file {word.text.removeprefix('./')}": word.place for word in syntax.files or ()}
    )


def _table(parts: tuple[Word, ...]) -> str:
    words = [part.text for part in parts]
    if len(words) == 2 and words[0].lower() == "delta" and ("/" in words[1]):  # noqa: PLR2004
        name = words[1]
    else:
        name = ".".join(words if len(words) > 1 else (DEFAULT_SCHEMA, *words))
    try:
        return values.table(name)
    except ValueError as error:
        raise StatementRefused(
            errors.SYNTAX,
            f"The target {name} {error}",
            remedy="Write schema.table, or delta.`/path/of/the/table`.",
            line=parts[0].place.line,
            column=parts[0].place.column,
        ) from None


def _place(source: Word) -> str:
    try:
        return values.place(source.text)
    except ValueError as error:
        raise _refused(
            source.place, errors.SYNTAX, f"The source {error}", "Write a folder under landing/, or a URI."
        ) from None


def _format(word: Word) -> str:
    kind = FORMATS.get(word.text.upper())
    if kind is None:
        near = did_you_mean(word.text, list(FORMATS))
        message = f"FILEFORMAT = {word.text} is not a format{near}; known: {', '.join(FORMATS)}."
        raise _refused(word.place, errors.FORMAT_REQUIRED, message, "Write one of these.")
    return kind


def _split(written: tuple[Setting, ...]) -> tuple[dict[str, Setting], list[Setting]]:
    """The options that mean something to the statement itself, by lower-case name, and those for the reader."""
    own: dict[str, Setting] = {}
    reader: list[Setting] = []
    for setting in written:
        name = setting.key.text.lower()
        if name in OWN_OPTIONS:
            if name in own:
                raise _refused_option(setting.key, setting.key.text, "is set twice")
            own[name] = setting
        else:
            reader.append(setting)
    return own, reader


def _reader_options(kind: str, own: Mapping[str, Setting], reader: list[Setting], syntax: Syntax) -> IngestOptions:
    infer = kind != "csv" or _flag(own.get(INFER), default=False)
    if (as_string := own.get(AS_STRING)) is not None:
        if kind != "json":
            raise _refused_option(as_string.key, as_string.key.text, f"is an option of json, not of {kind}")
        infer = not _flag(as_string, default=False)
    raw: dict[str, Any] = {"cloudFiles.format": kind, "cloudFiles.inferColumnTypes": infer}
    for setting in reader:
        name = "header" if setting.key.text.lower() == "headers" else setting.key.text
        if name.lower().startswith("cloudfiles."):
            raise _refused_option(setting.key, name, "belongs to Auto Loader, not to COPY INTO")
        if why := REFUSED.get(name.lower()):
            raise _refused_option(setting.key, name, why)
        if name in raw:
            raise _refused_option(setting.key, name, "is set twice")
        raw[name] = setting.value
    try:
        return IngestOptions.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][-1]) if first["loc"] else "FORMAT_OPTIONS"
        key = _key(syntax.format_options, name, syntax.file_format)
        raise _refused_option(key, key.text if key is not syntax.file_format else name, first["msg"]) from None


def _flag(setting: Setting | None, *, default: bool) -> bool:
    if setting is None:
        return default
    text = str(setting.value).lower()
    if text not in ("true", "false"):
        raise _refused_option(setting.key, setting.key.text, f"must be true or false, not {setting.value!r}")
    return text == "true"


def _key(written: tuple[Setting, ...], name: str, default: Word) -> Word:
    return next((setting.key for setting in written if setting.key.text.lower() == name.lower()), default)


def _columns(words: tuple[Word, ...] | None) -> tuple[str, ...] | None:
    if words is None:
        return None
    seen: dict[str, Word] = {}
    for word in words:
        if word.text.lower() in seen:
            message = f"The column {word.text} stands twice in the list."
            raise _refused(word.place, errors.DUPLICATE_COLUMN, message, "Name each column of the target once.")
        seen[word.text.lower()] = word
    return tuple(word.text for word in words)


def _files(words: tuple[Word, ...]) -> tuple[str, ...]:
    names = []
    for word in words:
        if word.text.startswith("/") or "://" in word.text or ".." in word.text.split("/") or not word.text.strip():
            message = f"{word.text!r} is not a path below the source."
            raise _refused(word.place, errors.SYNTAX, message, "Write names relative to FROM's folder.")
        names.append(word.text.removeprefix("./"))
    return tuple(dict.fromkeys(names))


def _check_positions(syntax: Syntax, kind: str, options: IngestOptions) -> None:
    """BY POSITION, and a column list without a SELECT, match columns by order: only headerless CSV has one."""
    place = syntax.by_position or (syntax.columns[0].place if syntax.columns and syntax.select is None else None)
    if place is None:
        return
    what = "BY POSITION" if syntax.by_position else "A list of columns"
    if syntax.by_position and syntax.select is not None:
        message = "BY POSITION cannot go with SELECT."
        raise _refused(place, errors.NON_BLIND, message, "Name the target's columns: COPY INTO table (a, b) FROM ...")
    if kind != "csv" or options.reader.get("header") == "true":
        raise _refused(
            place,
            errors.NON_BLIND,
            f"{what} is for CSV files without a header.",
            "Set FILEFORMAT = CSV and 'header' = 'false', or select the columns: FROM (SELECT ... FROM 'source').",
        )


def _refused(place: Place, condition: str, message: str, remedy: str) -> StatementRefused:
    return StatementRefused(condition, message, remedy=remedy, line=place.line, column=place.column)


def _refused_option(key: Word, name: str, what: str) -> StatementRefused:
    remedy = "See Spark's options for the format; FORMAT_OPTIONS takes those of its reader."
    return _refused(key.place, errors.OPTION, f"FORMAT_OPTIONS: {name} {what}.", remedy)
