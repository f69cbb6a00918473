"""What a commit's user metadata says of the files that it brought: as they are, or packed where they are many.

A thousand files are a quarter of a megabyte of JSON; packed, a hundred thousand are not much more than one.
"""

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

PLAIN_FILES = 1_000
FILES, PACKED = "files", "files_packed"
Named = Mapping[str, Any]


def packed(files: Sequence[Named]) -> dict[str, Any]:
    """The entry of a note for these files, all of which have the same keys."""
    if len(files) <= PLAIN_FILES:
        return {FILES: list(files)}
    columns = {key: [file[key] for file in files] for key in files[0]}
    text = json.dumps(columns, separators=(",", ":"))
    return {PACKED: base64.b64encode(zlib.compress(text.encode())).decode("ascii")}


def unpacked(note: Mapping[str, Any]) -> list[Named] | None:
    """The files of a note; None where it does not name them."""
    text = note.get(PACKED)
    if text is None:
        return note.get(FILES)
    columns = json.loads(zlib.decompress(base64.b64decode(text)))
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
