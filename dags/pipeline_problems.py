"""No DAG: an Airflow import error that names every problem of the pipeline files, as long as there is one."""

from include.orchestration.catalog import refuse_broken_pipelines

refuse_broken_pipelines()
