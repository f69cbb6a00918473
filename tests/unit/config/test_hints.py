"""Schema hints: paths and types, without Spark."""

import pytest

from include.config.hints import Hint, check_hints, parse_hints


def test_paths_go_below_structs_arrays_and_maps() -> None:
    text = (
        "id bigint, o.x struct<a: int, b: decimal(10, 2)>, l.element.y string, "
        "m.value int COMMENT 'n', `a.b`.`c d` date"
    )
    assert parse_hints(text) == [
        Hint(("id",), "bigint"),
        Hint(("o", "x"), "struct<a: int, b: decimal(10, 2)>"),
        Hint(("l", "element", "y"), "string"),
        Hint(("m", "value"), "int"),
        Hint(("a.b", "c d"), "date"),
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a", "must have a type at character 2"),
        ("a. int", "must have a type at character 7"),
        ("a.b int, a.b string", "names the column a.b twice"),
        ("a.b text", "did you mean string"),
        ("a int b int", "must have a comma at character 7"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        check_hints(text)
