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

from sqlglot import exp
from sqlglot.dialects.databricks import Databricks
from sqlglot.errors import ErrorLevel, ParseError, TokenError
from sqlglot.tokenizer_core import Token, TokenType

from include.copy_into import errors
from include.copy_into.errors import StatementRefused
from include.copy_into.syntax import Expression, Place, Syntax, Word
from include.copy_into.words import SYNTAX_REMEDY, WordsParser

CLAUSES = ("VALIDATE", "FILES", "PATTERN", "FORMAT_OPTIONS", "COPY_OPTIONS")
OF_A_QUERY = ("WHERE", "GROUP BY", "GROUP", "HAVING", "ORDER BY", "ORDER", "LIMIT", "JOIN", "UNION", "LATERAL")


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

    class Parser(WordsParser):
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
            self._refuse_generators(parsed, place)
            return Expression(self._whole[written[0].start : written[-1].end + 1], alias, place)

        def _refuse_generators(self, parsed: exp.Expr, place: Place) -> None:
            """A record makes one row, or all together do: only so can each be accounted for."""
            for node in parsed.walk():
                if isinstance(node, exp.UDTF | exp.Query):
                    raise StatementRefused(
                        errors.NON_BLIND,
                        f"{node.sql('databricks')} makes other rows than the files' records.",
                        remedy="Select expressions over one record, window functions, or aggregates over all records; "
                        "make other rows in a transform pipeline over the table.",
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


def _syntax_error(error: ParseError) -> StatementRefused:
    first = error.errors[0] if error.errors else {}
    return StatementRefused(
        errors.SYNTAX,
        f"The expression cannot be read: {first.get('description', error)}",
        remedy="Write an expression of Spark SQL.",
        line=first.get("line"),
        column=first.get("col"),
    )
