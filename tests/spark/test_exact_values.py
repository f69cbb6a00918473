"""A value is loaded as it stands in the file, or is rescued with its digits; never rounded, cut, or made up."""

import json
import re
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F  # noqa: N812

from include.probe.plain_values import exact_columns
from include.probe.probe import probe
from include.probe.report import ProbeTask
from include.probe.streams import Planned
from include.probe.values import json_misfit, text_misfit
from spark_jobs.engine.batch_files import BatchFile
from spark_jobs.engine.frames import CORRUPT, FILE, any_true
from spark_jobs.engine.readers import read_files
from tests.spark.conftest import Landing

TYPES = {
    "m": "decimal(5, 2)", "big": "decimal(38, 10)", "f": "float", "d": "double", "t": "timestamp", "n": "timestamp_ntz",
    "day": "date", "b": "boolean", "tiny": "tinyint", "i": "int", "l": "bigint",
}  # fmt: skip
SCHEMA = ", ".join(["id int", *(f"{name} {kind}" for name, kind in TYPES.items())])
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
NAIVE = NOON.replace(tzinfo=None)

# Texts in files: what becomes of each in CSV and XML, and of a quoted one in JSON. None: it is rescued.
TEXTS: dict[str, dict[str, Any]] = {
    "m": {
        "1.05": Decimal("1.05"), "1.0500": Decimal("1.05"), "1.005": None, f"1.{'0' * 40}1": None,
        "999.99": Decimal("999.99"), "1000": None, "1,5": None, "1e2": Decimal("100.00"), "1e-3": None,
        "1.5e-400": None, "NaN": None, "1F": None, "abc": None, "-0.01": Decimal("-0.01"),
    },
    "big": {"1.00000000005": None, "12345678901234567890.1": Decimal("12345678901234567890.1"), "1" * 29: None},
    "t": {
        "2024-05-01T12:00:00Z": NOON, "2024-05-01 12:00:00": NOON, "2024-05-01T14:00:00+02:00": NOON,
        "2024-05-01": NOON.replace(hour=0), "2024-5-1 12:00": NOON, "2024-05-01T12:00:00.123456Z":
        NOON.replace(microsecond=123456), "2024-05-01T12:00:00.1234560Z": NOON.replace(microsecond=123456),
        "2024-05-01T12:00:00.1234567Z": None, "2024-5-1T1:0:0.1234567": None, "12:00": None, "T12:00": None,
        "2024": None, "2024-05": None, "12:00-08:00": None, "1:00-08:00": None, "20240501": None, "2024-05-32": None,
        "now": None,
    },
    "n": {
        "2024-05-01T12:00:00": NAIVE, "2024-05-01 12:00": NAIVE, "2024-05-01T12:00:00Z": None,
        "2024-05-01T12:00:00+02:00": None, "2024-05-01T12:00:00.1234567": None, "12:00": None, "2024": None,
    },
    "day": {
        "2024-05-01": date(2024, 5, 1), "2024-5-1": date(2024, 5, 1), "1500-02-28": date(1500, 2, 28), "2024": None,
        "1500-02-29": None, "2024-05": None, "2024-05-01 12:00": None, "2024-05-01T": None, "12:00": None,
        "15000": None,
    },
    "b": {"true": True, "FALSE": False, "t": None, "yes": None},
    "tiny": {"127": 127, "-128": -128, "128": None, "200": None},
    "i": {"2147483647": 2147483647, "2147483648": None, "5.": None, "5.0": None, "1e3": None, "0x10": None},
    "l": {"9223372036854775807": 9223372036854775807, "9223372036854775808": None},
    "f": {"1.5": 1.5, "1e39": None, "3.4028235e38": 3.4028234663852886e38, "12F": None, "12d": None, "0x1p3": None},
    "d": {"1.5": 1.5, "1e400": None, "-1e400": None, "12D": None, "0x1p3": None, "1,234.5": None, "12abc": None},
}  # fmt: skip
# Numbers in JSON, not quoted.
NUMBERS: dict[str, dict[str, Any]] = {
    "m": {"1.05": Decimal("1.05"), "1.0500": Decimal("1.05"), "1.005": None, "1000": None, "1e2": Decimal("100.00")},
    "big": {"1.00000000005": None, "12345678901234567890.1": Decimal("12345678901234567890.1")},
    "t": {
        "1714564800": NOON,
        "-1": datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC),
        "10000000000000": None,
        "1.5": None,
    },
    "n": {"1714564800": None},
    "day": {"15000": None, "20240501": None},
    "tiny": {"127": 127, "200": None, "255": None},
    "i": {"2147483648": None, "5.0": None},
    "f": {"1.5": 1.5, "1e39": None, "-1e39": None},
    "d": {"1.5": 1.5},
}
DECLARED: dict[str, Any] = {"cloudFiles.inferColumnTypes": False}
RESCUING = {"rescuedDataColumn": "_rescued_data"}
FORMS: dict[str, dict[str, Any]] = {"csv": {"header": True}, "json": {}, "xml": {"rowTag": "r"}}
NO_DAY = (("t", "2024-05-32"), ("day", "1500-02-29"))  # a plan knows no calendar
QUOTED = ("m", "big", "t", "n", "day")  # what JSON may quote


Case = tuple[str, str, Any]  # column, text, value


def cases_of(table: dict[str, dict[str, Any]], *names: str) -> list[Case]:
    return [(name, text, value) for name in names or table for text, value in table[name].items()]


def wrong(landing: Landing, cases: list[Case]) -> dict[tuple[str, str], tuple[Any, Any]]:
    """The cases whose value or rescued text is another one: what they are."""
    found = {}
    rows = [row for row in landing.rows("id", *TYPES, "_rescued_data") if row["id"] is not None]
    assert sorted(row["id"] for row in rows) == list(range(len(cases)))
    for row in rows:
        name, text, value = cases[row["id"]]
        left = json.loads(row["_rescued_data"] or "{}", parse_float=str, parse_int=str)
        if (row[name], left.get(name)) != (value, text if value is None else None):
            found[name, text] = (row[name], left.get(name))
    return found


def csv_of(cases: list[Case]) -> str:
    lines = [["id", *TYPES]]
    for number, (name, text, _) in enumerate(cases):
        lines.append([str(number), *(f'"{text}"' if other == name else "" for other in TYPES)])
    return "".join(",".join(line) + "\n" for line in lines)


def json_of(quoted: list[Case], bare: list[Case], first: int = 0) -> list[str]:
    texts = [(name, json.dumps(text)) for name, text, _ in quoted] + [(name, text) for name, text, _ in bare]
    return [f'{{"id": {number}, "{name}": {text}}}' for number, (name, text) in enumerate(texts, first)]


def test_csv_values(landing: Landing) -> None:
    cases = cases_of(TEXTS)
    landing.configure({**DECLARED, "cloudFiles.format": "csv", "header": True, **RESCUING}, schema=SCHEMA)
    landing.drop("a.csv", csv_of(cases))
    landing.run()
    assert wrong(landing, cases) == {}


PLAIN = {
    "d": ["1.5", ".5", "5.", "-0.0", "+1", "007.250", "9" * 32, ".", "-", "1.2.3"],
    "f": ["16777217", "0.1", "-" + "9" * 31, "1..2"],
    "m": ["1.05", "999.99", "1000", "-0.10", "00012.5", "."],
    "big": ["12345678901234567890.1", "0.0000000001", "9" * 29],
    "day": ["2024-05-01", "2024-02-30", "0000-01-01"],
    "t": ["2024-05-01", "2024-05-01 12:00:00", "2024-05-01T25:00:00Z", "2024-05-01T12:00:00.123456+02:00"],
    "n": ["2024-05-01T12:00:00", "2024-05-01", "2024-13-01T12:00:00.5"],
}


def test_plain_csv_values_are_the_same_read_by_spark_alone(landing: Landing, tmp_path: Path) -> None:
    """What the probe calls plain is not read as text first: same values, same misfits."""
    landing.configure({**DECLARED, "cloudFiles.format": "csv", "header": True}, schema=SCHEMA)
    ingest, schema = landing.pipeline.ingestion(), landing._spark.createDataFrame([], SCHEMA).schema
    files: list[BatchFile] = []
    exact = exact_columns(json.loads(schema.json()))
    for name, texts in PLAIN.items():
        for kind in {re.sub("[0-9]", "d", text) if name in ["day", "t", "n"] else "" for text in texts}:
            path = tmp_path / f"{len(files)}.csv"
            kept = [text for text in texts if not kind or re.sub("[0-9]", "d", text) == kind]
            path.write_text(f"id,{name}\n" + "".join(f"{number},{text}\n" for number, text in enumerate([*kept, ""])))
            planned = Planned(str(path), path.stat().st_size, path.stat().st_mtime_ns // 1000)
            report = probe(ProbeTask(path.name, planned, "csv", None, {"header": "true"}, exact=exact))
            assert 1 in report.looks, (name, kind)
            files.append(BatchFile(path.name, 1, planned, report))

    def rows(given: list[BatchFile]) -> list[Any]:
        frame = read_files(landing._spark, ingest, schema, given)
        texts = [frame[name].cast("string") for name in ("id", *TYPES)]  # Python has no year 0
        return frame.select(*texts, frame[CORRUPT].isNotNull(), FILE).sort(FILE, "id").collect()

    unseen = [replace(file, report=replace(file.report, looks={})) for file in files]
    assert rows(files) == rows(unseen)


def test_json_values(landing: Landing) -> None:
    """In a small file, whose lines Spark is given, and in a large one, which it reads."""
    quoted, bare = cases_of(TEXTS, *QUOTED), cases_of(NUMBERS)
    landing.configure({**DECLARED, **RESCUING}, schema=f"{SCHEMA}, pad string")
    for name, first, padding in (("small", 0, 1), ("large", len(quoted) + len(bare), 40_000)):
        lines = [*json_of(quoted, bare, first), json.dumps({"pad": "x" * padding})]
        landing.drop(f"{name}.json", "\n".join(lines))
    landing.run()
    assert wrong(landing, [*quoted, *bare] * 2) == {}


def test_a_plan_says_the_same_of_each_value() -> None:
    kinds = {"tiny": "byte", "i": "integer", "l": "long", **{n: TYPES[n].replace(" ", "") for n in ("m", "big")}}
    columns = {**TYPES, **kinds}
    for name, text, value in cases_of(TEXTS):
        if (name, text) in NO_DAY:
            continue
        assert (text_misfit([text], [name], columns, "") == "") == (value is not None), (name, text)
    for name, text, value in cases_of(NUMBERS):
        record = json.loads(text, parse_float=Decimal)
        assert (json_misfit({name: record}, columns) == "") == (value is not None), (name, text)


@pytest.mark.parametrize("form", ["json", "xml"])
def test_without_a_rescue_column_the_record_is_quarantined_with_its_text(landing: Landing, form: str) -> None:
    cases = [case for case in cases_of(TEXTS) if form != "json" or case[0] in QUOTED]
    landing.configure({**DECLARED, "cloudFiles.format": form, **FORMS[form]}, schema=SCHEMA)
    if form == "xml":
        records = "".join(f"<r><id>{i}</id><{name}>{text}</{name}></r>" for i, (name, text, _) in enumerate(cases))
        landing.drop("a.xml", f"<rows>{records}</rows>")
    elif form == "csv":
        landing.drop("a.csv", csv_of(cases))
    else:
        landing.drop("a.json", "\n".join([*json_of(cases, []), '{"id": null}' + " " * 40_000]))
    landing.run()
    rows = {row["id"]: row for row in landing.rows("id", *TYPES) if row["id"] is not None}
    found = {
        (name, text): rows[number][name] if number in rows else None for number, (name, text, _) in enumerate(cases)
    }
    assert found == {(name, text): value for name, text, value in cases}
    refused = landing.quarantine()
    assert len(refused) == len(cases) - len(rows)
    assert all(any(text in row["raw"] for row in refused) for _, text, value in cases if value is None)
    assert form == "xml" or all(row["record"] for row in refused)
    assert any("is not decimal(5,2)" in row["reason"] for row in refused)


def test_nested_values(landing: Landing) -> None:
    landing.configure(
        {**DECLARED, **RESCUING},
        schema="id int, o struct<t: timestamp, l: array<decimal(3, 1)>>, m map<string, float>",
    )
    landing.drop("a.json", '{"id": 1, "o": {"t": "12:00", "l": [1.5, 1.55, 2]}, "m": {"a": 1.5, "b": 1e39}}\n')
    landing.drop("b.json", '{"id": 2, "o": {"t": 0, "l": [1.50]}, "m": {}}\n')
    landing.run()
    first, second = landing.rows("id", "o", "m", "_rescued_data")
    assert first["o"] == {"t": None, "l": [Decimal("1.5"), None, Decimal("2.0")]}
    assert dict(first["m"]) == {"a": 1.5, "b": None}
    left = json.loads(first["_rescued_data"], parse_float=str)
    left.pop("_file_path")
    assert left == {"o": {"t": "12:00", "l": [None, "1.55", None]}, "m": {"b": "1e39"}}
    assert second["o"] == {"t": datetime(1970, 1, 1, tzinfo=UTC), "l": [Decimal("1.5")]}
    assert second["_rescued_data"] is None


def test_inferred_columns_hold_their_values(landing: Landing) -> None:
    """A column that Spark takes for a number or a time is a text where a value would not be that of the file."""
    columns = {
        "a": ["2024-05-01T12:00:00.1234567Z", "2024-05-01T12:00:00Z"], "b": ["12:00", "13:00"], "c": ["12F", "13"],
        "d": ["007", "8"], "e": ["2024-05", "2024-06"], "g": ["1e400", "1.5"], "h": ["9007199254740993", "0.5"],
    }  # fmt: skip
    landing.configure({"cloudFiles.format": "csv", "header": True})
    rows = [columns.keys(), *zip(*columns.values(), strict=True)]
    landing.drop("a.csv", "".join(",".join(row) + "\n" for row in rows))
    landing.run()
    assert {name: sorted(landing.values(name)) for name in columns} == {n: sorted(v) for n, v in columns.items()}


def test_an_element_that_is_there_twice_is_no_single_value(landing: Landing) -> None:
    declared = "id int, s string, o struct<x: int, l: array<int>, _k: string>, _a string"
    landing.configure({**DECLARED, "cloudFiles.format": "xml", "rowTag": "r"}, schema=declared)
    good = '<r a="q"><id>1</id><s/><o k="w"><x>5</x><l>1</l><l>2</l></o></r><r><id/><s>a<b>c</b></s></r>'
    twice = "<r><id>2</id><id>3</id></r><r><id>4</id><o><x>5</x><x>6</x></o></r><r><id>5<b/></id></r>"
    landing.drop("a.xml", f"<rows>{good}{twice}</rows>")
    landing.run()
    assert landing.rows("id", "s", "o", "_a") == [
        {"id": 1, "s": "", "o": {"x": 5, "l": [1, 2], "_k": "w"}, "_a": "q"},
        {"id": None, "s": "a<b>c</b>", "o": None, "_a": None},
    ]
    assert len(landing.quarantine()) == 3


def test_types_inferred_from_xml_hold_its_values(landing: Landing) -> None:
    landing.configure({"cloudFiles.format": "xml", "rowTag": "r"})
    landing.drop("a.xml", "<rows><r><a>12:00</a><o><b>12F</b></o></r><r><a>13:00</a><o><b>1</b></o></r></rows>")
    landing.run()
    assert [(row["a"], row["o"]) for row in landing.rows("a", "o")] == [("12:00", {"b": "12F"}), ("13:00", {"b": "1"})]


def test_a_condition_on_thousands_of_columns_can_be_asked(spark: SparkSession) -> None:
    parts = [F.col("id") == number for number in range(3000)]
    found = spark.range(2999, 3001).select(any_true(parts)).collect()
    assert [row[0] for row in found] == [True, False]
