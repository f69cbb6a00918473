"""The Airflow environment: the one place that says how Airflow runs from this folder.

`python -m tools.airflow_env airflow dags test flights` runs a command in it; make, the tests and `make ui` all go
through here. What the caller's own environment sets wins, so another connection or executor needs no change here.
"""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from include.config.exit_codes import ExitCode
from include.config.settings import PROJECT_ROOT

SPARK_CONNECTION = {"conn_type": "spark", "host": "local[*]"}


def airflow_environment(
    environ: Mapping[str, str] | None = None, root: Path = PROJECT_ROOT, airflow_home: Path | None = None
) -> dict[str, str]:
    """`environ` (default: this process's) with everything that Airflow needs to run the DAGs of `root`.

    `airflow_home` is where the SQLite database, the logs and the generated admin password go (default: `root`/airflow).
    """
    given = dict(os.environ if environ is None else environ)
    tools = Path(sys.executable).parent
    return {
        "AIRFLOW_HOME": str(airflow_home or root / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(root / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        # Two cores run a few Spark drivers, not Airflow's default of 32 tasks; and a scheduler that shares them with a
        # driver answers a task's call later than the default 5 s.
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "30",
        # Airflow's own default is every network interface.
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW_CONN_SPARK_DEFAULT": json.dumps(SPARK_CONNECTION),
        **given,
        # spark-submit, sluice and airflow of this environment, whatever else the user has installed.
        "PATH": os.pathsep.join((str(tools), given.get("PATH", os.defpath))),
    }


def main() -> NoReturn:
    """Replace this process by the given command, run in the Airflow environment; 64 without a command."""
    if len(sys.argv) == 1:
        print("usage: python -m tools.airflow_env COMMAND [ARGUMENT...]", file=sys.stderr)
        sys.exit(ExitCode.USAGE)
    environment = airflow_environment()
    os.execvpe(sys.argv[1], sys.argv[1:], environment)


if __name__ == "__main__":
    main()
