"""`sluice schema`: the versions of a pipeline's schema: show, history, diff, rollback."""

from typing import Annotated

import typer

from include.cli.arguments import Json, Name
from include.cli.console import columns, note, print_json, print_line, print_rows
from include.cli.pipelines import load
from include.config.exit_codes import ExitCode
from include.config.settings import Settings, load_settings

Number = Annotated[int, typer.Argument(min=1, metavar="N", help="A version's number, see `sluice schema history`.")]
Other = Annotated[int | None, typer.Argument(min=1, metavar="[M]", help="Another version; the newest if left out.")]
At = Annotated[int | None, typer.Option("--version", min=1, help="This version; the newest if left out.")]
CHANGES = columns("column", "change", "type")
MANY = 10_000  # rows of a table for people

schema = typer.Typer(help="Show and change the versions of a pipeline's schema.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    app.add_typer(schema, name="schema")


def _pipeline(name: str) -> tuple[Settings, str]:
    settings = load_settings()
    return settings, load(name, settings).name


@schema.command()
def show(name: Name, version: At = None, as_json: Json = False) -> int:
    """Show the columns of a version."""
    from include.ledger import schema_versions  # noqa: PLC0415 - as in all commands: what it needs is heavy

    document = schema_versions.version(*_pipeline(name), version)
    if as_json:
        print_json(document)
        return int(ExitCode.OK)
    rows = [
        {"column": column, "type": kind, "in the files": source if source != column.rpartition(".")[2] else None}
        for column, kind, source in schema_versions.columns(document)
    ]
    print_rows(rows, columns("column", "type", "in the files"), limit=MANY)
    print_line(f"Schema version {document['version']}: {document['origin']}.")
    return int(ExitCode.OK)


@schema.command()
def history(name: Name, as_json: Json = False) -> int:
    """List the versions: where each came from, what it changed, which file caused it."""
    from include.ledger import schema_versions  # noqa: PLC0415

    rows = []
    for document in schema_versions.versions(*_pipeline(name)):
        if as_json:
            print_json(document)
        changed = ", ".join(f"{c['column']} {c['type']} {c['change']}" for c in document.get("changes", []))
        first = next(iter(document.get("files", [])), None)
        rows.append({**document, "changes": changed, "first file": first})
    if not rows:
        note(f"{name}: there is no schema yet; the first load makes version 1.")
    if not as_json:
        print_rows(rows, columns("version", "origin", "batch", "first file", "changes"), limit=MANY)
    return int(ExitCode.OK)


@schema.command()
def diff(name: Name, number: Number, other: Other = None, as_json: Json = False) -> int:
    """Compare version N with version M, or with the newest."""
    from include.ledger import schema_versions  # noqa: PLC0415

    settings, pipeline = _pipeline(name)
    old = schema_versions.version(settings, pipeline, number)
    new = schema_versions.version(settings, pipeline, other)
    found = schema_versions.compare(old, new)
    if as_json:
        print_json({"pipeline": pipeline, "from": old["version"], "to": new["version"], "changes": found})
    elif not print_rows(found, CHANGES, limit=MANY):
        print_line(f"Versions {old['version']} and {new['version']} have the same columns.")
    return int(ExitCode.OK)


@schema.command()
def rollback(name: Name, number: Number, as_json: Json = False) -> int:
    """Make the columns of version N those of a new, newest version.

    The table keeps its columns and rows. A column that is dropped so comes back, with the table's type, when a file
    has it and the evolution mode adds columns.
    """
    from include.ledger import schema_versions  # noqa: PLC0415

    settings, pipeline = _pipeline(name)
    document = schema_versions.roll_back(settings, pipeline, number)
    if as_json:
        print_json(document)
        return int(ExitCode.OK)
    print_rows(document["changes"], CHANGES, limit=MANY)
    print_line(f"Schema version {document['version']} has the columns of version {number}. The next load uses it.")
    return int(ExitCode.OK)
