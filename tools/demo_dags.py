"""Run DAGs one after the other in one Airflow process, each as `airflow dags test` does: a start costs seconds.

    python -m tools.demo_dags LOG_FOLDER DAG...

What a DAG prints goes to LOG_FOLDER/DAG.log. A line `ready` on stdout says that Airflow has started, then each DAG
gives one JSON object: `{"dag", "state", "seconds"}`. The first DAG that does not succeed ends the process with code 1.
"""

import json
import os
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

USAGE = 64


def main() -> int:
    """Run the DAGs of the command line; see the module."""
    if len(sys.argv) < 3:  # noqa: PLR2004
        print(__doc__, file=sys.stderr)
        return USAGE
    logs, names = Path(sys.argv[1]), sys.argv[2:]
    answers = os.fdopen(os.dup(1), "w")
    with output_to(logs / "airflow.log"):
        try:
            dags = load_dags(names)
        except Exception:  # noqa: BLE001  the parent shows the log's end, and this is a part of it
            traceback.print_exc()
            return 1
    print("ready", file=answers, flush=True)
    for name in names:
        started = time.monotonic()
        with output_to(logs / f"{name}.log"):
            state = run(dags[name])
        answer = {"dag": name, "state": state, "seconds": round(time.monotonic() - started, 1)}
        print(json.dumps(answer), file=answers, flush=True)
        if state != "success":
            return 1
    return 0


def load_dags(names: list[str]) -> dict[str, Any]:
    """The DAGs of the DAG folder, by name.

    Raises:
        LookupError: one of them is not there.
    """
    from airflow.dag_processing.bundles.manager import DagBundlesManager  # noqa: PLC0415  what it prints is logged
    from airflow.dag_processing.dagbag import BundleDagBag  # noqa: PLC0415
    from airflow.providers_manager import ProvidersManager  # noqa: PLC0415

    ProvidersManager().initialize_providers_configuration()  # type: ignore[no-untyped-call]
    manager = DagBundlesManager()  # type: ignore[no-untyped-call]
    manager.sync_bundles_to_db()
    found: dict[str, Any] = {}
    for bundle in manager.get_all_dag_bundles():
        bundle.initialize()
        found |= BundleDagBag(bundle.path, bundle_path=bundle.path, bundle_name=bundle.name).dags
    if missing := [name for name in names if name not in found]:
        raise LookupError(f"There is no DAG {', '.join(missing)}; there are {', '.join(found)}.")
    return found


def run(dag: Any) -> str:
    """The state in which one run of the DAG ended."""
    try:
        return str(dag.test().state)
    except Exception:  # noqa: BLE001  the parent shows the log's end, and this is a part of it
        traceback.print_exc()
        return "error"


@contextmanager
def output_to(log: Path) -> Iterator[None]:
    """Let this process and those it starts print into a file; the file has it all when this ends."""
    log.parent.mkdir(parents=True, exist_ok=True)
    kept = os.dup(1), os.dup(2)
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        for stream, descriptor in ((sys.stdout, kept[0]), (sys.stderr, kept[1])):
            stream.flush()
            os.dup2(descriptor, stream.fileno())
            os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main())
