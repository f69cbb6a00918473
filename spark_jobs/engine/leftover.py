"""What of a JSON record was not kept under the schema. Pure; runs in Spark's Python workers, on few records.

Spark's own parser decides what fits: whatever it left null though the record has a value, and whatever key it has no
column for, is left over. So nothing can be lost between two opinions on what a timestamp is. Left-over values are
copied as they stand in the record, digit by digit.
"""

import json
from typing import Any

import msgspec
import pyarrow as pa

FILE_PATH = "_file_path"
_Objects = dict[str, msgspec.Raw]
_Arrays = list[msgspec.Raw]
_object = msgspec.json.Decoder(_Objects)
_array = msgspec.json.Decoder(_Arrays)


def rescued_texts(lines: pa.Array, kept: pa.Array, files: pa.Array) -> pa.Array:
    """`rescued` of each record; null where `kept` is null."""
    records = zip(lines.to_pylist(), kept.to_pylist(), files.to_pylist(), strict=True)
    return pa.array([None if good is None else rescued(line, good, file) for line, good, file in records], pa.string())


def rescued(line: str, kept: str, file: str) -> str | None:
    """The rescue column's text for a record: what is left over, and its file; None where all was kept.

    `line` is the record as it stands in the file, `kept` the columns that the parser filled, as JSON.
    """
    left = left_over(msgspec.Raw(line.encode()), json.loads(kept))
    return None if left is None else with_file(left, file)


def with_file(left: dict[str, Any], file: str) -> str:
    """The rescue column's text. A key of the record that is named like the file's gets an underscore more."""
    path = FILE_PATH
    values = dict(left)
    if path in values:
        values[_free(f"{path}_", values)] = values.pop(path)
    return msgspec.json.encode({**values, path: file}).decode()


def left_over(raw: msgspec.Raw, kept: Any) -> Any:
    """What of the JSON value `raw` is not in `kept`, in the shape of `raw`; None where that is nothing.

    Of an array the items that were kept are null, so that the others keep their places.
    """
    text = bytes(raw).strip()
    if kept is None:
        return None if text == b"null" else raw
    if text.startswith(b"{") and isinstance(kept, dict):
        parts = {key: left_over(value, kept.get(key)) for key, value in _object.decode(text).items()}
        return {key: left for key, left in parts.items() if left is not None} or None
    if text.startswith(b"[") and isinstance(kept, list):
        items = _array.decode(text)
        if len(items) != len(kept):
            return raw
        left = [left_over(item, inner) for item, inner in zip(items, kept, strict=True)]
        return left if any(item is not None for item in left) else None
    return None


def _free(name: str, taken: dict[str, Any]) -> str:
    while name in taken:
        name += "_"
    return name
