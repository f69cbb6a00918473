"""JSON that is written otherwise than the standard has it, made strict: what the options `allow...` of Spark's reader
take. Pure functions over bytes.

Each of these options is one of Jackson's and concerns the letters alone: a comment, a name without quotes, a number
007. So a record that is no strict JSON is rewritten, token by token, and then looked at and read as any other; one that
is strict JSON means the same under all of them.
"""

import re
from collections.abc import Iterator, Mapping

import msgspec

from include.config.spark_options import LENIENT_JSON
from include.probe.streams import MAX_CARRY, BrokenFileError

NAN = "allowNonNumericNumbers"
BLANKS = re.compile(r"[ \t\r\n]+")
COMMENT = re.compile(r"/\*.*?\*/|//[^\r\n]*", re.DOTALL)
# Jackson's names: parts of Java's identifiers and @ # * - +
NAME = re.compile(r"[\w$@#*+-]+")
NUMBER = re.compile(r"(-?)0*(\d[\d.eE+-]*)")
NOT_A_NUMBER = re.compile(r"NaN|[+-]?Infinity|[+-]INF")
WORD = re.compile(r"true|false|null")
ESCAPES = frozenset('bfnrt"\\/u')
CONTROLS = frozenset(map(chr, range(0x20)))
_decode = msgspec.json.Decoder().decode


class NotLenientError(Exception):
    """Raised for text that is no JSON under the options either."""


def is_lenient(options: Mapping[str, str]) -> bool:
    """True where the reader's options take more than strict JSON, or end records otherwise than at a line's end."""
    return "lineSep" in options or any(options.get(name) == "true" for name in LENIENT_JSON)


def strict_json(record: bytes, options: Mapping[str, str]) -> bytes:
    """The record as strict JSON on one line; as it is where it is none under the options."""
    strict = record
    try:
        _decode(strict)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        try:
            strict = _Rewriter(record.decode(), options).text().encode()
            _decode(strict)
        except (NotLenientError, msgspec.DecodeError, UnicodeError, RecursionError):
            return record
    return re.sub(rb"[\r\n]+", b" ", strict)  # in strict JSON these are white space between tokens


def records_of(source: Iterator[bytes], separator: bytes) -> Iterator[bytes]:
    """The parts of a text that `separator` ends; nothing after a last one is no part.

    Raises:
        BrokenFileError: one of them has more bytes than may be held in memory.
    """
    carry, size, edge = [b""], 0, len(separator) - 1
    for block in source:
        # The end of what is carried may be the beginning of a separator.
        at = len(carry[-1]) - edge if edge else len(carry[-1])
        last = carry.pop()
        seam, kept = last[max(at, 0) :] + block, last[: max(at, 0)]
        if separator not in seam:
            carry += [kept, seam]
            size += len(block)
            if size > MAX_CARRY:
                raise BrokenFileError(f"a record of more than {MAX_CARRY >> 20} MB")
            continue
        first, *parts = seam.split(separator)
        yield b"".join((*carry, kept, first))
        yield from parts[:-1]
        carry, size = [parts[-1]], len(parts[-1])
    if rest := b"".join(carry):
        yield rest


class _Rewriter:
    """One pass over the text of a record."""

    def __init__(self, text: str, options: Mapping[str, str]) -> None:
        self._text, self._at = text, 0
        self._allowed = {name for name in LENIENT_JSON if options.get(name) == "true"}
        self._out: list[str] = []
        self._open: list[str] = []
        self._name_next = False

    def text(self) -> str:
        """The text as strict JSON, unless it is none at all: then it is still none.

        Raises:
            NotLenientError: there is something that no option takes.
        """
        while self._at < len(self._text):
            self._step()
        return "".join(self._out)

    def _step(self) -> None:
        character = self._text[self._at]
        if self._skip(BLANKS) or ("allowComments" in self._allowed and self._skip(COMMENT)):
            self._out.append(" ")
        elif character in "{}[],:":
            self._structure(character)
        elif character == '"' or (character == "'" and "allowSingleQuotes" in self._allowed):
            self._quoted(character)
            self._name_next = False
        elif self._name_next:
            self._name()
        else:
            self._value()

    def _skip(self, pattern: re.Pattern[str]) -> bool:
        match = pattern.match(self._text, self._at)
        self._at = match.end() if match else self._at
        return match is not None

    def _structure(self, character: str) -> None:
        if character in "{[":
            self._open.append(character)
        elif character in "}]" and self._open:
            self._open.pop()
        self._name_next = character in "{," and bool(self._open) and self._open[-1] == "{"
        self._out.append(character)
        self._at += 1

    def _name(self) -> None:
        match = NAME.match(self._text, self._at)
        if match is None or "allowUnquotedFieldNames" not in self._allowed:
            raise NotLenientError
        self._out.append(_printed(match[0]))
        self._at, self._name_next = match.end(), False

    def _value(self) -> None:
        if match := WORD.match(self._text, self._at):
            self._out.append(match[0])
        elif NAN in self._allowed and (match := NOT_A_NUMBER.match(self._text, self._at)):
            self._out.append(_printed(match[0]))  # as a text, which Spark's reader takes for the number
        elif match := NUMBER.match(self._text, self._at):
            self._out.append(match[1] + match[2] if "allowNumericLeadingZeros" in self._allowed else match[0])
        else:
            raise NotLenientError
        self._at = match.end()

    def _quoted(self, quote: str) -> None:
        self._at += 1
        self._out.append('"')
        while (character := self._next()) != quote:
            if character == "\\":
                self._escaped(self._next())
            elif character == '"':
                self._out.append('\\"')
            elif character in CONTROLS and "allowUnquotedControlChars" in self._allowed:
                self._out.append(_printed(character)[1:-1])
            else:
                self._out.append(character)
        self._out.append('"')

    def _escaped(self, character: str) -> None:
        if character in ESCAPES:
            self._out.append("\\" + character)
        elif (
            character == "'" and "allowSingleQuotes" in self._allowed
        ) or "allowBackslashEscapingAnyCharacter" in self._allowed:
            self._out.append(_printed(character)[1:-1])
        else:
            raise NotLenientError

    def _next(self) -> str:
        if self._at == len(self._text):
            raise NotLenientError
        self._at += 1
        return self._text[self._at - 1]


def _printed(text: str) -> str:
    return msgspec.json.encode(text).decode()
