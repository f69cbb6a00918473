"""The grammar: every clause as Databricks' documentation has it, and where an error stands."""

import pytest

from include.copy_into.errors import StatementRefused
from include.copy_into.grammar import parse
from include.copy_into.syntax import Place

SYNTAX, QUERY = "COPY_INTO_SYNTAX_ERROR", "COPY_INTO_UNSUPPORTED_FEATURE"
CREDENTIALS, ENCRYPTION = "COPY_INTO_CREDENTIALS_NOT_ALLOWED_ON", "COPY_INTO_ENCRYPTION_NOT_ALLOWED_ON"


def texts(words: object) -> list[str]:
    return [word.text for word in words]  # type: ignore[attr-defined]


def test_every_clause_of_the_statement() -> None:
    syntax = parse(
        """COPY INTO main.bronze (id, `b c`) -- a comment
        FROM 's3://bucket/base/path'
        FILEFORMAT = csv
        VALIDATE 15 ROWS
        FILES = ('f1.csv', 'f2.csv')
        FORMAT_OPTIONS ('header' = 'true', delimiter = '|', "quote" = '\\'', maxColumns = 10, multiLine = true)
        COPY_OPTIONS ('force' = 'true', mergeSchema = false);"""
    )
    assert texts(syntax.target) == ["main", "bronze"]
    assert texts(syntax.columns) == ["id", "b c"]
    assert (syntax.source.text, syntax.file_format.text) == ("s3://bucket/base/path", "csv")
    assert syntax.validate_rows == 15
    assert texts(syntax.files) == ["f1.csv", "f2.csv"]
    assert [(one.key.text, one.value) for one in syntax.format_options] == [
        ("header", "true"), ("delimiter", "|"), ("quote", "'"), ("maxColumns", "10"), ("multiLine", True)
    ]  # fmt: skip
    assert [(one.key.text, one.value) for one in syntax.copy_options] == [("force", "true"), ("mergeSchema", False)]


def test_by_position_and_a_table_by_its_path() -> None:
    syntax = parse("COPY INTO delta.`/some/table` BY POSITION FROM 'in' FILEFORMAT = CSV")
    assert texts(syntax.target) == ["delta", "/some/table"]
    assert syntax.by_position == Place(1, 31)


def test_a_select_keeps_each_expression_as_it_was_written() -> None:
    syntax = parse(
        "COPY INTO t FROM (SELECT _c0::bigint key, CAST(_c1 AS INT) AS `index`, 'FROM' || x,\n"
        "  upper(name), _metadata.file_path, * FROM 'in') FILEFORMAT = JSON PATTERN = 'folder1/file_[a-g].csv'"
    )
    assert syntax.select is not None
    assert [(one.sql, one.alias) for one in syntax.select] == [
        ("_c0::bigint", "key"),
        ("CAST(_c1 AS INT)", "index"),
        ("'FROM' || x", None),
        ("upper(name)", None),
        ("_metadata.file_path", None),
        ("*", None),
    ]
    assert syntax.select[3].place == Place(2, 3)
    assert syntax.pattern is not None
    assert syntax.pattern.text == "folder1/file_[a-g].csv"


@pytest.mark.parametrize(("clause", "rows"), [("VALIDATE", None), ("VALIDATE ALL", None), ("VALIDATE 3 ROWS", 3)])
def test_validate_has_three_forms(clause: str, rows: int | None) -> None:
    syntax = parse(f"COPY INTO t FROM 's' FILEFORMAT = CSV {clause}")
    assert syntax.validate is not None
    assert syntax.validate_rows == rows


def test_a_parameter_stands_for_a_text() -> None:
    syntax = parse("COPY INTO t FROM :source FILEFORMAT = CSV FILES = (:file)", {"source": "in", "file": "it's"})
    assert (syntax.source.text, texts(syntax.files)) == ("in", ["it's"])


@pytest.mark.parametrize(
    ("sql", "condition", "place", "words"),
    [
        ("", SYNTAX, None, "empty"),
        ("SELECT 1", SYNTAX, (1, 1), "Expected COPY"),
        ("COPY INTO t FROM 's", SYNTAX, None, "ends too early"),
        ("COPY INTO t FROM 's'\nFILEFORMT = CSV", SYNTAX, (2, 1), "did you mean FILEFORMAT?"),
        ("COPY INTO t FROM 's' FILEFORMAT =", SYNTAX, (1, 34), "found the end"),
        ("COPY INTO t FROM s FILEFORMAT = CSV", SYNTAX, (1, 18), "path in quotes"),
        ("COPY INTO t () FROM 's' FILEFORMAT = CSV", SYNTAX, (1, 14), "a column's name"),
        ("COPY INTO t FROM 's' FILEFORMAT = CSV FORMAT_OPTION ('a' = 'b')", SYNTAX, (1, 39), "mean FORMAT_OPTIONS"),
        ("COPY INTO t FROM 's' FILEFORMAT = CSV FORMAT_OPTIONS ('a')", SYNTAX, (1, 58), "`=`"),
        ("COPY INTO t FROM 's' FILEFORMAT = CSV FILES = ('a') PATTERN = 'b'", SYNTAX, (1, 53), "PATTERN"),
        ("COPY INTO t FROM 's' FILEFORMAT = CSV VALIDATE VALIDATE", SYNTAX, (1, 48), "twice"),
        ("COPY INTO t FROM 's' FILEFORMAT = CSV VALIDATE 0 ROWS", SYNTAX, (1, 48), "from 1"),
        ("COPY INTO t FROM 's' FILEFORMAT = CSV; COPY INTO t FROM 's' FILEFORMAT = CSV", SYNTAX, None, "2 statements"),
        ("COPY INTO t FROM :s FILEFORMAT = CSV", SYNTAX, (1, 19), "no value"),
        ("COPY INTO t FROM (SELECT a +, b FROM 's') FILEFORMAT = CSV", SYNTAX, (1, 29), "expression"),
        ("COPY INTO t FROM (SELECT FROM 's') FILEFORMAT = CSV", SYNTAX, (1, 26), "an expression"),
        ("COPY INTO t FROM (SELECT a FROM 's' GROUP BY a) FILEFORMAT = CSV", QUERY, (1, 37), "GROUP BY"),
        ("COPY INTO t FROM (SELECT a FROM 's' WHERE a > 1) FILEFORMAT = CSV", QUERY, (1, 37), "WHERE"),
        ("COPY INTO t FROM (SELECT DISTINCT a FROM 's') FILEFORMAT = CSV", QUERY, (1, 26), "DISTINCT"),
        ("COPY INTO t FROM (SELECT (SELECT 1) FROM 's') FILEFORMAT = CSV", QUERY, (1, 26), "SELECT 1"),
        ("COPY INTO t FROM (SELECT explode(a) FROM 's') FILEFORMAT = CSV", QUERY, (1, 26), "EXPLODE"),
        ("COPY INTO t FROM 's' WITH (CREDENTIAL c) FILEFORMAT = CSV", CREDENTIALS, (1, 22), "credentials"),
        ("COPY INTO t FROM 's' WITH (ENCRYPTION (TYPE = 'x')) FILEFORMAT = CSV", ENCRYPTION, (1, 22), "credentials"),
    ],
)  # fmt: skip
def test_an_error_names_its_class_its_place_and_what_was_expected(
    sql: str, condition: str, place: tuple[int, int] | None, words: str
) -> None:
    with pytest.raises(StatementRefused) as refused:
        parse(sql)
    assert refused.value.condition == condition
    assert words in str(refused.value)
    assert refused.value.remedy
    if place is not None:
        assert (refused.value.line, refused.value.column) == place


def test_a_parameter_that_the_statement_does_not_have_is_refused() -> None:
    with pytest.raises(StatementRefused, match="no parameter :day"):
        parse("COPY INTO t FROM 's' FILEFORMAT = CSV", {"day": "x"})
