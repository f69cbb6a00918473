"""What surrounds the code: the installation, the demo, the Airflow environment. Nothing here runs in a pipeline."""
