from collections.abc import Iterator
from pathlib import Path

import pytest

from include.config.errors import DataRefused, StorageError
from include.config.exit_codes import ExitCode
from include.config.pipeline import Pipeline
from include.config.settings import Settings
from include.submit.failures import clear_failure, failure_of, failure_report, read_failure, write_failure
from include.submit.restart import MAX_RESTARTS, RESTART, SPARK_DIED, RestartLoop, until_done

RUN = "manual__2026-01-01T00:00:00.123456+00:00_a/b"


def test_what_a_job_reports_is_read_back(settings: Settings) -> None:
    report = failure_of(DataRefused("a.json has 3 bad records", remedy="Correct it."))
    write_failure(settings, "trips", RUN, report)
    assert read_failure(settings, "trips", RUN) == report
    assert report.exit_code == ExitCode.DATA_REFUSED


def test_an_unknown_exception_is_reported_as_a_defect() -> None:
    report = failure_of(ZeroDivisionError("division by zero"))
    assert (report.error_class, report.exit_code) == ("ZeroDivisionError", ExitCode.DEFECT)


def test_a_report_stays_in_the_state_folder_whatever_the_run_is_called(settings: Settings) -> None:
    write_failure(settings, "trips", "../../x:+y", failure_of(StorageError("disk full")))
    written = [path.relative_to(settings.home) for path in settings.home.rglob("*.json")]
    assert written == [Path("state/trips/failures/.._.._x__y.json")]


def test_a_run_without_a_report_has_none(settings: Settings) -> None:
    assert read_failure(settings, "trips", RUN) is None
    clear_failure(settings, "trips", RUN)


def test_a_cleared_report_is_gone(settings: Settings) -> None:
    write_failure(settings, "trips", RUN, failure_of(StorageError("disk full")))
    clear_failure(settings, "trips", RUN)
    assert read_failure(settings, "trips", RUN) is None


def test_a_taken_lock_names_the_lock(pipeline: Pipeline, settings: Settings) -> None:
    report = failure_report(pipeline, settings, RUN, ExitCode.LOCKED)
    assert report.error_class == "TableLocked"
    assert str(settings.lock_file("bronze.trips")) in report.remedy


def test_a_killed_job_is_reported_without_its_help(pipeline: Pipeline, settings: Settings) -> None:
    report = failure_report(pipeline, settings, RUN, ExitCode.IO)
    assert (report.error_class, report.exit_code) == ("JobEnded", ExitCode.IO)


@pytest.mark.parametrize("restarts", [0, 1, MAX_RESTARTS])
def test_a_job_that_asks_for_it_is_started_again(restarts: int) -> None:
    answers: Iterator[int] = iter([RESTART] * restarts + [65])
    assert until_done(lambda: next(answers)) == 65


def test_a_job_that_asks_for_ever_is_stopped() -> None:
    with pytest.raises(RestartLoop):
        until_done(lambda: RESTART)


@pytest.mark.parametrize("code", SPARK_DIED)
def test_a_spark_that_died_of_a_file_is_started_again(code: int) -> None:
    answers = iter([code, code, 0])
    assert until_done(lambda: next(answers)) == 0
