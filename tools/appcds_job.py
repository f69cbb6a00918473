"""The Spark application of tools/appcds.py: ingest jobs and then a transform job, in one JVM.

Arguments: the run id, the transform's pipeline file, those of the ingests.
"""

import sys

from include.config.reader import load_pipeline
from include.config.settings import load_settings
from include.submit.steps import discover_step
from spark_jobs import ingest, transform

if __name__ == "__main__":
    run_id, after, *files = sys.argv[1:]
    codes = [ingest.main(["--pipeline", file, "--run-id", run_id]) for file in files]
    discover_step(load_pipeline(after), load_settings(), run_id)
    codes.append(transform.main(["--pipeline", after, "--run-id", run_id]))
    sys.exit(max(codes))
