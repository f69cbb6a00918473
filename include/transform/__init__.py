"""Planning of transformations: which versions of which tables a micro-batch reads. delta-rs, no Spark, no Airflow."""
