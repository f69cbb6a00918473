"""What a record has that no column holds: a value, or only an empty object, which says nothing."""

from typing import Any

import msgspec
import pyarrow as pa
from pyspark.sql import Column
from pyspark.sql.pandas.functions import arrow_udf

from spark_jobs.engine.leftover import FILE_PATH


def holds_values(left: Column) -> Column:
    """The left-over text of a record (engine/rescue.py), null where it has no value but empty objects."""
    return arrow_udf(values_only, "string")(left)  # type: ignore[call-overload,no-any-return]


def values_only(texts: pa.Array) -> pa.Array:
    """See `holds_values`."""
    return pa.array([None if text is None else _values(text) for text in texts.to_pylist()], pa.string())


def _values(text: str) -> str | None:
    record = msgspec.json.decode(text)
    record.pop(FILE_PATH, None)
    return msgspec.json.encode(record).decode() if _has_value(record) else None


def _has_value(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_value, value.values()))
    if isinstance(value, list):
        return any(map(_has_value, value))
    return value is not None
