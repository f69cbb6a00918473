import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.config.document import MAX_CHARACTERS, Mark, parse


def only_problem(text: str) -> tuple[Mark, str]:
    problems = parse(text).problems
    assert len(problems) == 1, problems
    return problems[0].mark, problems[0].what


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("on", "on"),
        ("no", "no"),
        ("Yes", "Yes"),
        ("1:30", "1:30"),
        ("12:30:45", "12:30:45"),
        ("2026-01-31", "2026-01-31"),
        ("007", "007"),
        ("1_000", "1_000"),
        ("0x1F", "0x1F"),
        ("12345678901234567890", "12345678901234567890"),
        (".inf", ".inf"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("null", None),
        ("-7", -7),
        ("0", 0),
        ("1.50", 1.5),
        ("1e3", 1000.0),
        ('"7"', "7"),
        ("'true'", "true"),
    ],
)
def test_scalars_are_read_by_yaml_1_2_so_that_words_and_codes_stay_text(written: str, value: object) -> None:
    assert parse(f"key: {written}").value == {"key": value}


@pytest.mark.parametrize(
    ("text", "mark", "what"),
    [
        ("", Mark(1, 1), "empty"),
        ("# a comment\n", Mark(1, 1), "empty"),
        ("a: 1\n\tb: 2\n", Mark(2, 1), "tab"),
        ("a:\n  b: 1\n  b: 2\n", Mark(3, 3), "twice, first in line 2"),
        ("a: 1\n---\nb: 2\n", Mark(2, 1), "second document"),
        ("a: &x 1\nb: *x\n", Mark(2, 4), "aliases"),
        ("a: {x: 1}\nb:\n  <<: {y: 2}\n", Mark(3, 3), "merge keys"),
        ("a: !!python/object/apply:os.system [id]\n", Mark(1, 4), "tags"),
        ("a: !env HOME\n", Mark(1, 4), "tags"),
        ("? [1, 2]\n: x\n", Mark(1, 3), "a key must be a word"),
        ("a: [1, 2\n", Mark(2, 1), "not YAML"),
        ("a: 1\nb: 'x\n", Mark(3, 1), "not YAML"),
        ("a: 1\nb: x\x00y\n", Mark(2, 5), "not YAML"),
    ],
)
def test_what_is_not_plain_yaml_is_refused_with_its_place(text: str, mark: Mark, what: str) -> None:
    found_mark, found = only_problem(text)
    assert what in found
    assert found_mark == mark


def test_an_alias_bomb_is_refused_before_it_grows() -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 40))
    assert "aliases" in only_problem(bomb)[1]


def test_deep_nesting_and_huge_files_are_refused() -> None:
    assert "nested deeper" in only_problem("[" * 500 + "]" * 500)[1]
    assert "longer than" in only_problem("#" * (MAX_CHARACTERS + 1))[1]


def test_every_key_and_value_has_its_line_and_column() -> None:
    document = parse("ingest:\n  checks:\n    - {name: a,\n       expr: b}\n")
    loc = ("ingest", "checks", 0, "expr")
    assert document.mark(loc) == Mark(4, 14)
    assert document.mark(loc, key=True) == Mark(4, 8)
    assert document.mark(("ingest", "source")) == Mark(2, 3), "what is missing is told where it belongs"


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused_but_never_raises(text: str) -> None:
    document = parse(text)
    assert document.problems or document.values
