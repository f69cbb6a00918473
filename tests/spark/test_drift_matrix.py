"""What becomes of each drift, by mode and format: the table in ARCHITECTURE.md, cell by cell.

Whatever the outcome, each value of each record is in a column, in the rescue column, or in the quarantine.
"""

import io
import json
from collections.abc import Mapping
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import orc

from include.config.errors import SchemaDrift
from include.ledger.discover import discover
from include.probe.preview import preview
from tests.spark.conftest import Landing

Record = Mapping[str, Any]
RESCUED = "_rescued_data"
BASE: Record = {"id": 1, "n": 1, "s": "a", "d": 0.5, "o": {"x": 1}}
DRIFTS: Mapping[str, Record] = {
    "new column": {"id": 2, "new": "v"},
    "missing column": {"id": 3},
    "dropped column comes back": {"id": 4, "n": 4},
    "reorder": {"d": 5.5, "s": "e", "n": 5, "id": 5},
    "case change": {"id": 6, "N": 6},
    "number to text": {"id": 7, "n": "seven"},
    "integer to fraction": {"id": 8, "n": 8.5},
    "text to number": {"id": 9, "s": 9},
    "fraction to integer": {"id": 10, "d": 10},
    "nested: new field": {"id": 11, "o": {"x": 11, "y": 1}},
    "nested: type change": {"id": 12, "o": {"x": "twelve"}},
}
NESTED = {name for name in DRIFTS if name.startswith("nested")}
MODES: Mapping[str, Mapping[str, str]] = {
    "addNewColumns": {},
    "addNewColumnsWithTypeWidening": {},  # no type here is one that Delta widens: tests/spark/test_evolution.py
    "rescue": {},
    "failOnNewColumns": {},
    "none": {},
    "none, rescuedDataColumn": {"rescuedDataColumn": RESCUED},
}
TYPED = ("parquet", "orc", "avro")  # say their columns' types
# These go Parquet's way, so one mode of each is enough for every change of the code.
OFTEN = {("orc", "addNewColumns"), ("avro", "none"), ("xml", "addNewColumns")}
NOT_XML = ("rescue", "none, rescuedDataColumn", "addNewColumnsWithTypeWidening")  # has no rescue column
CELLS = [
    pytest.param(
        mode, kind, marks=() if kind in ("json", "csv", "parquet") or (kind, mode) in OFTEN else pytest.mark.slow
    )
    for mode in MODES
    for kind in ("json", "csv", "parquet", "orc", "avro", "xml")
    if kind != "xml" or mode not in NOT_XML
]
NEW = {"new column", "nested: new field"}
OTHER_TYPE = {"number to text", "integer to fraction", "nested: type change"}


def expected(drift: str, mode: str, file_format: str) -> str:
    """The documented outcome: loaded, column (a new one), rescued, quarantined or stops."""
    mismatch = drift in OTHER_TYPE or (file_format in TYPED and drift == "fraction to integer")
    left_over = "quarantined" if mode == "none" or file_format == "xml" else "rescued"
    if mismatch:
        return left_over
    if drift in NEW or drift == "case change":
        if mode == "failOnNewColumns":
            return "stops"
        return "column" if mode.startswith("addNewColumns") and drift in NEW else left_over
    return "loaded"


def content(record: Record, file_format: str) -> bytes:
    if file_format == "json":
        return json.dumps(record).encode() + b"\n"
    if file_format == "csv":
        return (",".join(record) + "\n" + ",".join(map(str, record.values())) + "\n").encode()
    if file_format == "xml":
        return f"<rows><row>{xml(record)}</row></rows>".encode()
    out = io.BytesIO()
    table = pa.table({name: [value] for name, value in record.items()})
    if file_format == "parquet":
        pq.write_table(table, out)
    elif file_format == "orc":
        orc.write_table(table, out)
    else:
        fastavro.writer(out, avro_type("r", record), [record])
    return out.getvalue()


def xml(value: Any) -> str:
    return "".join(f"<{k}>{xml(v)}</{k}>" for k, v in value.items()) if isinstance(value, dict) else str(value)


def avro_type(name: str, value: Any) -> Any:
    if not isinstance(value, dict):
        return {int: "long", str: "string", float: "double"}[type(value)]
    fields = [{"name": key, "type": avro_type(f"{name}_{key}", inner)} for key, inner in value.items()]
    return {"type": "record", "name": name, "fields": fields}


def row_of(landing: Landing, identity: int) -> Record:
    names = [field["name"] for field in landing.schema()] + [RESCUED] * landing.rescues()
    (row,) = [row for row in landing.rows(*names) if row["id"] == identity]
    return row


def keeps(kept: Any, left: Any, value: Any, name: str) -> bool:
    """True where each part of `value` is in the column or in what was rescued."""
    if isinstance(value, dict) and isinstance(kept, dict):
        rest = left if isinstance(left, dict) else {}
        return all(keeps(kept.get(key), rest.get(key), inner, key) for key, inner in value.items())
    return str(value) in (str(kept), str(left)) or (kept is not None and left is None and float(kept) == float(value))


def outcome(landing: Landing, drift: str, file_format: str, columns: set[str]) -> str:
    account = landing.files()[f"{drift}.{file_format}"]
    if account["rows_quarantined"] or account["status"] == "quarantined":
        return "quarantined"
    row = row_of(landing, DRIFTS[drift]["id"])
    left = json.loads(row.get(RESCUED) or "{}")
    assert all(keeps(row.get(name), left.get(name), value, name) for name, value in DRIFTS[drift].items()), row
    assert account["rows_rescued"] == bool(left)
    if left:
        return "rescued"
    below = "y" in DRIFTS[drift].get("o", {}) and "y" in (row.get("o") or {})
    added = below or set(DRIFTS[drift]) - columns
    return "column" if added else "loaded"


@pytest.mark.parametrize(("mode", "file_format"), CELLS)
def test_each_drift_has_its_documented_outcome(landing: Landing, mode: str, file_format: str) -> None:
    options = {
        "cloudFiles.format": file_format,
        "cloudFiles.schemaEvolutionMode": mode.split(",", maxsplit=1)[0],
        **MODES[mode],
    }
    needed: Mapping[str, Mapping[str, Any]] = {"csv": {"header": True}, "xml": {"rowTag": "row"}}
    own = needed.get(file_format, {})
    landing.configure({**options, **own, "cloudFiles.inferColumnTypes": file_format not in TYPED})
    nested = file_format != "csv"
    base = BASE if nested else {name: value for name, value in BASE.items() if name != "o"}
    drifts = [name for name in DRIFTS if nested or name not in NESTED]
    landing.drop(f"base.{file_format}", content(base, file_format))
    landing.run()
    stopping = [name for name in drifts if expected(name, mode, file_format) == "stops"]
    for name in drifts:
        if name not in stopping:
            landing.drop(f"{name}.{file_format}", content(DRIFTS[name], file_format))
    seen = preview(
        landing.settings, landing.pipeline, discover(landing.pipeline, landing.settings, "plan", dry_run=True).new_files
    )
    said = {drift.path.removeprefix("in/").rpartition(".")[0]: drift.outcome for drift in seen.drift}
    landing.run()
    found = {name: outcome(landing, name, file_format, set(base)) for name in drifts if name not in stopping}
    words = {"added": "column", "rescued": "rescued", "quarantined": "quarantined"}
    assert {name: words[word] for name, word in said.items()}.items() <= found.items()
    for name in stopping:
        file = landing.drop(f"{name}.{file_format}", content(DRIFTS[name], file_format))
        with pytest.raises(SchemaDrift):
            landing.run()
        file.unlink()  # the next run accounts for it as a file that vanished
        found[name] = "stops"
    assert found == {name: expected(name, mode, file_format) for name in drifts}
