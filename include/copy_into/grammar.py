"""The grammar of COPY INTO as Databricks has it, on sqlglot's databricks dialect.

sqlglot reads `COPY INTO` for several databases at once and falls back to an opaque command for BY POSITION, VALIDATE,
FILES and SELECT without a table. Here the statement has a parser method of its own on the dialect's parser, so that
names, strings, comments and SQL expressions are tokenized and parsed by sqlglot, and each part keeps its place.

    COPY INTO target [BY POSITION | (column, ...)]
    FROM { 'source' | (SELECT expression, ... FROM 'source') }
    FILEFORMAT = format
    [VALIDATE [ALL | n ROWS]] [FILES = ('file', ...) | PATTERN = 'glob']
    [FORMAT_OPTIONS ('key' = 'value', ...)] [COPY_OPTIONS ('key' = 'value', ...)]
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NoReturn, TypeVar

from sqlglot import exp
from sqlglot.dialects.databricks import Databricks
from sqlglot.errors import ErrorLevel, ParseError, TokenError
from sqlglot.parsers.databricks import DatabricksParser
from sqlglot.tokenizer_core import Token, TokenType

from include.config.values import did_you_mean
from include.copy_into import errors
from include.copy_into.errors import StatementRefused

Item = TypeVar("Item")
CLAUSES = ("VALIDATE", "FILES", "PATTERN", "FORMAT_OPTIONS", "COPY_OPTIONS")
OF_A_QUERY = ("WHERE", "GROUP BY", "GROUP", "HAVING", "ORDER BY", "ORDER", "LIMIT", "JOIN", "UNION", "LATERAL")
SYNTAX_REMEDY = (
    "Write COPY INTO table FROM 'source' FILEFORMAT = CSV, then VALIDATE, FILES or PATTERN, FORMAT_OPTIONS and "
    "COPY_OPTIONS as needed."
)


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


def parse(sql: str, parameters: Mapping[str, str] | None = None) -> Syntax:
    """Parse one statement; `parameters` are the values of `:name` where a text may stand.

    Raises:
        StatementRefused: it is no COPY INTO statement; the message names the line and the column.
    """
    dialect = CopyIntoDialect()
    try:
        tokens = dialect.tokenize(sql)
    except TokenError as error:
        raise StatementRefused(errors.SYNTAX, f"The statement ends too early: {error}", remedy=SYNTAX_REMEDY) from None
    parser = dialect.parser(error_level=ErrorLevel.IMMEDIATE)
    if not isinstance(parser, CopyIntoDialect.Parser):
        raise TypeError(type(parser))
    return parser.copy_into(tokens, sql, parameters or {})


class CopyIntoDialect(Databricks):
    """Databricks' SQL with the whole of COPY INTO."""

    class Parser(DatabricksParser):
        """Adds `copy_into`, which returns a Syntax in place of a tree."""

        def copy_into(self, tokens: list[Token], sql: str, parameters: Mapping[str, str]) -> Syntax:
            """Parse a whole statement.

            Raises:
                StatementRefused: see `parse`.
            """
            self._parameters = parameters
            self._used: set[str] = set()
            found: list[Syntax] = []

            def statement(parser: object) -> exp.Expr | None:
                del parser  # it is this one; sqlglot calls with it
                found.append(self._statement())
                return None

            self._whole = sql
            if not tokens:
                raise StatementRefused(errors.SYNTAX, "The statement is empty.", remedy=SYNTAX_REMEDY)
            self._parse(statement, tokens, sql)
            if len(found) != 1:
                raise StatementRefused(
                    errors.SYNTAX,
                    f"There are {len(found)} statements.",
                    remedy="Give them one by one; a pipeline file's copy_into section takes a list.",
                )
            if unused := sorted(set(parameters) - self._used):
                raise StatementRefused(
                    errors.SYNTAX,
                    f"The statement has no parameter :{unused[0]}.",
                    remedy="Remove the value, or write the parameter's name where its text is to stand.",
                )
            return found[0]

        # ---- the statement

        def _statement(self) -> Syntax:
            syntax = Syntax()
            self._words("COPY", "INTO")
            syntax.target = self._target()
            if self._at("BY"):
                syntax.by_position = self._here()
                self._words("BY", "POSITION")
            elif self._match(TokenType.L_PAREN, advance=False):
                syntax.columns = self._listed(self._name, "a column's name")
            self._words("FROM")
            self._source(syntax)
            self._words("FILEFORMAT")
            self._sign(TokenType.EQ, "=")
            syntax.file_format = self._format()
            self._clauses(syntax)
            if self._curr:
                self._unexpected("the end of the statement")
            return syntax

        def _target(self) -> tuple[Word, ...]:
            parts = [self._name()]
            while self._match(TokenType.DOT):
                parts.append(self._name())
            return tuple(parts)

        def _source(self, syntax: Syntax) -> None:
            if not self._match(TokenType.L_PAREN):
                syntax.source = self._text("the source's path in quotes, or (SELECT ... FROM 'source')")
                self._refuse_credentials()
                return
            self._words("SELECT")
            if self._at("DISTINCT"):
                self._refuse_query("DISTINCT")
            selected = [self._selected()]
            while self._match(TokenType.COMMA):
                selected.append(self._selected())
            syntax.select = tuple(selected)
            self._words("FROM")
            syntax.source = self._text("the source's path in quotes")
            self._refuse_credentials()
            if self._curr and self._curr.text.upper() in OF_A_QUERY:
                self._refuse_query(self._curr.text.upper())
            self._sign(TokenType.R_PAREN, ")")

        def _selected(self) -> Expression:
            place, first = self._here(), self._index
            if self._curr is None or self._at("FROM") or self._match(TokenType.R_PAREN, advance=False):
                self._unexpected("an expression")
            try:
                parsed = self._parse_expression()
            except ParseError as error:
                raise _syntax_error(error) from None
            if parsed is None:
                self._unexpected("an expression")
            written = self._tokens[first : self._index]
            alias = parsed.alias if isinstance(parsed, exp.Alias) else None
            if alias is not None:
                written = written[: -(2 if written[-2].text.upper() == "AS" else 1)]
            self._refuse_aggregates(parsed, place)
            return Expression(self._whole[written[0].start : written[-1].end + 1], alias, place)

        def _refuse_aggregates(self, parsed: exp.Expr, place: Place) -> None:
            """A row of the table stands for a record of a file: only so can each be accounted for."""
            for node in parsed.walk():
                grouped = isinstance(node, exp.AggFunc) and not isinstance(node.parent, exp.Window)
                if grouped or isinstance(node, exp.UDTF | exp.Query):
                    raise StatementRefused(
                        errors.NON_BLIND,
                        f"{node.sql('databricks')} makes other rows than the files' records.",
                        remedy="Select expressions over one record, or window functions; aggregate in a transform "
                        "pipeline over the table.",
                        line=place.line,
                        column=place.column,
                    )

        def _clauses(self, syntax: Syntax) -> None:
            readers: dict[str, Callable[[Syntax], None]] = {
                "VALIDATE": self._validate,
                "FILES": self._files,
                "PATTERN": self._pattern,
                "FORMAT_OPTIONS": self._format_options,
                "COPY_OPTIONS": self._copy_options,
            }
            seen: set[str] = set()
            while self._curr:
                word = self._curr.text.upper()
                if word not in readers:
                    self._unexpected(f"{', '.join(name for name in CLAUSES if name not in seen)} or the end")
                if word in seen or {word, *seen} >= {"FILES", "PATTERN"}:
                    twice = "stands twice" if word in seen else "cannot go with the other of FILES and PATTERN"
                    self._refuse(f"{word} {twice}.", "Keep one of the two.")
                seen.add(word)
                self._advance()
                readers[word](syntax)

        # ---- its clauses

        def _validate(self, syntax: Syntax) -> None:
            syntax.validate = self._here(previous=True)
            if self._at("ALL"):
                self._advance()
            elif self._match(TokenType.NUMBER, advance=False):
                text = self._curr.text if self._curr else ""
                if not text.isdigit() or int(text) < 1:
                    self._unexpected("a number of rows from 1")
                self._advance()
                syntax.validate_rows = int(text)
                self._words("ROWS")

        def _files(self, syntax: Syntax) -> None:
            self._sign(TokenType.EQ, "=")
            syntax.files = self._listed(lambda: self._text("a file's name in quotes"), "a file's name in quotes")

        def _pattern(self, syntax: Syntax) -> None:
            self._sign(TokenType.EQ, "=")
            syntax.pattern = self._text("a pattern in quotes")

        def _format_options(self, syntax: Syntax) -> None:
            syntax.format_options = self._listed(self._setting, "an option")

        def _copy_options(self, syntax: Syntax) -> None:
            syntax.copy_options = self._listed(self._setting, "an option")

        def _setting(self) -> Setting:
            key = self._option_key()
            self._sign(TokenType.EQ, "=")
            return Setting(key, self._option_value())

        def _option_key(self) -> Word:
            if self._match(TokenType.STRING, advance=False):
                return self._text("an option's name")
            place = self._here()
            parts = [self._name().text]
            while self._match(TokenType.DOT):
                parts.append(self._name().text)
            return Word(".".join(parts), place)

        def _option_value(self) -> str | bool:
            if self._curr and self._curr.token_type in (TokenType.TRUE, TokenType.FALSE):
                self._advance()
                return bool(self._prev.token_type == TokenType.TRUE)
            if self._match(TokenType.NUMBER):
                return str(self._prev.text)
            return self._text("a value: a text in quotes, a number, true or false").text

        # ---- words and signs

        def _listed(self, item: Callable[[], Item], what: str) -> tuple[Item, ...]:
            self._sign(TokenType.L_PAREN, "(")
            if self._match(TokenType.R_PAREN, advance=False):
                self._unexpected(what)
            items = [item()]
            while self._match(TokenType.COMMA):
                items.append(item())
            self._sign(TokenType.R_PAREN, ")")
            return tuple(items)

        def _format(self) -> Word:
            return self._text("a format") if self._match(TokenType.STRING, advance=False) else self._name()

        def _name(self) -> Word:
            place = self._here()
            name = self._parse_id_var(any_token=True)
            if not isinstance(name, exp.Identifier) or not name.name:
                self._unexpected("a name")
            return Word(name.name, place)

        def _text(self, what: str) -> Word:
            place = self._here()
            if self._match(TokenType.COLON) or self._match(TokenType.PARAMETER):
                return Word(self._value_of(self._name()), place)
            if not self._match(TokenType.STRING):
                self._unexpected(what)
            return Word(str(self._prev.text), place)

        def _value_of(self, name: Word) -> str:
            if name.text not in self._parameters:
                known = ", ".join(sorted(self._parameters)) or "none"
                raise StatementRefused(
                    errors.SYNTAX,
                    f"The parameter :{name.text} has no value; given: {known}.",
                    remedy="Give it: --param NAME=VALUE, or `parameters` in the pipeline file.",
                    line=name.place.line,
                    column=name.place.column,
                )
            self._used.add(name.text)
            return self._parameters[name.text]

        def _words(self, *words: str) -> None:
            for word in words:
                if not self._at(word):
                    self._unexpected(word)
                self._advance()

        def _at(self, word: str) -> bool:
            token = self._curr
            quoted = token is not None and token.token_type in (TokenType.STRING, TokenType.IDENTIFIER)
            return token is not None and not quoted and token.text.upper() == word

        def _sign(self, kind: TokenType, sign: str) -> None:
            if not self._match(kind):
                self._unexpected(f"`{sign}`")

        # ---- places and refusals

        def _here(self, *, previous: bool = False) -> Place:
            token = self._prev if previous else self._curr
            return _place(self._whole, token.start if token else len(self._whole.rstrip()))

        def _unexpected(self, expected: str) -> NoReturn:
            found = f"{self._curr.text!r}" if self._curr else "the end"
            keywords = [word for word in expected.replace(",", " ").split() if word.isupper()]
            near = did_you_mean(self._curr.text, keywords) if self._curr else ""
            self._refuse(f"Expected {expected}, found {found}{near}.", SYNTAX_REMEDY)

        def _refuse(self, message: str, remedy: str) -> NoReturn:
            place = self._here()
            raise StatementRefused(errors.SYNTAX, message, remedy=remedy, line=place.line, column=place.column)

        def _refuse_query(self, word: str) -> NoReturn:
            place = self._here()
            raise StatementRefused(
                errors.NON_BLIND,
                f"The SELECT of COPY INTO has no {word}: each record of the files makes one row.",
                remedy="Leave it out, and filter or aggregate in a transform pipeline over the table.",
                line=place.line,
                column=place.column,
            )

        def _refuse_credentials(self) -> None:
            if not self._at("WITH"):
                return
            place = self._here()
            kind = self._tokens[self._index + 2].text.upper() if self._index + 2 < len(self._tokens) else ""
            raise StatementRefused(
                errors.ENCRYPTION if kind == "ENCRYPTION" else errors.CREDENTIALS,
                "A statement holds no credentials: it is kept with the table's history.",
                remedy="Give them to the environment of the job (AWS_*, GOOGLE_*, AZURE_*).",
                line=place.line,
                column=place.column,
            )


def _place(sql: str, offset: int) -> Place:
    return Place(sql.count("\n", 0, offset) + 1, offset - sql.rfind("\n", 0, offset))


def _syntax_error(error: ParseError) -> StatementRefused:
    first = error.errors[0] if error.errors else {}
    return StatementRefused(
        errors.SYNTAX,
        f"The expression cannot be read: {first.get('description', error)}",
        remedy="Write an expression of Spark SQL.",
        line=first.get("line"),
        column=first.get("col"),
    )
