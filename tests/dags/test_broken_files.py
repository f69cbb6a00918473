"""A broken pipeline file is loud and alone: in the bag, and in Airflow's database as the DAG processor writes it."""

from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
from airflow.models.dag import DagModel
from airflow.models.dagbundle import DagBundleModel
from airflow.models.errors import ParseImportError
from airflow.utils.session import create_session
from sqlalchemy import select

from include.config.settings import PROJECT_ROOT
from include.orchestration.catalog import BrokenPipelines, refuse_broken_pipelines

BUNDLE = "test-bundle"


@pytest.fixture
def broken(pipelines: Path) -> Path:
    (pipelines / "typo.yaml").write_text("name: typo\ningest: {source: x, tabel: bronze.x}\n")
    (pipelines / "torn.yaml").write_text("name: torn\ningest: [\n")
    (pipelines / "later.yaml").write_text(
        "name: later\ningest: {source: x, table: bronze.x, options: {cloudFiles.format: text, rescuedDataColumn: r}}\n"
    )
    return pipelines


@pytest.fixture
def dags_folder(tmp_path: Path, broken: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The repository's own DAG files, reading the test's pipeline files."""
    folder = tmp_path / "dags"
    folder.mkdir()
    for file in (PROJECT_ROOT / "dags").glob("*.py"):
        text = file.read_text()
        for call in ("pipeline_dags()", "refuse_broken_pipelines()"):
            text = text.replace(call, call.replace("()", f"(Path({str(broken)!r}))"))
        (folder / file.name).write_text(f"from pathlib import Path\n{text}")
    return folder


def test_every_problem_of_every_file_is_named(broken: Path) -> None:
    with pytest.raises(BrokenPipelines) as raised:
        refuse_broken_pipelines(broken)
    text = str(raised.value)
    assert [name for name in ("typo.yaml", "torn.yaml", "later.yaml") if name not in text] == []
    assert "table" in text


def test_good_files_alone_raise_nothing(pipelines: Path) -> None:
    refuse_broken_pipelines(pipelines)


def test_a_broken_file_is_an_import_error_and_the_others_are_dags(dags_folder: Path) -> None:
    bag = DagBag(str(dags_folder))
    assert set(bag.dags) == {"trips"}
    assert [Path(file).name for file in bag.import_errors] == ["pipeline_problems.py"]
    assert "typo.yaml" in next(iter(bag.import_errors.values()))


@pytest.mark.usefixtures("airflow_database")
def test_airflow_keeps_scheduling_the_good_dags_and_shows_the_error(dags_folder: Path) -> None:
    bag = DagBag(str(dags_folder), bundle_path=dags_folder, bundle_name=BUNDLE)
    with create_session() as session:
        session.add(DagBundleModel(name=BUNDLE))
        session.flush()
        sync_bag_to_db(bag, BUNDLE, bundle_version=None, session=session)
    with create_session() as session:
        dag = session.scalars(select(DagModel).where(DagModel.dag_id == "trips")).one()
        error = session.scalars(select(ParseImportError).where(ParseImportError.bundle_name == BUNDLE)).one()
        assert (dag.is_stale, dag.has_import_errors) == (False, False)
        assert error.filename == "pipeline_problems.py"
        assert "typo.yaml" in (error.stacktrace or "")
