"""What the options `allow...` take is made strict JSON of the same meaning; anything else stays what it is."""

import pytest

from include.probe.lenient import records_of, strict_json

CASES = [
    ("allowComments", '{"a": /* one, "x" */ 1} // end', '{"a":   1}  '),
    ("allowComments", '{"a": "/* text */ // too"}', '{"a": "/* text */ // too"}'),
    ("allowUnquotedFieldNames", "{a: 1, $b_2: {true: [2]}, été: 3}", '{"a": 1, "$b_2": {"true": [2]}, "été": 3}'),
    ("allowSingleQuotes", """{'a': 'it\\'s "so"', "b": "it's"}""", """{"a": "it's \\"so\\"", "b": "it's"}"""),
    ("allowNumericLeadingZeros", '{"a": 007, "b": [-00.5, 0, 0.5, 10]}', '{"a": 7, "b": [-0.5, 0, 0.5, 10]}'),
    ("allowNonNumericNumbers", '{"a": NaN, "b": [-Infinity, +INF]}', '{"a": "NaN", "b": ["-Infinity", "+INF"]}'),
    ("allowBackslashEscapingAnyCharacter", r'{"a": "\q\n\'"}', """{"a": "q\\n'"}"""),
    ("allowUnquotedControlChars", '{"a": "tab\there\x00"}', '{"a": "tab\\there\\u0000"}'),
]


@pytest.mark.parametrize(("option", "text", "strict"), CASES)
def test_an_option_takes_what_it_says_and_no_other_does(option: str, text: str, strict: str) -> None:
    assert strict_json(text.encode(), {option: "true"}).decode() == strict
    others = {other: "true" for other, _, _ in CASES if other != option}
    assert strict_json(text.encode(), others).decode() == (strict if text == strict else text)


NO_JSON = [
    "{a 1}", "{'a': 1", "{a: b}", "{'a': 1} {'a': 2}", "{a: 1,}", "{a: .5}", "/* {}", "{'a': 1 2}", "{a: truex}",
    "\udcff{",
]  # fmt: skip


@pytest.mark.parametrize("text", NO_JSON)
def test_what_is_no_json_stays_as_it_is(text: str) -> None:
    every = {option: "true" for option, _, _ in CASES}
    raw = text.encode("utf-8", "surrogateescape")
    assert strict_json(raw, every) == raw


def test_records_end_where_the_separator_stands_also_across_blocks() -> None:
    text = b"a||b\n||ccc|c||||d|"
    for size in range(1, 6):
        blocks = [text[at : at + size] for at in range(0, len(text), size)]
        assert list(records_of(iter(blocks), b"||")) == [b"a", b"b\n", b"ccc|c", b"", b"d|"], size
    assert list(records_of(iter([b"a||"]), b"||")) == [b"a"]
