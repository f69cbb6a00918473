"""The Spark application of tools/appcds.py: ingest jobs in one JVM. Arguments: the run id, the pipeline files."""

import sys

from spark_jobs.ingest import main

if __name__ == "__main__":
    run_id, *files = sys.argv[1:]
    codes = [main(["--pipeline", file, "--run-id", run_id]) for file in files]
    sys.exit(max(codes))
