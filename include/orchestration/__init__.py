"""Pipelines as Airflow DAGs: the only part of Sluice that imports Airflow. Knows no Spark."""
