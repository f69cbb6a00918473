"""`sluice schema`: versions as documents."""

from pathlib import Path
from typing import Any

import pytest

from include.config.errors import UsageError
from include.config.settings import Settings, load_settings
from include.ledger.schema_versions import columns, compare, roll_back, version, versions
from include.ledger.state_files import create_document


def struct(**fields: Any) -> dict[str, Any]:
    return {
        "type": "struct",
        "fields": [{"name": name, "type": kind, "nullable": True, "metadata": {}} for name, kind in fields.items()],
    }


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    found = load_settings({"SLUICE_HOME": str(tmp_path)}, tmp_path / "none.yaml")
    nested = struct(x="long", y="string")
    for number, schema in enumerate([struct(id="integer"), struct(id="long", o=nested)], 1):
        document = {"version": number, "origin": "inferred", "files": [], "changes": [], "schema": schema}
        create_document(f"{found.state_root('p', 'schemas')}/{number}.json", document)
    return found


def test_versions_are_compared_below_the_top_too(settings: Settings) -> None:
    old, new = versions(settings, "p")
    assert [name for name, _, _ in columns(new)] == ["id", "o", "o.x", "o.y"]
    assert compare(old, new) == [
        {"column": "o", "change": "added", "type": "struct"},
        {"column": "o.x", "change": "added", "type": "bigint"},
        {"column": "o.y", "change": "added", "type": "string"},
        {"column": "id", "change": "widened from int", "type": "bigint"},
    ]


def test_rollback_is_a_new_version_and_history_stays(settings: Settings) -> None:
    assert roll_back(settings, "p", 1)["version"] == 3
    assert version(settings, "p", None)["schema"] == version(settings, "p", 1)["schema"]
    assert [document["version"] for document in versions(settings, "p")] == [1, 2, 3]


@pytest.mark.parametrize(("number", "problem"), [(2, "is the newest already"), (7, "there are: 1, 2")])
def test_rollback_to_no_other_version_is_refused(settings: Settings, number: int, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        roll_back(settings, "p", number)
