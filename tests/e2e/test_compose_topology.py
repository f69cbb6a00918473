"""The processes of docker-compose.yaml, run natively, load a table: PostgreSQL, Airflow's daemons, a Spark cluster."""

import json
import shutil
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from include.cache.store import all_stores
from tests.e2e.topology import Topology, server_binary

ROWS = 40
RUN_SECONDS = 240
ENDED = {"success", "failed"}

pytestmark = pytest.mark.skipif(
    server_binary("initdb") is None, reason="needs the PostgreSQL server: apt-get install postgresql (.ci/run does)"
)


@pytest.fixture
def topology() -> Iterator[Topology]:
    # Not pytest's tmp_path: PostgreSQL's own user must be able to reach the folder.
    root = Path(tempfile.mkdtemp(prefix="sluice-topology-"))
    root.chmod(0o711)
    started = Topology(root)
    try:
        yield started
    finally:
        started.close()
        assert started.survivors() == []
        shutil.rmtree(root)


def call(topology: Topology, method: str, path: str, body: object = None, token: str = "") -> Any:
    """Airflow's REST API, as a client of it would use it."""
    request = urllib.request.Request(
        f"{topology.airflow_url}{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "Authorization": f"Bearer {token}"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def log_in(topology: Topology) -> str:
    """A token for the admin whose password stands in .env."""
    credentials = {"username": "admin", "password": topology.secrets["AIRFLOW_ADMIN_PASSWORD"]}
    return str(call(topology, "POST", "/auth/token", credentials)["access_token"])


def start_everything(topology: Topology) -> None:
    """In the order that `depends_on` says."""
    topology.start_postgres()
    topology.run_to_end("airflow-init")
    for service in ("api-server", "spark-master"):
        topology.start(service)
    for service in ("api-server", "spark-master"):
        topology.wait_healthy(service, 120)
    for service in ("scheduler", "dag-processor", "spark-worker"):
        topology.start(service)
    for service in ("scheduler", "dag-processor", "spark-worker"):
        topology.wait_healthy(service, 120)


def unpause(topology: Topology, dag_id: str, token: str) -> str:
    """Wait for a DAG, let it run, and return its address."""
    known = f"/api/v2/dags/{dag_id}"
    topology.wait("dag-processor", lambda: is_known(topology, known, token), 120)
    call(topology, "PATCH", known, {"is_paused": False}, token)
    return known


def run_by_asset(topology: Topology, dag: str, token: str) -> dict[str, Any]:
    """The DAG's one run, that nobody asked for but the scheduler, at its end."""

    def runs() -> list[dict[str, Any]]:
        return list(call(topology, "GET", f"{dag}/dagRuns", token=token)["dag_runs"])

    topology.wait("scheduler", lambda: runs() and runs()[0]["state"] in ENDED, RUN_SECONDS)
    return runs()[0]


def run_dag(topology: Topology, dag_id: str, token: str) -> dict[str, Any]:
    """Trigger the DAG without a logical date, as a user does in the web interface, and wait for its end."""
    known = unpause(topology, dag_id, token)
    run = call(topology, "POST", f"{known}/dagRuns", {"logical_date": None}, token)
    deadline = time.monotonic() + RUN_SECONDS
    while run["state"] not in ENDED and time.monotonic() < deadline:
        time.sleep(2)
        run = call(topology, "GET", f"{known}/dagRuns/{run['dag_run_id']}", token=token)
    return dict(run)


def is_known(topology: Topology, dag: str, token: str) -> bool:
    try:
        call(topology, "GET", dag, token=token)
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
        return False
    return True


@pytest.mark.timeout(600)
def test_a_dag_run_by_rest_loads_the_table_on_the_spark_cluster_and_starts_the_cache_refresh(
    topology: Topology,
) -> None:
    landing = topology.home / "landing" / "flights"
    landing.mkdir(parents=True)
    for part in range(2):
        rows = [{"flight": part * ROWS + n, "carrier": "UA", "time_hour": "2013-01-01T10:00:00Z"} for n in range(ROWS)]
        (landing / f"{part}.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    topology.add_pipeline("cached", {"cache": {"table": "bronze.flights", "keys": ["flight"], "columns": ["carrier"]}})
    start_everything(topology)
    token = log_in(topology)
    cached = unpause(topology, "cached", token)

    run = run_dag(topology, "flights", token)

    assert run["state"] == "success", topology.log_tail("scheduler")
    table = DeltaTable(str(topology.home / "warehouse" / "bronze" / "flights"))
    assert sorted(table.to_pyarrow_table(columns=["flight"])["flight"].to_pylist()) == list(range(2 * ROWS))
    with urllib.request.urlopen(f"{topology.spark_master_ui}/json/", timeout=30) as answer:
        cluster = json.load(answer)
    assert [app["name"] for app in cluster["completedapps"]] == ["sluice flights"]

    refresh = run_by_asset(topology, cached, token)
    assert (refresh["state"], refresh["run_type"]) == ("success", "asset_triggered"), topology.log_tail("scheduler")
    published = f"{cached}/dagRuns/{refresh['dag_run_id']}/taskInstances/publish/xcomEntries/return_value"
    result = call(topology, "GET", published, token=token)["value"]
    result = json.loads(result) if isinstance(result, str) else result
    assert (result["status"], result["cache"][0]["table_reads"]) == ("loaded", 1)
    assert [store.newest() for store in all_stores(topology.home)] == [0]
