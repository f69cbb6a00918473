"""The pipeline files as Airflow sees them: a broken one hides no other, and is loud.

Two DAG files use this: `dags/pipelines.py` builds what can be built, `dags/pipeline_problems.py` raises what cannot and
has no DAG of its own, because Airflow deactivates the DAGs of a file that has an import error.
"""

from collections.abc import Iterator
from pathlib import Path

from airflow.sdk import DAG, get_parsing_context

from include.config.errors import ConfigError
from include.config.pipeline import Pipeline
from include.config.reader import load_pipeline, pipeline_files
from include.config.settings import PIPELINES_DIR, load_settings
from include.orchestration.factory import build_dag


class BrokenPipelines(ConfigError):
    """Raised when pipeline files are wrong; `problems` holds those of all files."""

    def __str__(self) -> str:
        return "\n".join([super().__str__(), *self.problems])


def pipeline_dags(folder: Path = PIPELINES_DIR) -> dict[str, DAG]:
    """The DAGs of all good pipeline files by name; a worker that runs one task is given that task's DAG only."""
    settings = load_settings()
    wanted = get_parsing_context().dag_id
    files = [file for file in pipeline_files(folder) if wanted in (None, file.stem)]
    return {pipeline.name: build_dag(pipeline, settings) for pipeline in _good(files)}


def refuse_broken_pipelines(folder: Path = PIPELINES_DIR) -> None:
    """Make sure that every pipeline file can be a DAG.

    Raises:
        BrokenPipelines: some cannot; every problem of every file is named.
    """
    problems = [line for file in pipeline_files(folder) for line in _problems(file)]
    if problems:
        raise BrokenPipelines(
            f"{len(problems)} problems in the pipeline files; the DAGs of the other files are not affected.",
            remedy="Correct these lines, or check them with `sluice validate`.",
            problems=problems,
        )


def _good(files: list[Path]) -> Iterator[Pipeline]:
    for file in files:
        try:
            yield load_pipeline(file)
        except ConfigError:
            continue  # raised by refuse_broken_pipelines in a DAG file of its own


def _problems(file: Path) -> tuple[str, ...]:
    try:
        load_pipeline(file)
    except ConfigError as error:
        return error.problems or (f"{file.name}: {error}",)
    return ()
