"""The arguments that commands share."""

from typing import Annotated

import typer

Name = Annotated[str, typer.Argument(metavar="NAME", help="A pipeline's name, or the path of its YAML file.")]
Names = Annotated[
    list[str] | None, typer.Argument(metavar="[NAME]...", help="Pipelines by name or path; all if left out.")
]
Paths = Annotated[list[str], typer.Argument(metavar="PATH...", help="Files as `sluice files NAME` names them.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON: one object a line.")]
Limit = Annotated[int, typer.Option("--limit", min=1, help="The most rows of the table; --json prints all.")]
