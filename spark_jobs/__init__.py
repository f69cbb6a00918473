"""The Spark side of Sluice: entry scripts of the jobs. Nothing here imports Airflow."""
