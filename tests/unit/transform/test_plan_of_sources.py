"""What is planned of several source tables and of the event generator: durable, in order, nothing twice. No Spark."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from deltalake import DeltaTable, write_deltalake

from include.config.errors import TableNotFound
from include.config.pipeline import Pipeline
from include.config.reader import load_pipeline
from include.config.settings import Settings, load_settings
from include.transform.commits import HistoryLost
from include.transform.plan import TransformPlan, plan_transform
from include.transform.plan_table import PLAN, PlanTable
from include.transform.ranges import PlannedRange, VersionRange, side_by_side

FEED = {"delta.enableChangeDataFeed": "true"}


class Site:
    """A home with source tables and one pipeline."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.settings: Settings = load_settings({"SLUICE_HOME": str(home)}, home / "none.yaml")
        self.pipeline: Pipeline

    def configure(self, source: Any, **options: Any) -> None:
        section = {"source": source, "steps": [{"filter": "true"}], "table": "gold.t", "options": options}
        file = self.home / "p.yaml"
        file.write_text(yaml.safe_dump({"name": "p", "transform": section}))
        self.pipeline = load_pipeline(file)

    def add(self, table: str, *ids: int) -> None:
        rows = pa.table({"id": pa.array(ids, pa.int64())})
        write_deltalake(self.settings.table_root(table), rows, mode="append", configuration=FEED)

    def table(self, name: str) -> DeltaTable:
        return DeltaTable(self.settings.table_root(name))

    def plan(self, *, dry_run: bool = False) -> TransformPlan:
        return plan_transform(self.pipeline, self.settings, "run", dry_run=dry_run)

    def planned(self) -> list[PlannedRange]:
        table = PlanTable(self.settings, "p")
        return table.ranges(1, table.last_batch)

    def shown(self) -> list[dict[str, tuple[str, int, int]]]:
        return [
            {name: (part.versions.kind, part.versions.first, part.versions.last) for name, part in batch.tables.items()}
            for batch in self.planned()
        ]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_batch_is_one_range_of_each_source_table_and_a_change_comes_alone(site: Site) -> None:
    site.configure(["bronze.a", "bronze.b"], maxVersionsPerTrigger=1)
    site.add("bronze.a", 1, 2)
    site.add("bronze.b", 3)
    assert site.plan().pending_rows == 3
    site.add("bronze.a", 4)
    site.table("bronze.a").delete("id = 1")
    site.add("bronze.b", 5)
    site.add("bronze.b", 6)
    found = site.plan(dry_run=True)
    assert (found.planned_batches, found.source_version) == (3, None)
    assert found.reads == "bronze.a up to its version 2, bronze.b up to its version 2"
    assert site.plan().planned_batches == 3
    assert site.shown() == [
        {"bronze.a": ("snapshot", 0, 0), "bronze.b": ("snapshot", 0, 0)},
        {"bronze.a": ("appends", 1, 1), "bronze.b": ("appends", 1, 1)},
        {"bronze.a": ("changes", 2, 2), "bronze.b": ("none", 1, 1)},
        {"bronze.a": ("none", 2, 2), "bronze.b": ("appends", 2, 2)},
    ]
    assert [batch.versions.kind for batch in site.planned()] == ["snapshot", "appends", "changes", "appends"]
    assert site.plan().planned_batches == 0


def test_empty_table_is_waited_for_and_one_that_joins_the_list_is_read_from_its_snapshot(site: Site) -> None:
    site.configure("bronze.a")
    site.add("bronze.a", 1)
    site.plan()
    DeltaTable.create(site.settings.table_root("bronze.b"), pa.schema([("id", pa.int64())]), configuration=FEED)
    site.configure(["bronze.a", "bronze.b"])
    assert not site.plan().planned_batches
    site.add("bronze.b", 2)
    site.plan()
    site.add("bronze.b", 3)
    site.plan()
    assert site.shown()[1:] == [
        {"bronze.a": ("none", 0, 0), "bronze.b": ("snapshot", 1, 1)},
        {"bronze.a": ("none", 0, 0), "bronze.b": ("appends", 2, 2)},
    ]


def test_plan_of_an_earlier_version_goes_on(site: Site) -> None:
    site.configure(["bronze.a", "bronze.b"])
    site.add("bronze.a", 1)
    site.add("bronze.b", 1)
    early = pa.schema([field for field in PLAN if field.name != "tables"])
    DeltaTable.create(site.settings.state_root("p", "plan"), early, configuration={"delta.appendOnly": "true"})
    site.plan()
    site.configure(["bronze.a", "bronze.b"])
    assert not site.plan().planned_batches
    assert [*site.shown()[0]] == ["bronze.a", "bronze.b"]


def test_source_table_that_is_not_named_any_more_or_not_there_stops_the_run(site: Site) -> None:
    site.configure(["bronze.a", "bronze.b"])
    site.add("bronze.a", 1)
    with pytest.raises(TableNotFound, match=r"bronze\.b"):
        site.plan()
    site.add("bronze.b", 1)
    site.plan()
    site.add("bronze.c", 1)
    site.configure(["bronze.a", "bronze.c"])
    with pytest.raises(HistoryLost, match=r"does not name any more: bronze\.b"):
        site.plan()
    site.configure("bronze.a")
    with pytest.raises(HistoryLost, match=r"does not name any more: bronze\.b"):
        site.plan()


def test_ranges_of_uneven_length_are_all_planned_once() -> None:
    def appends(number: int) -> VersionRange:
        return VersionRange("appends", number, number, 1, 1, feed=True)

    fresh = {"a": [appends(1), appends(2), appends(3)], "b": [appends(7)]}
    standing = {"a": appends(0), "b": appends(6)}
    found = [{name: (part.kind, part.last) for name, part in batch.items()} for batch in side_by_side(fresh, standing)]
    assert found == [
        {"a": ("appends", 1), "b": ("appends", 7)},
        {"a": ("appends", 2), "b": ("none", 7)},
        {"a": ("appends", 3), "b": ("none", 7)},
    ]


def test_each_run_plans_the_next_made_up_batches_until_there_are_no_more(site: Site) -> None:
    made = {"rate": 2, "seconds": 30, "per_run": 2, "batches": 3}
    site.configure({"generate": made})
    found = [site.plan().planned_batches for _ in range(3)]
    assert found == [2, 1, 0]
    assert [(batch.versions.kind, batch.versions.first) for batch in site.planned()] == [
        ("generated", number) for number in (1, 2, 3)
    ]
    assert all(59 < (batch.versions.rows or 0) < 70 for batch in site.planned())
    site.configure({"generate": {**made, "batches": 4}})
    assert site.plan().planned_batches == 1
    site.configure({"generate": {**made, "seed": 2}})
    with pytest.raises(HistoryLost, match="the events would be other ones"):
        site.plan()
