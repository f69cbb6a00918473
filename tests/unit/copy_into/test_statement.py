"""The typed statement: names, options, combinations."""

import pytest

from include.copy_into.errors import StatementRefused
from include.copy_into.statement import read_statement

OPTION, UNSUPPORTED = "COPY_INTO_OPTION_INVALID", "COPY_INTO_UNSUPPORTED_FEATURE"
BASE = "COPY INTO bronze.t FROM 'in' FILEFORMAT = "


def test_options_are_those_of_the_reader_and_of_the_statement() -> None:
    statement = read_statement(
        BASE + "CSV FORMAT_OPTIONS ('header' = 'true', 'inferSchema' = 'true', 'mergeSchema' = 'true', "
        "'pathGlobFilter' = '*.csv', 'ignoreCorruptFiles' = 'false', 'mode' = 'PERMISSIVE') "
        "COPY_OPTIONS ('mergeSchema' = 'true', 'on_error' = 'quarantine 2%', 'changedFiles' = 'append')"
    )
    assert statement.ingest.options.reader["header"] == "true"
    assert statement.ingest.options.infer_column_types
    assert statement.ingest.options.path_glob_filter == "*.csv"
    assert not statement.options.skip_corrupt_files
    assert statement.options.merge_schema
    assert not statement.options.force
    assert statement.options.on_error.max_ratio == 0.02
    assert statement.options.changed_files == "append"


@pytest.mark.parametrize(
    ("target", "table"),
    [("t", "default.t"), ("a.t", "a.t"), ("delta.`/x/t`", "/x/t"), ("delta.`s3://b/t`", "s3://b/t")],
)
def test_a_target_is_a_table_or_a_path(target: str, table: str) -> None:
    assert read_statement(f"COPY INTO {target} FROM 'in' FILEFORMAT = JSON").table == table


@pytest.mark.parametrize(
    ("sql", "condition", "words"),
    [
        ("COPY INTO a.b.c FROM 'in' FILEFORMAT = CSV", "COPY_INTO_SYNTAX_ERROR", "schema.table"),
        ("COPY INTO a.b FROM '../in' FILEFORMAT = CSV", "COPY_INTO_SYNTAX_ERROR", "upwards"),
        (BASE + "CVS", "COPY_INTO_SOURCE_FILE_FORMAT_NOT_SUPPORTED", "did you mean CSV?"),
        (BASE + "CSV FORMAT_OPTIONS ('hedaer' = 'true')", OPTION, "did you mean header?"),
        (BASE + "CSV FORMAT_OPTIONS ('header' = 'maybe')", OPTION, "true or false"),
        (BASE + "CSV FORMAT_OPTIONS ('inferSchema' = 'maybe')", OPTION, "true or false"),
        (BASE + "CSV FORMAT_OPTIONS ('mode' = 'LENIENT')", OPTION, "FAILFAST"),
        (BASE + "JSON FORMAT_OPTIONS ('header' = 'true')", OPTION, "not of json"),
        (BASE + "CSV FORMAT_OPTIONS ('header' = 'true', 'header' = 'true')", OPTION, "twice"),
        (BASE + "CSV FORMAT_OPTIONS ('badRecordsPath' = 'x')", OPTION, "quarantine"),
        (BASE + "CSV FORMAT_OPTIONS ('cloudFiles.format' = 'x')", OPTION, "Auto Loader"),
        (BASE + "CSV FORMAT_OPTIONS ('rescuedDataColumn' = 'r')", OPTION, "quarantine"),
        (BASE + "CSV FORMAT_OPTIONS ('primitivesAsString' = 'true')", OPTION, "not of csv"),
        (BASE + "CSV COPY_OPTIONS ('forse' = 'true')", OPTION, "did you mean force?"),
        (BASE + "CSV COPY_OPTIONS ('force' = 'yes')", OPTION, "true or false"),
        (BASE + "CSV COPY_OPTIONS ('onError' = 'continue')", OPTION, "quarantine"),
        (BASE + "CSV COPY_OPTIONS ('onError' = 'quarantine 200%')", OPTION, "budget"),
        (BASE + "CSV COPY_OPTIONS ('changedFiles' = 'replace')", OPTION, "ingest pipeline"),
        (BASE + "CSV FILES = ('/abs.csv')", "COPY_INTO_SYNTAX_ERROR", "below the source"),
        (BASE + "CSV FILES = ('../up.csv')", "COPY_INTO_SYNTAX_ERROR", "below the source"),
        ("COPY INTO a.b (x, X) FROM 'in' FILEFORMAT = CSV", "COLUMN_ALREADY_EXISTS", "twice"),
        ("COPY INTO a.b (x) FROM 'in' FILEFORMAT = JSON", UNSUPPORTED, "without a header"),
        ("COPY INTO a.b BY POSITION FROM (SELECT a FROM 'i') FILEFORMAT = CSV", UNSUPPORTED, "SELECT"),
    ],
)  # fmt: skip
def test_a_wrong_statement_is_refused_with_its_place(sql: str, condition: str, words: str) -> None:
    with pytest.raises(StatementRefused) as refused:
        read_statement(sql)
    assert refused.value.condition == condition
    assert words in str(refused.value)
    assert refused.value.line == 1
    assert refused.value.exit_code == 64


def test_json_types_are_inferred_unless_all_is_to_be_text() -> None:
    assert read_statement(BASE + "JSON").ingest.options.infer_column_types
    as_text = read_statement(BASE + "JSON FORMAT_OPTIONS ('primitivesAsString' = 'true')")
    assert not as_text.ingest.options.infer_column_types


def test_the_same_text_and_parameters_are_one_identity() -> None:
    sql = "COPY INTO a.b FROM :s FILEFORMAT = CSV"
    spaced = sql.replace(" FROM", "\n  FROM")
    one, two, three = (read_statement(text, {"s": s}) for text, s in ((sql, "x"), (spaced, "x"), (sql, "y")))
    assert one.identity == two.identity != three.identity
