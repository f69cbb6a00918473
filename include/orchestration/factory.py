"""One DAG per pipeline file: discover -> load -> publish.

Built at each parse by the DAG processor, so nothing here reads data or imports Spark, Delta or Arrow. No template uses
the logical date: runs started by assets or by REST have none.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, Asset, AssetOrTimeSchedule, DeltaTriggerTimetable, TriggerRule

from include.config.pipeline import Pipeline
from include.config.settings import Settings
from include.orchestration.assets import table_asset
from include.orchestration.documentation import pipeline_page
from include.orchestration.operator import GuardedSparkSubmitOperator
from include.orchestration.retry import FIRST_DELAY, LONGEST_DELAY, RETRIES, RetryByExitCode
from include.orchestration.tasks import DiscoverOperator, PublishOperator

# Before any run; with catchup off it makes none by itself, and a backfill may begin anywhere after it.
START = datetime(2020, 1, 1, tzinfo=UTC)
TAG = "sluice"
# The pool that is always there: a task in a pool that nobody created waits for ever without a word.
POOL = "default_pool"
# A DAG run costs the scheduler some seconds.
SHORTEST_INTERVAL = timedelta(minutes=1)
DISCOVER_TIMEOUT = timedelta(hours=1)
LOAD_TIMEOUT = timedelta(hours=12)
PUBLISH_TIMEOUT = timedelta(minutes=15)


def build_dag(pipeline: Pipeline, settings: Settings) -> DAG:
    """The DAG of a pipeline; its id is the pipeline's name.

    One run at a time: runs that are triggered meanwhile wait their turn, and the table's lock holds against other ways
    of starting one.

    Raises:
        NotAvailableYet: the pipeline's section is not executed yet.
    """
    with DAG(
        dag_id=pipeline.name,
        description=" ".join(pipeline.description.split()) or None,
        doc_md=pipeline_page(pipeline, settings),
        schedule=schedule_of(pipeline, settings),
        start_date=START,
        catchup=False,
        max_active_runs=1,
        tags={TAG, *pipeline.tags},
        default_args=_task_defaults(pipeline),
    ) as dag:
        file = str(pipeline.file.absolute())
        discover = DiscoverOperator(
            task_id="discover",
            doc_md="Plans what is new, without Spark. Without anything new, the load is skipped.",
            pipeline_file=file,
            load_task_id="load",
            execution_timeout=DISCOVER_TIMEOUT,
        )
        load = GuardedSparkSubmitOperator(
            task_id="load",
            doc_md="Does the planned batches by one spark-submit, under the table's lock.",
            pipeline_file=file,
            discover_task_id="discover",
            execution_timeout=LOAD_TIMEOUT,
        )
        publish = PublishOperator(
            task_id="publish",
            doc_md="Publishes what was committed, and fails where the run failed.",
            pipeline_file=file,
            discover_task_id="discover",
            load_task_id="load",
            trigger_rule=TriggerRule.ALL_DONE,
            outlets=[table_asset(table, settings) for table in pipeline.targets],
            execution_timeout=PUBLISH_TIMEOUT,
        )
        discover >> load >> publish
    return dag


def schedule_of(pipeline: Pipeline, settings: Settings) -> str | list[Asset] | AssetOrTimeSchedule | None:
    """Airflow's form of the schedule: cron or preset, the assets of all tables waited for, or None.

    A `cache` section with `refresh` is also looked at every `min`: a change that came too early for a refresh, or in a
    table that no pipeline here writes, is taken when it is due. Such a look reads the table's log and no more.
    """
    if pipeline.table_schedule is None:
        return pipeline.schedule if isinstance(pipeline.schedule, str) else None
    assets = [table_asset(table, settings) for table in pipeline.table_schedule.tables]
    refresh = None if pipeline.cache is None else pipeline.cache.refresh
    if refresh is None:
        return assets
    every = max(SHORTEST_INTERVAL, timedelta(seconds=refresh.least))
    return AssetOrTimeSchedule(timetable=DeltaTriggerTimetable(every), assets=assets)


def _task_defaults(pipeline: Pipeline) -> dict[str, Any]:
    """`retries` and the delays hold for tries that left no exception (a killed worker); the policy decides the rest."""
    return {
        "owner": pipeline.owner,
        "pool": POOL,
        "retries": RETRIES,
        "retry_policy": RetryByExitCode(),
        "retry_delay": FIRST_DELAY,
        "retry_exponential_backoff": 2.0,  # the factor; True would be 1.0, no growth at all
        "max_retry_delay": LONGEST_DELAY,
        "depends_on_past": False,
    }
