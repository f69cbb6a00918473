import pytest

from include.config.ddl import check_ddl

GOOD = [
    "id bigint",
    "id: bigint, name STRING",
    "`a b` int NOT NULL COMMENT 'it\\'s', b decimal(10,2), c decimal(5), d numeric",
    "a array<struct<x: int, y map<string, array<double>>>>, s struct<`a`: date>, v variant, t timestamp_ntz",
    "`größe` double, `sel``ect` date, time timestamp_ltz, _x binary",
    "  time_hour   timestamp  ",
]
BAD = [
    ("id", "must have a type at character 3, not the end"),
    ("id bigintt", "bigintt (character 4) is not a type that a Delta table has; did you mean bigint?"),
    ("id timestmp", "did you mean timestamp?"),
    ("id int,", "must have the name of a column"),
    ("id int name string", "must have a comma at character 8, not 'name'"),
    ("a.b int", "must have a type at character 2, not '.'"),
    ("my-col int", "cannot be read at character 3"),
    ("a array<int", "must have `>` at character 12, not the end"),
    ("a map<int>", "must have `,` at character 10, not '>'"),
    ("a struct<x int", "must have a comma or `>`"),
    ("a varchar(20)", "did you mean string?"),
    ("a time", "is not a type that a Delta table has"),
    ("a struct<>", "must have the name of a column"),
    ("größe int", "cannot be read at character 3"),
    ("a decimal(1,2,3)", "must have `)`"),
    ("a decimal(x)", "must have a number"),
    ("a int not nul", "must have NULL"),
    ("a int comment x", "must have a quoted comment"),
    ("a int, A string", "names the column A twice"),
    ("a " + "array<" * 200 + "int", "must have a type"),
]


@pytest.mark.parametrize("ddl", GOOD)
def test_a_list_of_columns_is_taken_as_it_is(ddl: str) -> None:
    assert check_ddl(ddl) == ddl


@pytest.mark.parametrize(("ddl", "what"), BAD)
def test_what_is_no_schema_is_refused_with_the_character(ddl: str, what: str) -> None:
    with pytest.raises(ValueError, match="character") as caught:
        check_ddl(ddl)
    assert what in str(caught.value)
