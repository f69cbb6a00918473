"""Names of CSV columns that the header leaves out or has twice."""

import pytest

from include.probe.delimited import distinct_names


@pytest.mark.parametrize(
    ("header", "names"),
    [
        (["a", "b"], ("a", "b")),
        (["a", "", "c"], ("a", "_c1", "c")),
        (["a", "a"], ("a0", "a1")),
        (["a", "a", "a0"], ("a0_", "a1", "a0")),
        (["", "_c0"], ("_c0_", "_c0")),
    ],
)
def test_each_column_has_a_name_of_its_own(header: list[str], names: tuple[str, ...]) -> None:
    assert distinct_names(header) == names
