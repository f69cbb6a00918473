"""Snapshots of dimension tables for joins by key: one folder per table version, on this host. No Spark, no Airflow."""
