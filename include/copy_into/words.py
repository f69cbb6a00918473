"""Words, signs, lists and values of a COPY INTO statement, on the tokens of sqlglot's databricks dialect, and the
refusal of what stands in their place.
"""

from collections.abc import Callable, Mapping
from typing import NoReturn, TypeVar

from sqlglot import exp
from sqlglot.parsers.databricks import DatabricksParser
from sqlglot.tokenizer_core import TokenType

from include.config.values import did_you_mean
from include.copy_into import errors
from include.copy_into.errors import StatementRefused
from include.copy_into.syntax import Place, Setting, Word, place_of

Item = TypeVar("Item")
SYNTAX_REMEDY = (
    "Write COPY INTO table FROM 'source' FILEFORMAT = CSV, then VALIDATE, FILES or PATTERN, FORMAT_OPTIONS and "
    "COPY_OPTIONS as needed."
)


class WordsParser(DatabricksParser):
    """Reads the parts that all clauses are made of; `_whole` is the statement's text."""

    _whole: str
    _parameters: Mapping[str, str]
    _used: set[str]

    # ---- words and signs

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
        return place_of(self._whole, token.start if token else len(self._whole.rstrip()))

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
