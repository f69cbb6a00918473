"""COPY INTO: the grammar, the typed statement, the plan and the state of a target table. No Spark, no Airflow."""
