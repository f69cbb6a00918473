"""The options of Spark 4.2's readers for json, csv, parquet, text, xml: handed on, or refused.

Taken from the option sets in Spark's own JSONOptions, CSVOptions, ParquetOptions and TextOptions. Spark accepts and
ignores a misspelt option; here each one is in one of the two tables, or is an error.
"""

from include.config.option import CHARACTER, COUNT, FILLED, FLAG, SEPARATOR, TEXT, ZONE, Option, choice

JSON, CSV, PARQUET, PLAIN = ("json",), ("csv",), ("parquet",), ("text",)
ROWS = ("json", "csv")
XML = ("xml",)
_WIDE = ("UTF-16", "UTF-16BE", "UTF-16LE", "UTF-32")
# One byte a character, so that a line's end is the byte that it is in ASCII.
NARROW_ENCODINGS = ("US-ASCII", "ISO-8859-1", "ISO-8859-15", "windows-1250", "windows-1251", "windows-1252")
ENCODINGS = ("UTF-8", *NARROW_ENCODINGS, *_WIDE)
LENIENT_JSON = (
    "allowComments",
    "allowUnquotedFieldNames",
    "allowSingleQuotes",
    "allowNumericLeadingZeros",
    "allowNonNumericNumbers",
    "allowBackslashEscapingAnyCharacter",
    "allowUnquotedControlChars",
)
_REBASE = choice("EXCEPTION", "CORRECTED", "LEGACY")

READER_OPTIONS: tuple[Option, ...] = (
    Option("dateFormat", FILLED, "The pattern of dates.", ROWS),
    Option("timestampFormat", FILLED, "The pattern of timestamps.", ROWS),
    Option("timestampNTZFormat", FILLED, "The pattern of timestamps without a zone.", ROWS),
    Option("timeFormat", FILLED, "The pattern of times of day.", ROWS),
    Option("locale", FILLED, "The language of names of days and months, as en-US.", ROWS),
    Option("timeZone", ZONE, "The zone of timestamps that name none; UTC by default.", ROWS),
    Option("enableDateTimeParsingFallback", FLAG, "Also read dates as Spark 1 and 2 did.", ROWS),
    Option("encoding", choice(*ENCODINGS), "The character set; UTF-8 by default.", ROWS, aliases=("charset",)),
    Option("lineSep", SEPARATOR, "What ends a record, in place of a line's end.", (*ROWS, "text")),
    Option("multiLine", FLAG, "Records may hold line breaks within quotes.", ROWS),
    Option("prefersDecimal", FLAG, "Infer decimals rather than doubles.", JSON),
    Option("inferTimestamp", FLAG, "Infer timestamps from texts of their pattern.", JSON),
    Option(
        "singleVariantColumn", FILLED, "The one column, a VARIANT, that each record goes to, whatever its keys.", JSON
    ),
    Option(
        "allowComments", FLAG, "Skip Java and C++ comments. What the options allow... do not take is refused.", JSON
    ),
    Option("allowUnquotedFieldNames", FLAG, "Take keys without quotes.", JSON),
    Option("allowSingleQuotes", FLAG, "Take single quotes.", JSON),
    Option("allowNumericLeadingZeros", FLAG, "Take numbers such as 007.", JSON, aliases=("allowNumericLeadingZero",)),
    Option("allowNonNumericNumbers", FLAG, "Take NaN, Infinity and the like as numbers.", JSON),
    Option("allowBackslashEscapingAnyCharacter", FLAG, "Take a backslash before any character.", JSON),
    Option("allowUnquotedControlChars", FLAG, "Take control characters within texts.", JSON),
    Option("header", FLAG, "The first line of each file names its columns; they are matched by name.", CSV),
    Option("sep", SEPARATOR, "What separates fields; a comma by default.", CSV, aliases=("delimiter",)),
    Option("quote", CHARACTER, "What quotes a field; empty turns quoting off.", CSV),
    Option("escape", CHARACTER, "What escapes a quote within a quoted field.", CSV),
    Option("charToEscapeQuoteEscaping", CHARACTER, "What escapes the escape.", CSV),
    Option("comment", CHARACTER, "Lines that begin with it are no records.", CSV),
    Option("ignoreLeadingWhiteSpace", FLAG, "Cut white space before values.", CSV),
    Option("ignoreTrailingWhiteSpace", FLAG, "Cut white space after values.", CSV),
    Option("nullValue", TEXT, "The text that stands for NULL.", CSV),
    Option("emptyValue", TEXT, "What a quoted empty field is read as.", CSV),
    Option("nanValue", TEXT, "The text that stands for not-a-number.", CSV),
    Option("positiveInf", TEXT, "The text that stands for infinity.", CSV),
    Option("negativeInf", TEXT, "The text that stands for minus infinity.", CSV),
    Option("preferDate", FLAG, "Infer dates where all values are dates.", CSV),
    Option("maxColumns", COUNT, "The most columns a record can have.", CSV),
    Option("maxCharsPerColumn", COUNT, "The most characters a value can have; no limit by default.", CSV),
    Option(
        "unescapedQuoteHandling",
        choice("STOP_AT_CLOSING_QUOTE", "BACK_TO_DELIMITER", "STOP_AT_DELIMITER", "RAISE_ERROR"),
        "What to make of a quote within a field that is not escaped.",
        CSV,
    ),
    Option("datetimeRebaseMode", _REBASE, "How dates before 1900 of old writers are read.", PARQUET),
    Option("int96RebaseMode", _REBASE, "How INT96 timestamps before 1900 of old writers are read.", PARQUET),
    Option("rowTag", FILLED, "The name of the elements that are records. Required.", XML),
    Option("attributePrefix", FILLED, "What the columns of attributes begin with; _ by default.", XML),
    Option("valueTag", FILLED, "The column of an element's text beside its attributes; _VALUE by default.", XML),
    Option("excludeAttribute", FLAG, "Leave attributes out.", XML),
    Option("ignoreSurroundingSpaces", FLAG, "Cut white space around values; true by default.", XML),
    Option("wholetext", FLAG, "A file is one record.", PLAIN),
)

_COUNTED = "Sluice counts each record as loaded or quarantined"
_WRITES = "it has a meaning for writing only"
REFUSED_READER_OPTIONS: dict[str, str] = {
    "mode": f"{_COUNTED}, so records are neither dropped nor nulled; say what happens to them with ingest.on_error",
    "columnNameOfCorruptRecord": "what cannot be read goes to the quarantine table with its raw text",
    "badRecordsPath": "what cannot be read goes to the quarantine table; see `sluice quarantine NAME`",
    "ignoreCorruptFiles": "it would load half a file and say nothing; a broken file is quarantined and the rest loaded",
    "ignoreMissingFiles": "a file that vanished is reported by name",
    "enforceSchema": "columns are always matched by the names in the header, never by position",
    "inferSchema": "use cloudFiles.inferColumnTypes",
    "primitivesAsString": "use cloudFiles.inferColumnTypes: false, which is the default",
    "samplingRatio": "a schema inferred from a sample would depend on chance",
    "dropFieldIfAllNull": "a key that holds only nulls in the first files would be unknown in the next",
    "columnPruning": "every column of every record is read, so that malformed records are seen",
    "readerCaseSensitive": "column names are compared as they are written",
    "mergeSchema": "use cloudFiles.schemaEvolutionMode",
    "compression": "the compression is told by the file name's ending (.gz, .bz2, .zst ...)",
    "codec": "the compression is told by the file name's ending (.gz, .bz2, .zst ...)",
    "inputBufferSize": "it is internal to the CSV parser",
    "useUnsafeRow": "it is internal to Spark",
    "ignoreNullFields": _WRITES,
    "pretty": _WRITES,
    "sortKeys": _WRITES,
    "writeNonAsciiCharacterAsCodePoint": _WRITES,
    "escapeQuotes": _WRITES,
    "quoteAll": _WRITES,
    "extension": _WRITES,
    "path": "the files are named by ingest.source",
    "paths": "the files are named by ingest.source",
    "basePath": "the files are named by ingest.source",
    "maxFilesPerTrigger": "use cloudFiles.maxFilesPerTrigger",
    "maxBytesPerTrigger": "use cloudFiles.maxBytesPerTrigger",
    "maxFileAge": "the ledger never forgets a file, so no age limit is needed",
    "latestFirst": "files are loaded in the order of their paths, so that the same input gives the same tables",
    "fileNameOnly": "a file is known by its whole path, size and time",
    "cleanSource": "Sluice never moves or deletes what it has loaded",
}
