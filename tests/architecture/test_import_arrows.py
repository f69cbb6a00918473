"""The arrows of ARCHITECTURE.md: which room may import which, read from the source without running it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SPARK = ("pyspark", "delta", "py4j")
AIRFLOW = ("airflow",)
DELTA_RS = ("deltalake", "pyarrow", "obstore", "pandas")

# room -> what nothing in it may import, at module level or inside a function
FORBIDDEN = {
    "dags": (*SPARK, *DELTA_RS, "spark_jobs"),
    "include/config": (*SPARK, *AIRFLOW, *DELTA_RS, "spark_jobs", "include.ledger", "include.submit", "include.cli"),
    "include/copy_into": (*SPARK, *AIRFLOW, "spark_jobs", "include.submit", "include.cli", "include.orchestration"),
    "include/ledger": (*SPARK, *AIRFLOW, "spark_jobs", "include.submit", "include.cli", "include.orchestration"),
    "include/algebra": (*SPARK, *AIRFLOW, *DELTA_RS, "spark_jobs", "include.config", "include.ledger", "include.cli"),
    "include/generator": (*SPARK, *AIRFLOW, *DELTA_RS, "spark_jobs", "include.submit", "include.cli"),
    "include/transform": (*SPARK, *AIRFLOW, "spark_jobs", "include.submit", "include.cli", "include.orchestration"),
    "include/cache": (*SPARK, *AIRFLOW, "spark_jobs", "include.submit", "include.cli", "include.orchestration"),
    "include/probe": (*SPARK, *AIRFLOW, "spark_jobs", "include.submit", "include.cli", "include.orchestration"),
    "include/submit": (*SPARK, *AIRFLOW, "spark_jobs", "include.cli", "include.orchestration"),
    "include/cli": (*SPARK, *AIRFLOW, "spark_jobs", "include.orchestration"),
    "include/orchestration": (*SPARK, "spark_jobs", "include.cli"),
    "spark_jobs": (*AIRFLOW, "include.cli", "include.orchestration"),
}
# A worker that probes files starts in a tenth of a second because of this.
LIGHT = ("include/probe/records.py", "include/probe/probe.py", "include/probe/streams.py")


def imports(file: Path, *, top_level_only: bool = False) -> Iterator[str]:
    tree = ast.parse(file.read_text())
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def breaks(module: str, forbidden: tuple[str, ...]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in forbidden)


@pytest.mark.parametrize("room", FORBIDDEN)
def test_a_room_imports_only_what_the_arrows_allow(room: str) -> None:
    files = list((ROOT / room).rglob("*.py"))
    assert files, f"{room} is empty: has the layout changed?"
    wrong = [
        f"{file.relative_to(ROOT)} imports {module}"
        for file in files
        for module in imports(file)
        if breaks(module, FORBIDDEN[room])
    ]
    assert wrong == []


@pytest.mark.parametrize("file", LIGHT)
def test_a_probe_worker_starts_without_spark_and_arrow(file: str) -> None:
    heavy = [module for module in imports(ROOT / file, top_level_only=True) if breaks(module, (*SPARK, *DELTA_RS))]
    assert heavy == []


def test_job_scripts_do_not_shadow_the_standard_library() -> None:
    """`sys.path[0]` of a job is spark_jobs/: a module there called queue.py would be everybody's queue."""
    import sys  # noqa: PLC0415

    names = {file.stem for file in (ROOT / "spark_jobs").glob("*.py")}
    assert names & sys.stdlib_module_names == set()


def test_nothing_reads_tables_by_threads_that_call_into_python() -> None:
    """A pyarrow dataset of delta-rs does, and aborts a process that ends meanwhile."""
    calls = [
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for room in ("include", "spark_jobs")
        for file in sorted((ROOT / room).rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in ("to_pyarrow_dataset", "to_pyarrow_table", "to_pandas")
    ]
    assert calls == []
