"""The load task with a real child process: a script in the place of spark-submit, all else as it runs in production."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import RetryAction
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from include.config.errors import DataRefused
from include.config.exit_codes import ExitCode
from include.config.settings import load_settings
from include.orchestration.operator import GuardedSparkSubmitOperator
from include.orchestration.retry import FAILURE_KEY, RETRIES, TRIES, RetryByExitCode, TransientFailure, delay_after
from include.submit.failures import failure_of, write_failure
from include.submit.restart import RESTART

RUN_ID = "manual__2026-01-01T00:00:00+00:00"
Submit = Callable[[str], None]


class MemoryTaskInstance:
    """The part of a task instance that tasks talk to: XComs, in memory."""

    def __init__(self, **values: Any) -> None:
        self.values: dict[tuple[str, str], Any] = {(task, "return_value"): value for task, value in values.items()}

    def xcom_push(self, key: str, value: Any) -> None:
        self.values["load", key] = json.loads(json.dumps(value))

    def xcom_pull(self, task_ids: str, key: str = "return_value") -> Any:
        return self.values.get((task_ids, key))


@pytest.fixture
def ti() -> MemoryTaskInstance:
    return MemoryTaskInstance(discover={"pending_bytes": 1000})


@pytest.fixture
def submit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Submit:
    """Put a shell script in the place of spark-submit."""
    binary = tmp_path / "spark" / "bin" / "spark-submit"
    binary.parent.mkdir(parents=True)
    monkeypatch.setattr("include.submit.command.spark_home", lambda: tmp_path / "spark")

    def write(body: str) -> None:
        binary.write_text(f"#!/bin/sh\n{body}\n")
        binary.chmod(0o755)

    return write


@pytest.fixture
def operator(home: Path, pipelines: Path) -> GuardedSparkSubmitOperator:
    return GuardedSparkSubmitOperator(
        task_id="load", pipeline_file=str(pipelines / "trips.yaml"), discover_task_id="discover"
    )


class Background:
    """A load that runs in a thread, as a worker's main thread would; `error` is how it ended."""

    def __init__(self, operator: GuardedSparkSubmitOperator, ti: MemoryTaskInstance) -> None:
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(operator, ti), daemon=True)
        self._thread.start()

    def _run(self, operator: GuardedSparkSubmitOperator, ti: MemoryTaskInstance) -> None:
        try:
            _execute(operator, ti)
        except AirflowException as error:
            self.error = error

    def join(self) -> BaseException | None:
        self._thread.join(10)
        assert not self._thread.is_alive()
        return self.error


def _execute(operator: GuardedSparkSubmitOperator, ti: MemoryTaskInstance) -> dict[str, Any]:
    return operator.execute({"ti": ti, "run_id": RUN_ID})  # type: ignore[typeddict-item]


def test_a_job_that_ends_well_tells_what_was_started(
    operator: GuardedSparkSubmitOperator, ti: MemoryTaskInstance, submit: Submit, tmp_path: Path
) -> None:
    submit(f'printf "%s\\n" "$@" > {tmp_path}/words')
    done = _execute(operator, ti)
    assert (done["master"], done["profile"], done["planned_bytes"]) == ("local[2]", "small", 1000)
    words = (tmp_path / "words").read_text().splitlines()
    assert words[words.index("--master") + 1] == "local[2]"
    assert words[-2:] == ["--run-id", RUN_ID]


@pytest.mark.parametrize("code", [ExitCode.USAGE, ExitCode.DATA_REFUSED, ExitCode.NOT_FOUND, ExitCode.CONFIG])
def test_a_lasting_failure_is_not_retried(
    operator: GuardedSparkSubmitOperator, ti: MemoryTaskInstance, submit: Submit, code: ExitCode
) -> None:
    submit(f"exit {int(code)}")
    with pytest.raises(AirflowFailException):
        _execute(operator, ti)
    assert ti.values["load", FAILURE_KEY]["exit_code"] == code


@pytest.mark.parametrize(
    ("returned", "code"),
    [
        ("exit 70", ExitCode.DEFECT),
        ("exit 74", ExitCode.IO),
        ("exit 75", ExitCode.LOCKED),
        ("exit 1", ExitCode.DEFECT),
        ("exit 137", ExitCode.IO),
        ("kill -9 $$", ExitCode.IO),
    ],
)
def test_a_passing_failure_is_retried(
    operator: GuardedSparkSubmitOperator, ti: MemoryTaskInstance, submit: Submit, returned: str, code: ExitCode
) -> None:
    submit(returned)
    with pytest.raises(TransientFailure) as raised:
        _execute(operator, ti)
    assert raised.value.exit_code is code


def test_the_jobs_own_report_comes_first_and_its_last_lines_follow(
    operator: GuardedSparkSubmitOperator, ti: MemoryTaskInstance, submit: Submit, tmp_path: Path, home: Path
) -> None:
    report = failure_of(DataRefused("a.json has 3 bad records", remedy="Correct it."))
    write_failure(load_settings(), "trips", RUN_ID, report)
    written = next(home.rglob("failures/*.json"))
    copy = tmp_path / "report.json"
    copy.write_bytes(written.read_bytes())
    submit(f"cp {copy} {written}; echo last words >&2; exit 65")
    with pytest.raises(AirflowFailException) as raised:
        _execute(operator, ti)
    message = str(raised.value)
    assert message.startswith("[DataRefused] a.json has 3 bad records\n  What to do: Correct it.")
    assert message.endswith("last words")


def test_the_report_of_an_earlier_try_is_not_taken_for_this_ones(
    operator: GuardedSparkSubmitOperator, ti: MemoryTaskInstance, submit: Submit
) -> None:
    write_failure(load_settings(), "trips", RUN_ID, failure_of(DataRefused("an old story")))
    submit("exit 74")
    with pytest.raises(TransientFailure, match="JobEnded"):
        _execute(operator, ti)


def test_a_job_that_asks_for_a_restart_is_started_again(
    operator: GuardedSparkSubmitOperator, ti: MemoryTaskInstance, submit: Submit, tmp_path: Path
) -> None:
    submit(f"echo x >> {tmp_path}/starts; test $(wc -l < {tmp_path}/starts) -ge 3 || exit {RESTART}")
    _execute(operator, ti)
    assert (tmp_path / "starts").read_text() == "x\n" * 3


def test_secrets_reach_the_job_and_not_its_command_line(
    operator: GuardedSparkSubmitOperator,
    ti: MemoryTaskInstance,
    submit: Submit,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings_file = tmp_path / "settings.yaml"
    settings_file.write_text("spark_conf: {spark.hadoop.fs.s3a.secret.key: hush}\n")
    monkeypatch.setattr("include.orchestration.operator.load_settings", lambda: load_settings(None, settings_file))
    words = (
        f'echo "$@" > {tmp_path}/words; while [ "$1" != --properties-file ]; do shift; done; cat "$2" > {tmp_path}/read'
    )
    submit(words)
    _execute(operator, ti)
    assert "hush" not in (tmp_path / "words").read_text()
    assert (tmp_path / "read").read_text() == "spark.hadoop.fs.s3a.secret.key=hush\n"


def test_a_second_load_of_a_table_ends_with_75(
    operator: GuardedSparkSubmitOperator, ti: MemoryTaskInstance, submit: Submit, pipelines: Path, tmp_path: Path
) -> None:
    submit(f"touch {tmp_path}/started; exec sleep 30")
    first = Background(operator, ti)
    _wait_for(tmp_path / "started")
    second = GuardedSparkSubmitOperator(
        task_id="load", pipeline_file=str(pipelines / "trips.yaml"), discover_task_id="discover"
    )
    with pytest.raises(TransientFailure) as raised:
        _execute(second, MemoryTaskInstance(discover={"pending_bytes": 1}))
    assert raised.value.exit_code is ExitCode.LOCKED
    operator.on_kill()
    assert isinstance(first.join(), TransientFailure)


def test_killing_the_task_ends_its_job(
    operator: GuardedSparkSubmitOperator, ti: MemoryTaskInstance, submit: Submit, tmp_path: Path
) -> None:
    deaf_to_term = "trap '' TERM; while :; do sleep 0.1; done"
    submit(f"echo $$ > {tmp_path}/pid; mv {tmp_path}/pid {tmp_path}/started; {deaf_to_term}")
    load = Background(operator, ti)
    pid = int(_wait_for(tmp_path / "started").read_text())
    operator.on_kill()
    assert isinstance(load.join(), TransientFailure)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, signal.SIG_DFL)


def _wait_for(file: Path) -> Path:
    deadline = time.monotonic() + 20
    while not file.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    return file


def test_an_unknown_connection_is_an_error_and_never_yarn(
    operator: GuardedSparkSubmitOperator,
    ti: MemoryTaskInstance,
    submit: Submit,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    submit(f"touch {tmp_path}/started")
    monkeypatch.delenv("AIRFLOW_CONN_SPARK_DEFAULT")
    with pytest.raises(AirflowFailException, match="no Airflow connection spark_default"):
        _execute(operator, ti)
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize(
    ("connection", "message"),
    [
        ({"conn_type": "spark"}, "names no Spark master"),
        ({"conn_type": "spark", "host": "spark://h:7077", "extra": {"deploy-mode": "cluster"}}, "deploy-mode cluster"),
    ],
)
def test_a_connection_that_cannot_be_guarded_is_refused(
    operator: GuardedSparkSubmitOperator,
    ti: MemoryTaskInstance,
    monkeypatch: pytest.MonkeyPatch,
    connection: dict[str, Any],
    message: str,
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SPARK_DEFAULT", json.dumps(connection))
    with pytest.raises(AirflowFailException, match=message):
        _execute(operator, ti)


@pytest.mark.parametrize("code", [code for code in ExitCode if code.transient])
def test_each_passing_cause_has_its_number_of_tries(code: ExitCode) -> None:
    policy = RetryByExitCode()
    failure = TransientFailure(failure_of(DataRefused("x")))
    failure.exit_code = code
    last = TRIES[code]
    assert policy.evaluate(failure, last - 1, RETRIES).action is RetryAction.RETRY
    assert policy.evaluate(failure, last, RETRIES).action is RetryAction.FAIL
    assert last <= RETRIES + 1


def test_delays_grow_to_ten_minutes() -> None:
    assert [delay_after(number).total_seconds() for number in (1, 2, 3, 6, 1000)] == [30, 60, 120, 600, 600]
