"""Which columns a snapshot holds: those that Spark, Arrow and delta-rs read alike."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from include.cache.dimension import fields_of
from include.cache.errors import CannotCache


def schema(kind: object, **metadata: str) -> str:
    return json.dumps({"fields": [{"name": "c", "type": kind, "nullable": True, "metadata": metadata}]})


@pytest.mark.parametrize(
    ("kind", "metadata", "why"),
    [
        ("variant", {}, "variant"),
        ({"type": "struct", "fields": [{"name": "x", "type": "variant"}]}, {}, "variant"),
        ({"type": "map", "keyType": "string", "valueType": "geometry"}, {}, "geometry"),
        ("string", {"__CHAR_VARCHAR_TYPE_STRING": "char(5)"}, "pads"),
        ("string", {"__CHAR_VARCHAR_TYPE_STRING": "array<char(5)>"}, "pads"),
        ("string", {"__COLLATIONS": "UTF8_LCASE"}, "collation"),
    ],
)
def test_column_that_others_read_in_another_way_than_spark_is_left_to_spark(
    kind: object, metadata: Mapping[str, str], why: str
) -> None:
    with pytest.raises(CannotCache, match=why):
        fields_of(schema(kind, **metadata), ["c"], "d")


def test_all_other_types_are_held() -> None:
    inner: Any = {"type": "array", "elementType": {"type": "map", "keyType": "date", "valueType": "decimal(38,10)"}}
    for kind in ("timestamp_ntz", "binary", inner):
        assert json.loads(fields_of(schema(kind), ["c"], "d"))[0]["type"] == kind
    assert fields_of(schema("string", __CHAR_VARCHAR_TYPE_STRING="varchar(7)"), ["c"], "d")
