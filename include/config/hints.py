"""`cloudFiles.schemaHints`: types for some columns, also below structs (`a.b int`), arrays (`a.element int`) and maps
(`a.key string, a.value int`). Checked without Spark.
"""

from typing import NamedTuple

from include.config.ddl import DdlParser, unexpected


class Hint(NamedTuple):
    """Where a type is fixed (names from the top; `element`, `key` and `value` below arrays and maps), and the type as
    DDL.
    """

    path: tuple[str, ...]
    ddl: str


def parse_hints(text: str) -> list[Hint]:
    """The hints in a text such as `id bigint, tags.element int`; none in an empty one.

    Raises:
        ValueError: it cannot be read; says what is wrong at which character.
    """
    return _HintParser(text).hints() if text.strip() else []


def check_hints(text: str) -> str:
    """The same text, if it is a list of hints.

    Raises:
        ValueError: it is not.
    """
    parse_hints(text)
    return text


class _HintParser(DdlParser):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._text = text

    def hints(self) -> list[Hint]:
        found: list[Hint] = []
        while True:
            path = self._path()
            if any(hint.path == path for hint in found):
                raise ValueError(f"names the column {'.'.join(path)} twice")
            if self._at(":"):
                self._take()
            begin = self._peek().position
            self._type(0)
            end = self._peek().position
            found.append(Hint(path, self._text[begin - 1 : end - 1].strip()))
            self._attributes()
            token = self._take()
            if token.kind == "end":
                return found
            if token.text != ",":
                raise unexpected(token, "a comma")

    def _path(self) -> tuple[str, ...]:
        names = [self._name()]
        while self._at("."):
            self._take()
            names.append(self._name())
        return tuple(names)

    def _name(self) -> str:
        token = self._take()
        if token.kind not in ("word", "quoted"):
            raise unexpected(token, "the name of a column (back-quote it unless it is letters, digits and _)")
        return token.text[1:-1].replace("``", "`") if token.kind == "quoted" else token.text
