"""The guarded spark-submit and the three steps of a run. No Spark, no Airflow imports."""
