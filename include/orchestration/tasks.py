"""The tasks around the load: `discover` before it, `publish` after it. Both run on a worker, without Spark.

They are given the pipeline's file and read it when they run, so that a task always does what the file says now.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from airflow.sdk import Asset, BaseOperator, Context, SkipMixin
from airflow.sdk.exceptions import AirflowFailException

from include.config.errors import SluiceError
from include.config.exit_codes import ExitCode
from include.config.pipeline import Pipeline
from include.config.reader import load_pipeline
from include.config.result import RunResult
from include.config.settings import Settings, load_settings
from include.orchestration.retry import FAILURE_KEY, fail_task
from include.submit.failures import Failure, failure_of

RESULT_KEY = "return_value"


class DiscoverOperator(BaseOperator, SkipMixin):
    """Plans what is new. The plan is its XCom; the load is skipped when there is nothing to load.

    :param pipeline_file: the pipeline's YAML file.
    :param load_task_id: the task that is skipped when there is no work.
    """

    def __init__(self, *, pipeline_file: str, load_task_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pipeline_file = pipeline_file
        self.load_task_id = load_task_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Discover, and decide whether a JVM is needed.

        Raises:
            TransientFailure, AirflowFailException: see `include.orchestration.retry.fail_task`.
            DownstreamTasksSkipped: there is nothing to load (Airflow's way to skip; the task succeeds).
        """
        # Imported here, as in publish: delta-rs has no business in the scheduler's parse of the DAG files.
        from include.submit.steps import discover_step  # noqa: PLC0415

        try:
            plan = discover_step(load_pipeline(Path(self.pipeline_file)), load_settings(), context["run_id"])
        except SluiceError as error:
            fail_task(context, failure_of(error))
        self.log.info("%s", plan)
        found = plan.to_dict()
        if not plan.has_work and self.dag is not None:
            # Skipping ends the task by an exception, so its value is left here.
            context["ti"].xcom_push(key=RESULT_KEY, value=found)
            self.skip(ti=context["ti"], tasks=[self.dag.get_task(self.load_task_id)])
        return found


class PublishOperator(BaseOperator):
    """Says what the run did: the result as XCom, an event of the table's asset with the figures where rows came in.

    Fails where the run failed, so that the DAG run does; the result is there then, too.

    :param pipeline_file: the pipeline's YAML file.
    :param discover_task_id: the task whose XCom is the discovery, and that may have left a failure.
    :param load_task_id: the task that may have left a failure.
    """

    def __init__(self, *, pipeline_file: str, discover_task_id: str, load_task_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pipeline_file = pipeline_file
        self.discover_task_id = discover_task_id
        self.load_task_id = load_task_id

    def execute(self, context: Context) -> dict[str, object]:
        """Count, publish, and fail where the outcome says so.

        Raises:
            AirflowFailException: the run was rejected or failed.
            TransientFailure: the outcomes could not be read this time.
        """
        try:
            result = self._result(context, load_pipeline(Path(self.pipeline_file)), load_settings())
        except SluiceError as error:
            fail_task(context, failure_of(error))
        published = result.to_dict()
        if result.error is not None:
            # A failed task's return value is not kept; its result must be readable none the less.
            context["ti"].xcom_push(key=RESULT_KEY, value=published)
            raise AirflowFailException(result.error)
        self._announce(context, result)
        self.log.info("%s", published)
        return published

    def _result(self, context: Context, pipeline: Pipeline, settings: Settings) -> RunResult:
        from include.submit.sections import steps_of  # noqa: PLC0415
        from include.submit.steps import publish_step, result_of_failure  # noqa: PLC0415

        ti = context["ti"]
        seconds = _seconds_since(context["dag_run"].start_date)
        failure = self._failure(context)
        found = ti.xcom_pull(task_ids=self.discover_task_id)
        if found is None:
            return result_of_failure(pipeline, context["run_id"], failure or _no_trace(self.discover_task_id), seconds)
        plan = steps_of(pipeline).restored(found)
        if failure is None and plan.has_work and ti.xcom_pull(task_ids=self.load_task_id) is None:
            failure = _no_trace(self.load_task_id)
        return publish_step(pipeline, settings, plan, failure, seconds)

    def _failure(self, context: Context) -> Failure | None:
        for task_id in (self.discover_task_id, self.load_task_id):
            left = context["ti"].xcom_pull(task_ids=task_id, key=FAILURE_KEY)
            if left is not None:
                return Failure(**left)
        return None

    def _announce(self, context: Context, result: RunResult) -> None:
        """The outlet's event carries the figures; a run that changed nothing has no event, or it would wake others."""
        if result.batches == 0:
            self.outlets = []
            return
        figures: Any = {key: value for key, value in result.to_dict().items() if key not in ("error", "exit_code")}
        for outlet in self.outlets:
            if isinstance(outlet, Asset):
                context["outlet_events"][outlet].extra = figures


def _seconds_since(start: datetime | None) -> float:
    return 0.0 if start is None else (datetime.now(UTC) - start).total_seconds()


def _no_trace(task_id: str) -> Failure:
    return Failure(
        "TaskEnded",
        f"The task {task_id} ended without a result: it was killed, or its state was set by hand.",
        "See its log; clear it to run it again. Nothing is lost or doubled by that.",
        int(ExitCode.IO),
    )
