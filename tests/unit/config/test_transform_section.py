"""Which engine aggregates windows, and what it needs; which commits of a source are left out."""

from typing import Any

import pytest
from pydantic import ValidationError

from include.config.transform import Transform
from include.config.windows import Window
from include.transform.commits import Commit
from include.transform.ranges import cut

DIVERT = {"after": "10 minutes", "action": "divert"}


def window(**more: Any) -> Window:
    return Window.model_validate({"type": "tumbling", "time": "at", "size": "1 minute", **more})


@pytest.mark.parametrize(
    ("more", "stateful"),
    [
        ({"measures": {"n": "count(*)"}}, False),
        ({"measures": {"n": "count(*)"}, "late": DIVERT}, False),
        ({"measures": {"usual": "mode(v)"}, "late": DIVERT}, True),
        ({"measures": {"n": "count(*)"}, "late": DIVERT, "engine": "stateful"}, True),
    ],
)
def test_engine_is_what_the_measures_allow(more: dict[str, Any], stateful: bool) -> None:
    assert window(**more).stateful is stateful


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"measures": {"usual": "mode(v)"}}, "late: {after: 10 minutes, action: divert}"),
        ({"measures": {"usual": "mode(v)"}, "late": DIVERT, "engine": "merge"}, "mode cannot be merged"),
        ({"measures": {"n": "count(*)"}, "engine": "stateful"}, "needs a watermark"),
        ({"measures": {"n": "count(*)"}, "output": "append"}, "`output` goes with `engine: stateful`"),
    ],
)
def test_what_no_engine_can_do_is_refused(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as refused:
        window(**more)
    assert message in str(refused.value)


def test_deduplicate_with_an_order_is_the_last_step() -> None:
    step = {"deduplicate": {"keys": ["id"], "order_by": ["at DESC"]}}
    section = {"source": "bronze.t", "table": "gold.t"}
    assert Transform.model_validate({**section, "steps": [step]}).last is not None
    with pytest.raises(ValidationError, match="must be the last step"):
        Transform.model_validate({**section, "steps": [step, {"filter": "true"}]})


@pytest.mark.parametrize(
    ("more", "steps", "message"),
    [
        ({"options": {"skipChangeCommits": True}}, [], "skipChangeCommits"),
        ({"options": {"ignoreDeletes": True}}, [], "ignoreDeletes"),
        ({}, [{"deduplicate": {"keys": ["id"]}}], "its own pipeline"),
    ],
)
def test_deduplicate_that_reads_the_source_again_needs_it_whole(
    more: dict[str, Any], steps: list[dict[str, Any]], message: str
) -> None:
    last = {"deduplicate": {"keys": ["id"], "order_by": ["v"], "time": "at", "within": "1 hour"}}
    section = {"source": "bronze.t", "table": "gold.t"}
    assert Transform.model_validate({**section, "steps": [{"filter": "true"}, last]}).last is not None
    with pytest.raises(ValidationError, match=message):
        Transform.model_validate({**section, **more, "steps": [*steps, last]})


@pytest.mark.parametrize(
    ("ignore", "kinds"), [(True, ["appends", "changes"]), (False, ["appends", "changes", "changes"])]
)
def test_commits_that_only_take_files_away_can_be_left_out(ignore: bool, kinds: list[str]) -> None:
    commits = [
        Commit(1, rows=1, size=10, files=1, changes=False),
        Commit(2, rows=0, size=0, files=0, changes=True),
        Commit(3, rows=1, size=10, files=1, changes=True),
    ]
    assert sorted(found.kind for found in cut(commits, 10, 1000, feed=True, ignore_deletes=ignore)) == kinds
