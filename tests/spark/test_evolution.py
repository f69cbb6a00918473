"""Schemas that evolve in the run, and the rescue column: no key and no value disappears."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from include.config.errors import SchemaDrift
from include.ledger.schema_versions import roll_back
from spark_jobs.engine import batch
from spark_jobs.engine.target import Target
from tests.spark.conftest import Landing

MODE = "cloudFiles.schemaEvolutionMode"
RESCUED = "_rescued_data"


class Killed(Exception):
    pass


def lines(*records: object) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def parquet(**columns: Any) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return bytes(sink.getvalue().to_pybytes())


def rescued(landing: Landing, *keys: str) -> dict[Any, Any]:
    """What is rescued of each row, without the file's path, by the row's first column."""
    found = {}
    for row in landing.rows(*keys, RESCUED):
        left = json.loads(row[RESCUED]) if row[RESCUED] else {}
        if left:
            assert left.pop("_file_path").startswith("file:/")
        found[row[keys[0]]] = left
    return found


def version(landing: Landing, number: int) -> dict[str, Any]:
    folder = Path(landing.settings.state_root("p", "schemas"))
    document: dict[str, Any] = json.loads((folder / f"{number}.json").read_text())
    return document


def test_new_keys_become_columns_in_the_run(landing: Landing) -> None:
    landing.configure({"cloudFiles.maxFilesPerTrigger": 1})
    landing.drop("a.json", lines({"id": 1}))
    landing.drop("b.json", lines({"id": 2}, {"id": 3, "colour": "red", "size": 1.5}))
    landing.drop("c.json", lines({"id": 4, "late": True}))
    landing.run()
    assert landing.rows("id", "colour", "size", "late", RESCUED) == [
        {"id": 1, "colour": None, "size": None, "late": None, RESCUED: None},
        {"id": 2, "colour": None, "size": None, "late": None, RESCUED: None},
        {"id": 3, "colour": "red", "size": 1.5, "late": None, RESCUED: None},
        {"id": 4, "colour": None, "size": None, "late": True, RESCUED: None},
    ]
    assert version(landing, 2)["changes"] == [
        {"column": "colour", "change": "added", "type": "string"},
        {"column": "size", "change": "added", "type": "double"},
    ]
    assert (version(landing, 2)["files"], version(landing, 2)["batch"]) == (["in/b.json"], 2)
    assert version(landing, 3)["files"] == ["in/c.json"]


@pytest.mark.parametrize(("file_format", "limit"), [("json", "numFiles"), ("csv", "numBytes")])
def test_a_sampled_schema_meets_what_the_other_files_have(landing: Landing, file_format: str, limit: str) -> None:
    options = {"header": True} if file_format == "csv" else {}
    landing.configure(
        {"cloudFiles.format": file_format, f"cloudFiles.schemaInference.sampleSize.{limit}": 1, **options}
    )
    texts: dict[str, dict[str, Any]] = {"a": {"id": 1}, "b": {"id": 2, "late": "x"}, "c": {"id": "three"}}
    for name, record in texts.items():
        comma = ",".join(record) + "\n" + ",".join(map(str, record.values())) + "\n"
        landing.drop(f"{name}.{file_format}", lines(record) if file_format == "json" else comma)
    landing.run()
    assert rescued(landing, "id", "late") == {1: {}, 2: {}, None: {"id": "three"}}
    assert [row["late"] for row in landing.rows("id", "late")] == [None, "x", None]
    assert version(landing, 1)["files"] == [f"in/a.{file_format}"]
    assert [change["column"] for change in version(landing, 2)["changes"]] == ["late"]


def test_structs_arrays_of_structs_and_maps_evolve_below(landing: Landing) -> None:
    landing.configure({"cloudFiles.schemaHints": "m map<string, struct<x: bigint>>"})
    landing.drop("a.json", lines({"id": 1, "o": {"x": 1}, "l": [{"x": 1}], "m": {"k": {"x": 1}}}))
    landing.run()
    landing.drop("b.json", lines({"id": 2, "o": {"y": {"z": 2}}, "l": [{"x": 3}, {"y": 4}], "m": {"q": {"y": 5}}}))
    landing.run()
    row = landing.rows("id", "o", "l", "m", RESCUED)[1]
    assert row["o"] == {"x": None, "y": {"z": 2}}
    assert row["l"] == [{"x": 3, "y": None}, {"x": None, "y": 4}]
    assert dict(row["m"]) == {"q": {"x": None, "y": 5}}
    assert row[RESCUED] is None
    assert [change["column"] for change in version(landing, 2)["changes"]] == ["l.element.y", "m.value.y", "o.y"]


def test_a_value_that_does_not_fit_is_rescued_beside_the_part_that_does(landing: Landing) -> None:
    landing.drop("a.json", lines({"id": 1, "n": 1, "o": {"x": 1, "y": "s"}, "l": [1, 2]}))
    landing.run()
    landing.drop(
        "b.json",
        '{"id": 2, "n": "xyz", "o": {"x": "q", "y": "t"}, "l": [1, "z"]}\n'
        '{"id": 3, "n": 1.5}\n{"id": 4, "n": 9223372036854775808}\n{"id": 5, "n": 7}\n{"id"\n',
    )
    landing.run()
    assert rescued(landing, "id") == {
        1: {},
        2: {"n": "xyz", "o": {"x": "q"}, "l": [1, "z"]},
        3: {"n": 1.5},
        4: {"n": 9223372036854775808},
        5: {},
    }
    assert landing.rows("id", "n", "o", "l")[1] == {"id": 2, "n": None, "o": {"x": None, "y": "t"}, "l": None}
    account = landing.files()["b.json"]
    assert (account["rows_loaded"], account["rows_rescued"], account["rows_quarantined"]) == (4, 3, 1)


def test_a_key_of_other_case_is_rescued(landing: Landing) -> None:
    landing.drop("a.json", lines({"id": 1}, {"ID": 2}))
    landing.drop("b.json", lines({"id": 3, "Id": 4}, {"id": 5, "x": 1, "X": 2}))
    landing.run()
    assert rescued(landing, "id") == {1: {}, None: {"ID": 2}, 3: {"Id": 4}, 5: {"X": 2}}
    landing.drop("c.json", lines({"id": 6, "ID": "q"}))
    landing.run()
    assert rescued(landing, "id")[6] == {"ID": "q"}


def test_mode_rescue_never_changes_the_schema(landing: Landing) -> None:
    landing.configure({MODE: "rescue", "rescuedDataColumn": "_rest"})
    landing.drop("a.json", lines({"id": 1, "o": {"x": 1}}))
    landing.run()
    landing.drop("b.json", lines({"id": 2, "new": {"k": [1, 2.50]}, "o": {"y": 2}}, {"id": 3}))
    landing.run()
    rest = [json.loads(row["_rest"]) for row in landing.rows("id", "_rest") if row["_rest"]]
    assert [(row["new"], row["o"]) for row in rest] == [({"k": [1, 2.5]}, {"y": 2})]
    assert landing.rows("id", "o")[1:] == [{"id": 2, "o": {"x": None}}, {"id": 3, "o": None}]
    assert len(list(Path(landing.settings.state_root("p", "schemas")).glob("*.json"))) == 1


def test_fail_on_new_columns_stops_before_anything_is_loaded(landing: Landing) -> None:
    landing.configure({MODE: "failOnNewColumns"})
    landing.drop("a.json", lines({"id": 1}))
    landing.run()
    landing.drop("b.json", lines({"id": 2, "x": 1}))
    with pytest.raises(SchemaDrift) as stopped:
        landing.run()
    assert stopped.value.parameters == {"path": "in/b.json", "column": "x", "record": 1}
    assert landing.values("id") == [1]


def test_mode_none_quarantines_the_records_with_unknown_keys_and_no_others(landing: Landing) -> None:
    landing.configure({"cloudFiles.inferColumnTypes": False}, schema="id bigint, o struct<x: int>")
    landing.drop("a.json", lines({"id": 1}, {"id": 2, "x": 1}, {"ID": 3}, {"id": 4, "o": {"y": 1}}, {"id": 5}))
    landing.run()
    assert landing.values("id") == [1, 5]
    assert [(row["record"], row["reason"]) for row in landing.quarantine()] == [
        (2, "key 'x' is not in the schema"),
        (3, "key 'ID' is not in the schema"),
        (4, "key 'o.y' is not in the schema"),
    ]


MIXED = [
    {"id": 1, "n": 1, "s": "a"},
    {"id": 2, "n": "xyz", "s": 1.50, "new": {"k": 1.10}},
    {"id": 3, "N": 3, "s": [1, 2.50]},
]
BROKEN = b'{"id": 4, "id": 4}\n{"id": 5} {"id": 6}\n'


@pytest.mark.parametrize("mode", ["addNewColumns", "rescue", "none"])
@pytest.mark.parametrize("kind", ["small", "large", "gz", "zst", "utf-16", "document"])
def test_a_file_with_refused_lines_unknown_keys_and_misfits_comes_out_right(
    landing: Landing, mode: str, kind: str
) -> None:
    more = {"encoding": "UTF-16"} if kind == "utf-16" else {"multiLine": True} if kind == "document" else {}
    landing.configure({MODE: mode, **more})
    first = lines({"id": 0, "n": 1, "s": "a"})
    landing.drop("a.json", first.encode("utf-16") if kind == "utf-16" else first)
    landing.run()
    records = [json.dumps(record).replace("1.5,", "1.50,").encode() for record in MIXED]
    if kind == "large":
        records += [json.dumps({"id": number, "n": number, "s": "b"}).encode() for number in range(10, 1000)]
    content = b"[" + b",".join([*records, b"7"]) + b"]" if kind == "document" else b"\n".join(records) + b"\n" + BROKEN
    encoded = {"gz": gzip.compress, "zst": lambda data: pa.compress(data, "zstd", asbytes=True)}.get(kind)
    content = content.decode().encode("utf-16") if kind == "utf-16" else encoded(content) if encoded else content
    name = {"gz": "b.json.gz", "zst": "b.json.zst"}.get(kind, "b.json")
    landing.drop(name, content)
    landing.run()
    account = landing.files()[name]
    loaded = len(records) if mode != "none" else len(records) - 2
    broken = 1 if kind == "document" else 2
    rows = landing.rows("id", "n", "s")
    assert [row for row in rows if row["id"] == 1] == [{"id": 1, "n": 1, "s": "a"}]
    assert (account["rows_loaded"], account["rows_quarantined"]) == (loaded, broken + len(records) - loaded)
    assert len(rows) == loaded + 1
    if mode == "none":
        return
    assert [row for row in rows if row["id"] in (2, 3)] == [
        {"id": 2, "n": None, "s": "1.50"},
        {"id": 3, "n": None, "s": "[1, 2.5]"},
    ]
    left = rescued(landing, "id")
    new = {} if mode == "addNewColumns" else {"new": {"k": 1.1}}
    assert {key: value for key, value in left.items() if value} == {2: {"n": "xyz", **new}, 3: {"N": 3}}
    assert account["rows_rescued"] == 2
    if mode == "addNewColumns":
        assert [row["new"] for row in landing.rows("id", "new") if row["id"] == 2] == [{"k": 1.1}]
    assert all(name in text for text in landing.values(RESCUED) if text)


def test_files_without_a_column_stop_nothing_and_the_next_ones_make_the_schema(landing: Landing) -> None:
    landing.configure({"cloudFiles.maxFilesPerTrigger": 2})
    landing.drop("a.json", "no JSON\n[1]\n")
    landing.drop("b.json", "{\n")
    landing.drop("c.json", '{}\n{"": 1}\n')
    landing.drop("d.json", "{}\n")
    landing.drop("e.json", lines({"id": 1}))
    landing.run()
    rows = [(row["_source_file"], json.loads(row[RESCUED] or "{}")) for row in landing.rows("_source_file", RESCUED)]
    assert sorted(((name, left.get("")) for name, left in rows), key=str) == [
        ("in/c.json", 1), ("in/c.json", None), ("in/d.json", None), ("in/e.json", None)
    ]  # fmt: skip
    assert landing.values("id").count(1) == 1
    assert len(landing.quarantine()) == 3


def test_values_of_text_columns_are_those_of_the_file_digit_by_digit(landing: Landing) -> None:
    landing.configure({"cloudFiles.inferColumnTypes": False})
    texts = ["1.10", "1.0e+28", "0.12345678901234567890123", "-0", '[ 1, 2.50,"a\\/b"]', '{"a" : 1.50}', "1e5", "true"]
    small = "".join(f'{{"id": {number}, "v": {text}}}\n' for number, text in enumerate(texts))
    landing.drop("small.json", small)
    landing.drop("large.json", small + lines(*({"id": 99, "v": "x"} for _ in range(2000))))
    landing.run()
    values = [row["v"] for row in landing.rows("id", "v") if row["id"] != "99"]
    assert values == [text for text in texts for _ in range(2)]


def test_a_declared_schema_rescues_where_a_column_is_named_for_it(landing: Landing) -> None:
    landing.configure(
        {"cloudFiles.inferColumnTypes": False, "rescuedDataColumn": RESCUED}, schema="id bigint, `two words` int"
    )
    landing.drop("a.json", lines({"id": 1, "two words": 2}, {"id": 2, "two words": "x", "three": 3}))
    landing.run()
    assert landing.rows("id", "two_words") == [{"id": 1, "two_words": 2}, {"id": 2, "two_words": None}]
    assert rescued(landing, "id") == {1: {}, 2: {"two words": "x", "three": 3}}


def test_names_that_delta_refuses_are_mapped_and_the_way_back_is_known(landing: Landing) -> None:
    odd = {"two words": 1, "two,words": 2, "a=b": {"x y": 3}, "_batch": 4, "_rescued_data": 5}
    landing.drop("a.json", lines({**odd, "": 6}))
    landing.run()
    document = version(landing, 1)["schema"]["fields"]
    names = {field["metadata"].get("sluice.source", field["name"]): field["name"] for field in document}
    row = landing.rows(*names.values())[0]
    assert {source: row[name] for source, name in names.items()} == {**odd, "a=b": {"x_y": 3}}
    landing.drop("b.json", lines({**odd, "two;words": 7, "a=b": {"x y": "q"}}))
    landing.run()
    assert [row["two_words_3"] for row in landing.rows("two_words_3")] == [7, None]
    left = [json.loads(text) for text in landing.values(RESCUED) if text]
    assert [{k: v for k, v in row.items() if k != "_file_path"} for row in left] == [{"": 6}, {"a=b": {"x y": "q"}}]


@pytest.mark.parametrize("killed_before", ["write_refusals", "write"])
def test_a_load_killed_after_it_stored_a_schema_version_writes_the_same_under_it(
    landing: Landing, monkeypatch: pytest.MonkeyPatch, killed_before: str
) -> None:
    def die(*_: object) -> None:
        raise Killed

    landing.drop("a.json", lines({"id": 1}))
    landing.run()
    landing.drop("b.json", lines({"id": 2, "x": 1, "ID": "q"}, {"id": "no", "x": 2}) + "{\n")
    with monkeypatch.context() as patch:
        if killed_before == "write":
            patch.setattr(Target, "write", die)
        else:
            patch.setattr(batch, "write_refusals", die)
        with pytest.raises(Killed):
            landing.run()
    assert landing.schema()[-1]["name"] == "x"
    assert landing.values("id") == [1]
    landing.load()
    assert landing.rows("id", "x") == [{"id": 1, "x": None}, {"id": 2, "x": 1}, {"id": None, "x": 2}]
    assert rescued(landing, "x") == {None: {}, 1: {"ID": "q"}, 2: {"id": "no"}}
    assert len(landing.quarantine()) == 1
    assert (landing.files()["b.json"]["rows_rescued"], version(landing, 2)["batch"]) == (2, 2)
    assert not (Path(landing.settings.state_root("p", "schemas")) / "3.json").exists()


def test_hints_reach_below_and_fix_what_is_not_there_yet(landing: Landing) -> None:
    landing.configure({"cloudFiles.schemaHints": "o.x int, l.element.y string, m map<string, int>, later.z date"})
    landing.drop("a.json", lines({"id": 1, "o": {"x": 2, "w": 3}, "l": [{"y": 4}], "m": {"k": 5}}))
    landing.run()
    row = landing.rows("o", "l", "m", "later", RESCUED)[0]
    assert (row["o"], row["l"], dict(row["m"]), row["later"]) == ({"w": 3, "x": 2}, [{"y": "4"}], {"k": 5}, None)
    assert row[RESCUED] is None
    landing.drop("b.json", lines({"id": 2, "later": {"z": "2026-01-31"}, "o": {"x": 3000000000}}))
    landing.run()
    assert [str(row["later"]["z"]) for row in landing.rows("later") if row["later"]] == ["2026-01-31"]
    assert rescued(landing, "id")[2] == {"o": {"x": 3000000000}}


def test_after_a_rollback_a_column_comes_back_with_the_type_of_the_table(landing: Landing) -> None:
    landing.drop("a.json", lines({"id": 1}))
    landing.run()
    landing.drop("b.json", lines({"id": 2, "x": "text"}))
    landing.run()
    roll_back(landing.settings, "p", 1)
    landing.drop("c.json", lines({"id": 3, "x": 3}))
    landing.run()
    assert landing.rows("id", "x")[2] == {"id": 3, "x": "3"}
    assert [version(landing, number)["origin"] for number in (3, 4)] == ["rollback to version 1", "new columns"]


def test_partition_columns_come_from_the_folders_and_a_new_level_stops_nothing(landing: Landing) -> None:
    columns = "year,day,city,level"
    landing.configure({"cloudFiles.partitionColumns": columns, "cloudFiles.schemaHints": "day date"})
    landing.drop("year=2026/day=2026-01-31/city=New%20York+/a.json", lines({"id": 1}))
    landing.drop("year=2025/day=2025-02-30/city=__HIVE_DEFAULT_PARTITION__/b.json", lines({"id": 2, "city": "x"}))
    landing.run()
    landing.drop("year=2027/level=9/a=b/c.json", lines({"id": 3, "year": 1}, {"id": "no"}))
    landing.drop("year=old/c.json", lines({"id": 4}))
    landing.run()
    found = landing.rows("id", "year", "day", "city", "city_2", "level", "year_2")
    assert [tuple(None if value is None else str(value) for value in row.values()) for row in found] == [
        ("1", "2026", "2026-01-31", "New York+", None, None, None),
        ("2", "2025", None, None, "x", None, None),
        ("3", "2027", None, None, None, "9", "1"),
        ("4", None, None, None, None, None, None),
        (None, "2027", None, None, None, "9", None),
    ]
    assert rescued(landing, "id") == {
        1: {}, 2: {"day": "2025-02-30"}, 3: {}, 4: {"year": "old"}, None: {"id": "no"},
    }  # fmt: skip


CSV = {"cloudFiles.format": "csv", "header": True}


def test_csv_evolves_and_rescues_by_header_name(landing: Landing) -> None:
    landing.configure(CSV)
    landing.drop("a.csv", "id,v\n1,x\n")
    landing.run()
    landing.drop("b.csv", "new,v,id\n1.5,y,2\n2.5,z,q\n3.5,z\n")
    landing.drop("c.csv", "ID,v\n3,z\n")
    landing.run()
    assert landing.rows("v", "id", "new") == [
        {"v": "x", "id": 1, "new": None},
        {"v": "y", "id": 2, "new": 1.5},
        {"v": "z", "id": None, "new": 2.5},
        {"v": "z", "id": None, "new": None},
    ]
    left = [json.loads(text) for text in landing.values(RESCUED) if text]
    assert [{k: v for k, v in row.items() if k != "_file_path"} for row in left] == [{"ID": "3"}, {"id": "q"}]
    assert [(row["record"], row["reason"]) for row in landing.quarantine()] == [(4, "has 2 fields, the header has 3")]


def test_csv_in_mode_rescue_keeps_extra_columns_as_text(landing: Landing) -> None:
    landing.configure({**CSV, MODE: "rescue"})
    landing.drop("a.csv", "id\n1\n")
    landing.run()
    landing.drop("b.csv", "id,x,y\n2,07,\n3,,\n")
    landing.run()
    assert rescued(landing, "id") == {1: {}, 2: {"x": "07"}, 3: {}}


PARQUET = {"cloudFiles.format": "parquet", "cloudFiles.inferColumnTypes": False}


def test_parquet_evolves_and_rescues(landing: Landing) -> None:
    landing.configure(PARQUET)
    landing.drop("a.parquet", parquet(id=[1], o=[{"x": 1}], l=[[{"x": 1}]]))
    landing.run()
    landing.drop("b.parquet", parquet(id=["q"], o=[{"x": "s", "y": 2}], l=[[{"x": 1}, {"x": 2, "y": 3}]], new=[1.5]))
    landing.drop("c.parquet", parquet(id=pa.array([7], pa.int32()), ID=[8]))
    landing.run()
    assert landing.rows("id", "o", "l", "new")[1:] == [
        {"id": 7, "o": None, "l": None, "new": None},
        {"id": None, "o": {"x": None, "y": 2}, "l": [{"x": 1, "y": None}, {"x": 2, "y": 3}], "new": 1.5},
    ]
    assert rescued(landing, "id") == {1: {}, None: {"id": "q", "o": {"x": "s"}}, 7: {"ID": 8}}


def test_parquet_of_other_type_is_quarantined_where_nothing_can_be_rescued(landing: Landing) -> None:
    landing.configure({**PARQUET, MODE: "none"})
    landing.drop("a.parquet", parquet(id=[1]))
    landing.run()
    landing.drop("b.parquet", parquet(id=["x"]))
    landing.drop("c.parquet", parquet(id=[2]))
    landing.run()
    assert landing.values("id") == [1, 2]
    assert landing.quarantine()[0]["reason"] == "column 'id' is string, the schema has bigint"


WIDENING = "addNewColumnsWithTypeWidening"


def kinds(landing: Landing) -> dict[str, str]:
    return {field["name"]: str(field["type"]) for field in landing.schema()}


def test_widening_of_text_columns_by_values_that_need_it(landing: Landing) -> None:
    landing.configure(
        {
            MODE: WIDENING,
            "cloudFiles.schemaHints": "n int, m int, s smallint, p decimal(5,2), o.x int, l.element.x int",
        }
    )
    landing.drop("a.json", lines({"id": 1, "n": 1, "m": 1, "s": 1, "p": 1.25, "o": {"x": 1}}))
    landing.run()
    landing.drop(
        "b.json",
        lines(
            {"id": 2, "n": 3_000_000_000, "m": "xyz", "s": 70_000, "p": 12345678.5},
            {"id": 3, "n": "xyz", "m": 1.5, "o": {"x": 3_000_000_000}, "l": [{"x": 1}, {"x": 3_000_000_000}], "new": 1},
        ),
    )
    landing.run()
    assert rescued(landing, "id") == {1: {}, 2: {"m": "xyz"}, 3: {"n": "xyz", "m": 1.5}}
    assert {name: kind for name, kind in kinds(landing).items() if name not in ("o", "l")} == {
        "n": "long", "m": "integer", "s": "integer", "p": "decimal(18,2)", "id": "long", "new": "long",
    }  # fmt: skip
    assert [row["o"] and row["o"]["x"] for row in landing.rows("id", "o")] == [1, None, 3_000_000_000]
    assert landing.rows("id", "l")[2]["l"] == [{"x": 1}, {"x": 3_000_000_000}]
    assert [row["n"] for row in landing.rows("id", "n")] == [1, 3_000_000_000, None]
    assert landing.files()["b.json"]["rows_rescued"] == 2
    landing.drop("c.json", lines({"id": 4, "n": 4}))  # the hints still say int
    landing.run()
    assert landing.files()["c.json"]["rows_loaded"] == 1


def test_widening_of_xml_elements(landing: Landing) -> None:
    options = {"cloudFiles.format": "xml", "rowTag": "row", MODE: WIDENING}
    landing.configure({**options, "cloudFiles.schemaHints": "n int, o struct<x: int>"})
    landing.drop("a.xml", "<rows><row><id>1</id><n>1</n><o><x>1</x></o></row></rows>")
    landing.run()
    wide = "<row><id>2</id><n>3000000000</n><o><x>3000000000</x></o></row><row><id>3</id><n>x</n></row>"
    landing.drop("b.xml", f"<rows>{wide}</rows>")
    landing.run()
    found = [(row["id"], row["n"], row["o"]["x"]) for row in landing.rows("id", "n", "o")]
    assert found == [(1, 1, 1), (2, 3_000_000_000, 3_000_000_000)]
    assert [bad["reason"] for bad in landing.quarantine()] == ["column 'n': 'x' is not bigint"]


def test_widening_of_columns_in_files_that_say_their_types(landing: Landing) -> None:
    landing.configure({"cloudFiles.format": "parquet", MODE: WIDENING})
    narrow = pa.array([{"x": 1}], pa.struct([("x", pa.int32())]))
    wide = pa.array([{"x": 1 << 40}], pa.struct([("x", pa.int64())]))
    landing.drop("a.parquet", parquet(id=pa.array([1], pa.int32()), f=pa.array([0.5], pa.float32()), o=narrow))
    landing.run()
    landing.drop("b.parquet", parquet(id=pa.array([1 << 40]), f=pa.array([0.1]), o=wide))
    landing.drop("c.parquet", parquet(id=pa.array(["three"]), f=pa.array([0.25]), o=narrow))
    landing.run()
    assert kinds(landing)["id"] == "long"
    assert rescued(landing, "f") == {0.1: {}, 0.25: {"id": "three"}, 0.5: {}}
    assert [row["o"]["x"] for row in landing.rows("f", "o")] == [1 << 40, 1, 1]
