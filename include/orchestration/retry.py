"""Which failures Airflow tries again, how often and after how long: decided by the exit code of the contract.

Runs in the task's process. A task that was killed leaves no exception: Airflow's plain `retries` holds for it.
"""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import timedelta
from typing import Any, NoReturn

from airflow.sdk import Context, RetryDecision, RetryPolicy
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from include.config.exit_codes import ExitCode
from include.submit.failures import Failure

# Tries in all, per cause. A taken lock is somebody else's long load; a defect rarely goes away by itself.
TRIES: Mapping[ExitCode, int] = {ExitCode.LOCKED: 10, ExitCode.IO: 6, ExitCode.DEFECT: 2}
RETRIES = max(TRIES.values()) - 1
FIRST_DELAY = timedelta(seconds=30)
LONGEST_DELAY = timedelta(minutes=10)
FAILURE_KEY = "failure"


class TransientFailure(AirflowException):
    """Raised when a task failed in a way that may pass."""

    def __init__(self, failure: Failure, log_tail: str = "") -> None:
        super().__init__(f"{failure}{log_tail}")
        self.exit_code = ExitCode(failure.exit_code)


class RetryByExitCode(RetryPolicy):
    """Fewer tries than the task allows, where the cause says that more are of no use; exponential delays."""

    def evaluate(
        self,
        exception: BaseException,
        try_number: int,
        max_tries: int,  # noqa: ARG002  the task's own limit holds in any case
        context: Context | None = None,  # noqa: ARG002
    ) -> RetryDecision:
        """Decide by the exit code of a TransientFailure; any other exception is a defect."""
        code = exception.exit_code if isinstance(exception, TransientFailure) else ExitCode.DEFECT
        tries = TRIES[code]
        if try_number >= tries:
            return RetryDecision.fail(f"{code.name}: {try_number} of {tries} tries made")
        delay = delay_after(try_number)
        return RetryDecision.retry(delay, f"{code.name}: try {try_number} of {tries}, the next in {delay}")

    def serialize(self) -> dict[str, Any]:
        """Nothing to remember: the rules are code."""
        return {}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> "RetryByExitCode":  # noqa: ARG003
        """The same policy again."""
        return cls()


def delay_after(try_number: int) -> timedelta:
    """How long to wait after a failed try (from 1): 30 s, doubled each time, ten minutes at most."""
    doublings = min(try_number - 1, 10)
    return min(FIRST_DELAY * (1 << doublings), LONGEST_DELAY)


def fail_task(context: Context, failure: Failure, log_tail: str = "") -> NoReturn:
    """Leave the failure for `publish` (XCom `failure`) and fail the task, for good or until its next try.

    `log_tail` is what the job printed last; it stands below the failure in the task's log.

    Raises:
        TransientFailure: the same call may succeed later.
        AirflowFailException: it will not; Airflow does not retry.
    """
    context["ti"].xcom_push(key=FAILURE_KEY, value=asdict(failure))
    if ExitCode(failure.exit_code).transient:
        raise TransientFailure(failure, log_tail)
    raise AirflowFailException(f"{failure}{log_tail}")
