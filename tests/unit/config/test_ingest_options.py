import pytest
from pydantic import ValidationError

from include.config.autoloader_options import OPTIONS, REFUSED_OPTIONS
from include.config.options import IngestOptions
from include.config.spark_options import READER_OPTIONS, REFUSED_READER_OPTIONS

# All that Spark 4.2.0 declares in JSONOptions, CSVOptions, ParquetOptions, TextOptions and FileSourceOptions.
SPARK_OPTIONS = [
    "samplingRatio",
    "primitivesAsString",
    "prefersDecimal",
    "allowComments",
    "allowUnquotedFieldNames",
    "allowSingleQuotes",
    "allowNumericLeadingZeros",
    "allowNonNumericNumbers",
    "allowBackslashEscapingAnyCharacter",
    "allowUnquotedControlChars",
    "compression",
    "mode",
    "dropFieldIfAllNull",
    "ignoreNullFields",
    "locale",
    "dateFormat",
    "timestampFormat",
    "timestampNTZFormat",
    "timeFormat",
    "enableDateTimeParsingFallback",
    "multiLine",
    "lineSep",
    "pretty",
    "sortKeys",
    "inferTimestamp",
    "timeZone",
    "writeNonAsciiCharacterAsCodePoint",
    "useUnsafeRow",
    "encoding",
    "charset",
    "header",
    "inferSchema",
    "ignoreLeadingWhiteSpace",
    "ignoreTrailingWhiteSpace",
    "preferDate",
    "escapeQuotes",
    "quoteAll",
    "enforceSchema",
    "quote",
    "escape",
    "comment",
    "maxColumns",
    "maxCharsPerColumn",
    "charToEscapeQuoteEscaping",
    "emptyValue",
    "inputBufferSize",
    "nullValue",
    "nanValue",
    "positiveInf",
    "negativeInf",
    "unescapedQuoteHandling",
    "extension",
    "codec",
    "sep",
    "delimiter",
    "columnPruning",
    "ignoreCorruptFiles",
    "ignoreMissingFiles",
    "mergeSchema",
    "datetimeRebaseMode",
    "int96RebaseMode",
    "wholetext",
]


def problems(options: dict[str, object]) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        IngestOptions.model_validate(options)
    return [f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}" for detail in caught.value.errors()]


def read(**options: object) -> IngestOptions:
    return IngestOptions.model_validate({"cloudFiles.format": "csv", **options})


@pytest.mark.parametrize("name", SPARK_OPTIONS)
def test_every_option_of_sparks_readers_is_taken_or_refused_with_a_reason(name: str) -> None:
    taken = {known for option in READER_OPTIONS for known in (option.name, *option.aliases)}
    assert (name in taken) != (name in REFUSED_READER_OPTIONS)


@pytest.mark.parametrize("name", [*REFUSED_READER_OPTIONS, *REFUSED_OPTIONS])
def test_a_refused_option_is_told_with_the_reason(name: str) -> None:
    for spelling in (name, name.upper()):
        (problem,) = problems({"cloudFiles.format": "csv", spelling: "x"})
        assert problem.startswith(f"{spelling}: is refused: ")


@pytest.mark.parametrize("name", [option.name for option in (*OPTIONS.values(), *READER_OPTIONS)])
def test_every_option_refuses_a_value_that_is_no_scalar(name: str) -> None:
    assert any(problem.startswith(f"{name}: ") for problem in problems({name: {"nested": 1}}))


@pytest.mark.parametrize(
    ("written", "suggestion"),
    [
        ("cloudFiles.maxFilesPerTriger", "cloudFiles.maxFilesPerTrigger"),
        ("format", "cloudFiles.format"),
        ("schemaHints", "cloudFiles.schemaHints"),
        ("cloudFiles.pathGlobFilter", "pathGlobFilter"),
        ("timestampformat_", "timestampFormat"),
        ("CLOUDFILES.INFERCOLUMNTYPE", "cloudFiles.inferColumnTypes"),
    ],
)
def test_a_misspelt_option_is_an_error_with_a_suggestion(written: str, suggestion: str) -> None:
    (problem,) = problems({"cloudFiles.format": "json", written: "x"})
    assert problem == f"{written}: unknown option; did you mean {suggestion}?"


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("header", "yes", "must be true or false"),
        ("header", 1, "must be true or false"),
        ("nullValue", -999, "must be text (quote it)"),
        ("quote", "''", "must be one character"),
        ("sep", "", "must not be empty"),
        ("timeZone", "Mars/Olympus", "must be a time zone"),
        ("timeZone", "../../etc/passwd", "must be a time zone"),
        ("maxColumns", 0, "must be a whole number from 1"),
        ("unescapedQuoteHandling", "SKIP_VALUE", "must be one of STOP_AT_CLOSING_QUOTE"),
        ("encoding", "UFT-8", "did you mean UTF-8?"),
        ("pathGlobFilter", "2026/*.csv", "cannot hold a /"),
        ("cloudFiles.maxFilesPerTrigger", 0, "must be a whole number from 1"),
        ("cloudFiles.maxFilesPerTrigger", True, "must be a whole number from 1"),
        ("cloudFiles.maxBytesPerTrigger", "0g", "must be a size"),
        ("cloudFiles.maxBytesPerTrigger", "10 gigs", "must be a size"),
        ("cloudFiles.schemaEvolutionMode", "addColumns", "did you mean addNewColumns?"),
        ("cloudFiles.partitionColumns", "a,b,a", "names a column twice"),
        ("modifiedAfter", "yesterday", "must be a moment"),
        ("recursiveFileLookup", False, "sub-folders are always read"),
        ("cloudFiles.format", "jsonl", "did you mean json?"),
    ],
)
def test_a_wrong_value_is_refused_with_what_it_must_be(name: str, value: object, what: str) -> None:
    found = problems({"cloudFiles.format": "csv", name: value})
    assert any(problem.startswith(f"{name}: ") and what in problem for problem in found), found


def test_an_option_of_another_format_is_refused() -> None:
    assert problems({"cloudFiles.format": "json", "header": True}) == ["header: is an option of csv, not of json"]


@pytest.mark.parametrize("pair", [("sep", "delimiter"), ("encoding", "charset"), ("header", "HEADER")])
def test_one_option_under_two_names_is_refused(pair: tuple[str, str]) -> None:
    value = {"sep": ";", "encoding": "UTF-8", "header": True}[pair[0]]
    found = problems({"cloudFiles.format": "csv", pair[0]: value, pair[1]: value})
    assert found == [f"{pair[1]}: is set twice: it says the same as {pair[0]}"]


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("1g", 1 << 30),
        ("10GB", 10 << 30),
        ("512 m", 512 << 20),
        ("64KiB", 64 << 10),
        ("2t", 2 << 40),
        (77, 77),
        ("77", 77),
    ],
)
def test_byte_limits_take_suffixes_in_powers_of_1024(written: str | int, size: int) -> None:
    assert read(**{"cloudFiles.maxBytesPerTrigger": written}).max_bytes_per_trigger == size


def test_values_reach_spark_as_spark_writes_them() -> None:
    options = read(IGNORELEADINGWHITESPACE=True, maxcolumns=30, sep="\\t", nullValue="NA", recursiveFileLookup="true")
    assert options.reader == {
        "ignoreLeadingWhiteSpace": "true",
        "maxColumns": "30",
        "sep": "\t",
        "nullValue": "NA",
        "escape": '"',
    }
