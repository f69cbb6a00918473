"""Run a notebook from top to bottom and write it back with what it shows.

    python -m tools.notebook notebooks/streaming_demo.ipynb [OTHER.ipynb]

With a second name the result goes there. What processes print to stderr (the JVM at its start) is left out, and so is
when a cell ran, so that the same results are the same file.
"""

import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from include.config.settings import PROJECT_ROOT

CELL_SECONDS = 600


def run_notebook(notebook: Path, target: Path) -> None:
    """Run `notebook` and write `target`.

    Raises:
        CellExecutionError: a cell failed; nothing is written.
    """
    # The kernel is a process of its own: it finds the project's modules by this, wherever the notebook lies.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(PROJECT_ROOT), os.environ.get("PYTHONPATH"))))
    document = nbformat.read(notebook, as_version=4)  # type: ignore[no-untyped-call]
    client = NotebookClient(document, timeout=CELL_SECONDS, resources={"metadata": {"path": str(notebook.parent)}})
    client.execute()
    for cell in document.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    document.metadata.language_info = {"name": "python"}
    nbformat.write(document, target)  # type: ignore[no-untyped-call]


def main() -> int:
    """Run the notebook of the command line; 1 where a cell fails."""
    if len(sys.argv) not in (2, 3):
        print(__doc__, file=sys.stderr)
        return 64
    notebook = Path(sys.argv[1])
    try:
        run_notebook(notebook, Path(sys.argv[-1]))
    except CellExecutionError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
