"""Checks: what each action does with the records that fail, and that all of them are accounted for."""

import logging
from typing import Any

import pytest

from include.config.errors import ConfigError, DataRefused
from tests.spark.conftest import Landing

LINES = '{"id": 1, "carrier": "UA"}\n{"id": 2}\n{"id": 3, "carrier": "DL"}\n{"id": -4, "carrier": "AA"}\n'


def check(action: str, expr: str = "carrier IS NOT NULL", name: str = "has_carrier") -> dict[str, Any]:
    return {"name": name, "expr": expr, "action": action}


def test_quarantined_records_are_kept_and_counted(landing: Landing) -> None:
    landing.configure(checks=[check("quarantine"), check("quarantine", "id > 0", "positive")])
    landing.drop("a.json", LINES)
    landing.run()
    assert landing.values("id") == [1, 3]
    assert sorted((row["reason"], row["raw"]) for row in landing.quarantine()) == [
        ("check has_carrier: carrier IS NOT NULL is false", '{"id":2}'),
        ("check positive: id > 0 is false", '{"carrier":"AA","id":-4}'),
    ]
    account = landing.files()["a.json"]
    assert (account["status"], account["rows_loaded"], account["rows_quarantined"]) == ("loaded", 2, 2)


def test_dropped_records_are_accounted_for_without_their_text(landing: Landing) -> None:
    landing.configure(checks=[check("drop")])
    landing.drop("a.json", LINES)
    landing.run()
    assert landing.values("id") == [-4, 1, 3]
    assert [row["raw"] for row in landing.quarantine()] == [""]


def test_a_failing_check_refuses_the_batch(landing: Landing) -> None:
    landing.configure(checks=[check("fail")])
    landing.drop("a.json", LINES)
    with pytest.raises(DataRefused) as refused:
        landing.run()
    assert refused.value.parameters == {"check": "has_carrier", "path": "in/a.json"}
    landing.configure(checks=[])
    landing.run()
    assert landing.values("id") == [-4, 1, 2, 3]


def test_a_warning_counts_and_loads(landing: Landing, caplog: pytest.LogCaptureFixture) -> None:
    landing.configure(checks=[check("warn"), check("warn", "id < 100", "small")])
    landing.drop("a.json", LINES)
    with caplog.at_level(logging.WARNING, "spark_jobs"):
        landing.run()
    assert len(landing.values("id")) == 4
    assert "check has_carrier: 1 records fail it" in caplog.text
    assert "small" not in caplog.text


def test_null_passes(landing: Landing) -> None:
    landing.configure(checks=[check("quarantine", "carrier <> 'UA'")])
    landing.drop("a.json", LINES)
    landing.run()
    assert landing.values("id") == [-4, 2, 3]


def test_malformed_records_and_failing_ones_are_both_found(landing: Landing) -> None:
    declared = {"cloudFiles.inferColumnTypes": False}
    landing.configure(declared, schema="id bigint, carrier string", checks=[check("quarantine")])
    landing.drop("b.json", LINES + '{"id": "x", "carrier": "UA"}\n{"id\n')
    landing.run()
    refused = [row for row in landing.quarantine() if row["path"] == "in/b.json"]
    assert [row["record"] for row in refused] == [None, 5, 6]
    assert landing.files()["b.json"]["rows_quarantined"] == 3


@pytest.mark.parametrize("expr", ["no_such_column > 1", "id >", "id + 1"])
def test_an_expression_that_cannot_be_used_is_named(landing: Landing, expr: str) -> None:
    landing.configure(checks=[check("quarantine", expr)])
    landing.drop("a.json", LINES)
    with pytest.raises(ConfigError) as refused:
        landing.run()
    assert refused.value.parameters == {"check": "has_carrier"}
