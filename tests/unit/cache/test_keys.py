"""Keys as numbers: equal keys have equal hashes whatever their Arrow layout, and equality is decided by values."""

import datetime as dt
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.cache.keys import key_family, key_hashes, present, same_keys

TEXTS = st.lists(st.one_of(st.none(), st.text(max_size=20)), min_size=1, max_size=30)


@settings(deadline=None)
@given(TEXTS, st.integers(0, 5))
def test_texts_hash_the_same_in_every_layout(texts: list[str | None], skip: int) -> None:
    plain = key_hashes([pa.array(texts, pa.string())])
    sliced = pa.array(["padding"] * skip + texts + ["after"], pa.string()).slice(skip, len(texts))
    assert (key_hashes([sliced]) == plain).all()
    assert (key_hashes([pa.array(texts, pa.large_string())]) == plain).all()
    assert (key_hashes([pa.array([None if t is None else t.encode() for t in texts], pa.binary())]) == plain).all()
    for one, text in enumerate(texts):
        for other, another in enumerate(texts):
            if text is not None and another is not None:
                assert (plain[one] == plain[other]) == (text == another)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (pa.int8(), [1, -1, None, 0]),
        (pa.int64(), [1, -(2**63), None, 2**63 - 1]),
        (pa.bool_(), [True, False, None, True]),
        (pa.date32(), [dt.date(1, 1, 1), dt.date(9999, 12, 31), None, dt.date(1970, 1, 1)]),
        (pa.timestamp("us", "UTC"), [dt.datetime(1900, 1, 1, tzinfo=dt.UTC), None, None, None]),
        (pa.decimal128(38, 3), [Decimal("-0.001"), Decimal(10) ** 34, None, Decimal(0)]),
        (pa.binary(), [b"", b"\0", None, b"\0\0"]),
    ],
)
def test_values_of_every_kind_are_equal_to_themselves_only(kind: pa.DataType, values: list[object]) -> None:
    column = pa.array([None, *values], kind).slice(1)
    assert key_family(kind) is not None
    assert present([column]).tolist() == [value is not None for value in values]
    rows = np.flatnonzero(present([column]))
    for row in rows:
        for other in rows:
            pair = np.array([row]), np.array([other])
            assert same_keys([column], pair[0], [column], pair[1])[0] == (values[row] == values[other])
            if values[row] == values[other]:
                assert key_hashes([column])[row] == key_hashes([column])[other]


def test_integers_of_all_widths_are_one_family_and_hash_alike() -> None:
    narrow, wide = pa.array([1, -5], pa.int16()), pa.array([1, -5], pa.int64())
    assert key_family(narrow.type) == key_family(wide.type)
    assert (key_hashes([narrow]) == key_hashes([wide])).all()


@pytest.mark.parametrize("kind", [pa.float64(), pa.list_(pa.int64()), pa.timestamp("ns"), pa.uint8()])
def test_other_types_are_no_keys(kind: pa.DataType) -> None:
    assert key_family(kind) is None
