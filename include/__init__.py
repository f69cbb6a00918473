"""Sluice's Python side: pipeline files, the ledger, the DAGs, the command line. Nothing here imports Spark."""
