"""One Airflow DAG per file in include/pipelines: add a YAML file there, nothing here."""

from include.orchestration.catalog import pipeline_dags

globals().update(pipeline_dags())
