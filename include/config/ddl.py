"""Checks a schema written as Spark DDL (`id bigint, tags array<string>`) without Spark, so that `sluice validate` can.

It knows the shape and the words of Spark's types, not all their limits: Spark's own parser has the last word.
"""

import re
from typing import Any, NamedTuple

from include.config.values import did_you_mean

# What Delta 4.4 stores. Spark also has time, interval, char and varchar, which Delta or the readers refuse.
PLAIN_TYPES = (
    *("boolean", "tinyint", "byte", "smallint", "short", "int", "integer", "bigint", "long"),
    *("float", "real", "double", "decimal", "dec", "numeric"),
    *("date", "timestamp", "timestamp_ntz", "timestamp_ltz", "string", "binary", "variant"),
)
DECIMALS = ("decimal", "dec", "numeric")
NESTED_TYPES = ("array", "map", "struct")
TYPES = (*PLAIN_TYPES, *NESTED_TYPES)
_TEXTS = {"char": "string", "character": "string", "varchar": "string", "text": "string"}
MAX_DEPTH = 32
# As Spark names them in a schema's JSON form, where that differs.
_JSON_NAMES = {
    "tinyint": "byte", "smallint": "short", "int": "integer", "bigint": "long", "real": "float",
    "dec": "decimal", "numeric": "decimal", "timestamp_ltz": "timestamp",
}  # fmt: skip
JsonType = Any

_TOKEN = re.compile(
    r"\s*(?:(?P<quoted>`(?:[^`]|``)+`)|(?P<word>\w+)|(?P<text>'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")|(?P<mark>[<>(),:.]))",
    re.ASCII,  # Spark wants other letters back-quoted
)


class Token(NamedTuple):
    """A piece of DDL and where it begins, from 1. `kind` is quoted, word, text, mark or end."""

    kind: str
    text: str
    position: int


def check_ddl(ddl: str) -> str:
    """The same text, if it is a list of columns.

    Raises:
        ValueError: it is not; says what is wrong at which character.
    """
    DdlParser(ddl).columns()
    return ddl


def schema_of(ddl: str) -> JsonType:
    """The schema in Spark's JSON form.

    Raises:
        ValueError: it is no list of columns.
    """
    return DdlParser(ddl).columns()


class DdlParser:
    """Goes through the tokens of a DDL text; each method takes what it names, or raises ValueError."""

    def __init__(self, ddl: str) -> None:
        self._tokens = _tokens(ddl)
        self._next = 0

    def columns(self) -> JsonType:
        """All of the text is a list of columns: their types."""
        return self._fields("end", 0)

    def _take(self) -> Token:
        token = self._tokens[self._next]
        self._next = min(self._next + 1, len(self._tokens) - 1)
        return token

    def _peek(self) -> Token:
        return self._tokens[self._next]

    def _at(self, *texts: str) -> bool:
        token = self._tokens[self._next]
        return token.kind in ("mark", "word") and token.text.lower() in texts

    def _expect(self, text: str) -> None:
        token = self._take()
        if token.text != text or token.kind != "mark":
            raise unexpected(token, f"`{text}`")

    def _fields(self, end: str, depth: int) -> JsonType:
        names: set[str] = set()
        fields: list[JsonType] = []
        while True:
            name = self._take()
            if name.kind not in ("word", "quoted"):
                raise unexpected(name, "the name of a column (back-quote it unless it is letters, digits and _)")
            if name.text.strip("`").lower() in names:
                raise ValueError(f"names the column {name.text} twice (character {name.position})")
            names.add(name.text.strip("`").lower())
            if self._at(":"):
                self._take()
            plain = name.text[1:-1].replace("``", "`") if name.kind == "quoted" else name.text
            fields.append({"name": plain, "type": self._type(depth), "nullable": True, "metadata": {}})
            self._attributes()
            token = self._take()
            if end in (token.kind, token.text):
                return {"type": "struct", "fields": fields}
            if token.text != ",":
                raise unexpected(token, "a comma" if end == "end" else f"a comma or `{end}`")

    def _attributes(self) -> None:
        if self._at("not"):
            self._take()
            token = self._take()
            if token.text.lower() != "null":
                raise unexpected(token, "NULL")
        if self._at("comment"):
            self._take()
            token = self._take()
            if token.kind != "text":
                raise unexpected(token, "a quoted comment")

    def _type(self, depth: int) -> JsonType:
        token = self._take()
        word = token.text.lower()
        if token.kind != "word" or depth > MAX_DEPTH:
            raise unexpected(token, "a type")
        if word not in TYPES:
            near = f"; did you mean {_TEXTS[word]}?" if word in _TEXTS else did_you_mean(word, list(TYPES))
            hint = near or f"; known: {', '.join(TYPES)}"
            raise ValueError(f"{token.text} (character {token.position}) is not a type that a Delta table has{hint}")
        if word in NESTED_TYPES:
            return self._nested(word, depth + 1)
        if word in DECIMALS:
            return f"decimal({self._precision()})" if self._at("(") else "decimal(10,0)"
        return _JSON_NAMES.get(word, word)

    def _nested(self, word: str, depth: int) -> JsonType:
        self._expect("<")
        if word == "struct":
            return self._fields(">", depth)
        key = None
        if word == "map":
            key = self._type(depth)
            self._expect(",")
        inner = self._type(depth)
        self._expect(">")
        if word == "map":
            return {"type": "map", "keyType": key, "valueType": inner, "valueContainsNull": True}
        return {"type": "array", "elementType": inner, "containsNull": True}

    def _precision(self) -> str:
        self._expect("(")
        digits, scale = self._number(), "0"
        if self._at(","):
            self._take()
            scale = self._number()
        self._expect(")")
        return f"{digits},{scale}"

    def _number(self) -> str:
        number = self._take()
        if not number.text.isdecimal():
            raise unexpected(number, "a number")
        return number.text


def _tokens(ddl: str) -> list[Token]:
    tokens: list[Token] = []
    position = 0
    while ddl[position:].strip():
        match = _TOKEN.match(ddl, position)
        if match is None or match.lastgroup is None:
            at = position + len(ddl[position:]) - len(ddl[position:].lstrip())
            raise ValueError(f"cannot be read at character {at + 1}: {ddl[at : at + 20]!r}")
        tokens.append(Token(match.lastgroup, match[match.lastgroup], match.start(match.lastgroup) + 1))
        position = match.end()
    return [*tokens, Token("end", "", len(ddl) + 1)]


def unexpected(token: Token, wanted: str) -> ValueError:
    """The error for a token that is not what must stand there."""
    found = "the end" if token.kind == "end" else repr(token.text)
    return ValueError(f"must have {wanted} at character {token.position}, not {found}")
