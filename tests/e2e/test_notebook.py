"""The notebook runs from top to bottom, and what is committed of it is such a run."""

from pathlib import Path

import nbformat
import pytest

from include.config.settings import PROJECT_ROOT
from tools.notebook import run_notebook

NOTEBOOK = PROJECT_ROOT / "notebooks" / "streaming_demo.ipynb"


def read(file: Path) -> nbformat.NotebookNode:
    return nbformat.read(file, as_version=4)  # type: ignore[no-any-return, no-untyped-call]


def pictures(notebook: nbformat.NotebookNode) -> int:
    return sum("image/png" in output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", ()))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_notebook_runs_from_top_to_bottom(tmp_path: Path) -> None:
    """Its own assertions compare the tables with DuckDB's; a cell that fails is an error here."""
    run_notebook(NOTEBOOK, tmp_path / "done.ipynb")
    assert pictures(read(tmp_path / "done.ipynb")) == 6


def test_committed_notebook_shows_a_whole_run_and_no_machine() -> None:
    notebook = read(NOTEBOOK)
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
    assert pictures(notebook) == 6
    text = NOTEBOOK.read_text()
    assert [part for part in ("/tmp/", str(Path.home()), str(PROJECT_ROOT)) if part in text] == []
