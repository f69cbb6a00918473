"""What was seen and what became of it: the ledger of file versions and the tables around it. No Spark, no Airflow."""
