"""The load task: a guarded spark-submit planned when it runs. Runs on a worker; one JVM per table at any time.

What the Spark provider's operator gives (the connection, masking, OpenLineage, log streaming) is kept. Changed are:
the command is guarded (include/submit/command.py), secrets stay off the command line, the exit code decides about
retries, the job's own report comes first in the error, and a missing connection is an error.
"""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow.providers.apache.spark.hooks.spark_submit import SparkSubmitHook
from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowException

from include.config.errors import Defect, SluiceError
from include.config.exit_codes import ExitCode, from_process
from include.config.reader import load_pipeline
from include.config.settings import load_settings
from include.orchestration.connection import CONNECTION_ID, spark_master
from include.orchestration.retry import fail_task
from include.submit.command import guard, submit_binary
from include.submit.failures import clear_failure, failure_of, failure_report
from include.submit.job import SparkJob, plan_job
from include.submit.process import end_process
from include.submit.restart import until_done
from include.submit.secrets import secrets_file

# Airflow sends SIGKILL five seconds after SIGTERM.
KILL_SECONDS = 3.0


class GuardedSparkSubmitHook(SparkSubmitHook):
    """Submits one planned job under the guard. `secrets` is the descriptor of its properties file, if it has one."""

    def __init__(self, job: SparkJob, conf: Mapping[str, str], conn_id: str, secrets: int | None) -> None:
        super().__init__(conf=dict(conf), conn_id=conn_id, application_args=list(job.arguments), name=job.name)
        self._job = job
        self._secrets = secrets

    def _get_spark_binary_path(self) -> list[str]:
        return [*guard(self._job.lock_file, *self._job.more_locks), *submit_binary(self._secrets)]

    def submit(self, application: str = "", **kwargs: Any) -> str | None:
        """Run the job to its end; its environment and properties file go to its process only.

        Raises:
            AirflowException: it ended with another code than 0, found in `returncode`.
        """
        environment = {**os.environ, **self._job.environment}
        descriptors = () if self._secrets is None else (self._secrets,)
        submitted: str | None = super().submit(application, env=environment, pass_fds=descriptors, **kwargs)
        return submitted

    @property
    def returncode(self) -> int | None:
        """What the job's process returned, None while it was not started or runs."""
        return None if self._submit_sp is None else self._submit_sp.poll()

    @property
    def log_tail(self) -> str:
        """The last lines that the job printed, masked."""
        return str(self._submit_log_tail)

    def on_kill(self) -> None:
        """End the JVM, which is the process itself; the Python driver follows it."""
        if self._submit_sp is not None:
            end_process(self._submit_sp, KILL_SECONDS)


class GuardedSparkSubmitOperator(SparkSubmitOperator):
    """Loads the pending batches of the pipeline in `pipeline_file`. Returns what it started, and how long that took.

    :param pipeline_file: the pipeline's YAML file.
    :param discover_task_id: the task whose XCom holds the discovery, with the bytes to load.
    :param conn_id: the Spark connection; client mode only.
    """

    def __init__(
        self, *, pipeline_file: str, discover_task_id: str, conn_id: str = CONNECTION_ID, **kwargs: Any
    ) -> None:
        # Never durable: in client mode there is nothing to reconnect to, the JVM dies with the task.
        super().__init__(conn_id=conn_id, durable=False, **kwargs)
        self.pipeline_file = pipeline_file
        self.discover_task_id = discover_task_id
        self._guarded: GuardedSparkSubmitHook | None = None
        self._job: SparkJob | None = None
        self._secrets: int | None = None

    def execute(self, context: Context) -> dict[str, Any]:  # type: ignore[override]
        """Plan, submit, and turn the exit code into Airflow's terms.

        Raises:
            TransientFailure, AirflowFailException: see `include.orchestration.retry.fail_task`.
        """
        started = time.monotonic()
        try:
            return {**self._load(context), "seconds": round(time.monotonic() - started, 3)}
        except SluiceError as error:
            fail_task(context, failure_of(error))

    def _load(self, context: Context) -> dict[str, Any]:
        settings, pipeline = load_settings(), load_pipeline(Path(self.pipeline_file))
        discovery = context["ti"].xcom_pull(task_ids=self.discover_task_id)
        planned_bytes = int(discovery["pending_bytes"])
        master = spark_master(self._conn_id)
        job = plan_job(pipeline, settings, context["run_id"], planned_bytes, master=master)
        clear_failure(settings, job.pipeline, job.run_id)
        code = from_process(until_done(lambda: self._attempt(job, context)))
        if code is not ExitCode.OK:
            tail = "" if self._guarded is None else self._guarded.log_tail
            fail_task(context, failure_report(pipeline, settings, job.run_id, code), tail)
        return {"master": master, "profile": job.profile, "planned_bytes": planned_bytes}

    def _attempt(self, job: SparkJob, context: Context) -> int:
        """One spark-submit, by the provider's own execute; the exit code of its process."""
        with secrets_file(job.secrets) as self._secrets:
            self._job, self._hook, self._guarded = job, None, None
            self.application, self.conf = str(job.application), dict(job.conf)
            try:
                super().execute(context)
            except AirflowException:
                returncode = self._returncode()
                if not returncode:
                    raise  # refused before anything was started
                return returncode
        return 0

    def _returncode(self) -> int | None:
        return None if self._guarded is None else self._guarded.returncode

    def _get_hook(self) -> GuardedSparkSubmitHook:
        """Called by the provider's execute, after it added to `conf` what OpenLineage wants."""
        if self._job is None:
            raise Defect("The hook of a load was asked for before its job was planned.")
        self._guarded = GuardedSparkSubmitHook(self._job, self.conf or {}, self._conn_id, self._secrets)
        return self._guarded

    def on_kill(self) -> None:
        """End the job, if one runs."""
        if self._guarded is not None:
            self._guarded.on_kill()
