"""Sluice's Python side: what a pipeline file means, the ledger, the DAGs and the command line. Nothing here imports Spark."""
