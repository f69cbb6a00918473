"""The schema versions of a pipeline as documents: list, compare, roll back. No Spark; written by the load."""

from collections.abc import Iterator, Mapping
from typing import Any

from include.config.errors import UsageError
from include.config.field_metadata import SOURCE_NAME
from include.config.settings import Settings
from include.ledger.state_files import create_document, list_documents, read_document

Version = Mapping[str, Any]


def versions(settings: Settings, pipeline: str) -> list[Version]:
    """All versions, oldest first.

    Raises:
        StorageError: one cannot be read.
    """
    folder = settings.state_root(pipeline, "schemas")
    numbers = sorted(int(name.removesuffix(".json")) for name in list_documents(folder))
    return [read_document(f"{folder}/{number}.json") or {} for number in numbers]


def version(settings: Settings, pipeline: str, number: int | None) -> Version:
    """One version, the newest where none is named.

    Raises:
        UsageError: there is no such version.
    """
    found = versions(settings, pipeline)
    for document in reversed(found):
        if number in (None, document["version"]):
            return document
    known = ", ".join(str(document["version"]) for document in found) or "none: nothing was loaded yet"
    asked = "version" if number is None else f"version {number}"
    raise UsageError(
        f"{pipeline} has no schema {asked}; there are: {known}.", remedy=f"sluice schema history {pipeline}"
    )


def roll_back(settings: Settings, pipeline: str, number: int) -> Version:
    """Make the columns of version `number` those of a new version, and return it; no version is rewritten.

    The table keeps its columns. Under addNewColumns a key that is dropped so becomes a column again when a file has
    it, with the type that the table has for it.

    Raises:
        UsageError: there is no such version, it is the newest, or a load added one meanwhile.
    """
    wanted, newest = version(settings, pipeline, number), version(settings, pipeline, None)
    if wanted["version"] == newest["version"]:
        raise UsageError(f"Schema version {number} of {pipeline} is the newest already.")
    after = int(newest["version"]) + 1
    document = {
        "version": after,
        "origin": f"rollback to version {number}",
        "batch": None,
        "files": [],
        "changes": compare(newest, wanted),
        "schema": wanted["schema"],
    }
    standing = create_document(f"{settings.state_root(pipeline, 'schemas')}/{after}.json", document)
    if standing != document:
        raise UsageError(
            f"A load added schema version {after} of {pipeline} meanwhile.", remedy="Look at it, then repeat."
        )
    return document


def columns(document: Version) -> Iterator[tuple[str, str, str]]:
    """Each column of a version, those below the top, too: its dotted name, its type, its name in the files."""
    yield from _columns(document["schema"], "")


def compare(old: Version, new: Version) -> list[dict[str, str]]:
    """What differs between two versions, as {column, change, type}."""
    before = {name: kind for name, kind, _ in columns(old)}
    after = {name: kind for name, kind, _ in columns(new)}
    added = [{"column": name, "change": "added", "type": kind} for name, kind in after.items() if name not in before]
    changed = [
        {"column": name, "change": f"widened from {before[name]}", "type": kind}
        for name, kind in after.items()
        if name in before and before[name] != kind
    ]
    dropped = [
        {"column": name, "change": "dropped", "type": kind} for name, kind in before.items() if name not in after
    ]
    return [*added, *changed, *dropped]


def _columns(struct: Mapping[str, Any], path: str) -> Iterator[tuple[str, str, str]]:
    for field in struct["fields"]:
        name = f"{path}{field['name']}"
        yield name, _kind(field["type"]), str(field.get("metadata", {}).get(SOURCE_NAME, field["name"]))
        yield from _below(field["type"], name)


def _below(kind: Any, path: str) -> Iterator[tuple[str, str, str]]:
    if not isinstance(kind, Mapping):
        return
    if kind["type"] == "struct":
        yield from _columns(kind, f"{path}.")
    elif kind["type"] == "array":
        yield from _below(kind["elementType"], f"{path}.element")
    elif kind["type"] == "map":
        yield from _below(kind["valueType"], f"{path}.value")


def _kind(kind: Any) -> str:
    """A type in a word; what is in it has lines of its own."""
    if not isinstance(kind, Mapping):
        return {"long": "bigint", "integer": "int", "short": "smallint", "byte": "tinyint"}.get(kind, str(kind))
    if kind["type"] == "array":
        return f"array<{_kind(kind['elementType'])}>"
    if kind["type"] == "map":
        return f"map<{_kind(kind['keyType'])}, {_kind(kind['valueType'])}>"
    return str(kind["type"])
