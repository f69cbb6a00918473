"""A file whose reader never returns is named and left out; the rest is loaded, in one `sluice run`."""

from pathlib import Path

import pytest

from tests.e2e.fault.home import Home
from tests.e2e.fault.injector import Injector
from tests.e2e.fault.scenario import LONG_AGO, lines

HANG_SECONDS = 15  # a first task on a busy machine must not look like a hang
TOO_LONG_TO_KEEP = b"\n" * 20_000  # Spark is handed the text of smaller files: it does not open them


# Two files a batch: in the first batch the file hangs the inference of the schema, in the second one the load under it.
@pytest.mark.parametrize("batch", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_file_that_hangs_the_reader_is_named_and_the_rest_is_loaded(
    injector: Injector, tmp_path: Path, batch: int
) -> None:
    home = Home(tmp_path / "home")
    home.configure(conf={"spark.sluice.hangTimeout": str(HANG_SECONDS)})
    home.drop("before.json", lines(1, 2), LONG_AGO)
    home.drop("after.json", lines(5), LONG_AGO + 2)
    hanging = home.drop("hangs.json", lines(3, 4) + TOO_LONG_TO_KEEP, LONG_AGO + (1 if batch == 1 else 3))
    run = home.run(injector.hanging(home.folder, hanging))
    assert (run.returncode, run.result["status"]) == (0, "loaded"), run.stderr
    reports = {row["path"]: row for row in home.report("files")}
    assert {path: row["rows_loaded"] for path, row in reports.items()} == {
        "in/before.json": 2,
        "in/hangs.json": 0,
        "in/after.json": 1,
    }
    assert reports["in/hangs.json"]["status"] == "quarantined"
    assert reports["in/hangs.json"]["error"] == f"reading it did not end within {HANG_SECONDS} s"
    assert [(row["path"], row["record"]) for row in home.report("quarantine")] == [("in/hangs.json", None)]
