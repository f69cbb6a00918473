"""docker-compose.yaml's processes without a container engine: the file's own commands, environments and health checks.

Only what a container gives is replaced: host names and ports by loopback and free ports, the image's folders by
temporary ones. So the compose file cannot say one thing and the tested processes do another.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from include.config.settings import PROJECT_ROOT
from tools.compose_env import complete

HOSTS_AND_PORTS = ("postgres:5432", "api-server:8080", "spark-master:7077", "spark-master:8081", "spark-worker:8082")
MARKER = "SLUICE_TOPOLOGY"
STOP_SECONDS = 15
POLL_SECONDS = 1.0
LOCAL_BUNDLE = "airflow.dag_processing.bundles.local.LocalDagBundle"
LOG_TAIL_LINES = 60


class TopologyError(AssertionError):
    """Raised when a process of the topology ends, or does not get healthy in time; shows the end of its log."""


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def server_binary(name: str) -> str | None:
    """A program of the PostgreSQL server, which Debian keeps off the PATH; None when there is none."""
    candidates = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(candidates[-1]) if candidates else shutil.which(name)


class Topology:
    """The processes of one test, in folders below `root`, all ended by `close`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home = root / "data"
        self.pipelines, self.more_dags = root / "pipelines", root / "more-dags"
        complete(root / ".env")
        self.secrets = dict(line.split("=", 1) for line in (root / ".env").read_text().splitlines())
        self.ports = {address: free_port() for address in HOSTS_AND_PORTS}
        self.services: Mapping[str, Any] = yaml.safe_load((PROJECT_ROOT / "docker-compose.yaml").read_text())[
            "services"
        ]
        self.marker = uuid.uuid4().hex
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    # --- what the compose file says, for this machine ---

    def native(self, text: str) -> str:
        """A value of the compose file with its variables, hosts, ports and folders replaced."""
        text = re.sub(r"\$\{(\w+)(?::-([^}]*)|:\?[^}]*)?\}", self._variable, text)
        for address, port in self.ports.items():
            text = text.replace(address, f"127.0.0.1:{port}").replace(
                f"127.0.0.1:{address.split(':')[1]}/", f"127.0.0.1:{port}/"
            )
        return text.replace("/opt/sluice", str(PROJECT_ROOT)).replace("/tmp/spark-work", str(self.root / "spark-work"))

    def _variable(self, match: re.Match[str]) -> str:
        return self.secrets[match[1]] if match[1] in self.secrets else match[2]

    def words(self, words: Sequence[str]) -> list[str]:
        """A command of the compose file: also words that are but a host or a port are replaced."""
        alone = {address.split(":")[1]: str(port) for address, port in self.ports.items()}
        return [alone.get(word, "127.0.0.1" if word == "spark-master" else self.native(word)) for word in words]

    def environment(self, service: str) -> dict[str, str]:
        """The service's environment, over what the image (Dockerfile) and its network would give."""
        given = {name: os.environ[name] for name in ("JAVA_HOME", "TMPDIR") if name in os.environ}
        return {
            **given,
            MARKER: self.marker,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(self.root),
            "LC_ALL": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            "AIRFLOW_HOME": str(self.root / "airflow"),
            "SLUICE_HOME": str(self.home),
            "SPARK_CONF_DIR": str(self.root / "spark-conf" / service),
            "SPARK_LOCAL_IP": "127.0.0.1",
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(self.ports["api-server:8080"]),
            "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(self.bundles),
            **{name: self.native(str(value)) for name, value in self.services[service]["environment"].items()},
        }

    def add_pipeline(self, name: str, document: Mapping[str, Any]) -> None:
        """A pipeline file beside the project's own, with a folder of DAGs of its own. Call it before the start."""
        for folder in (self.pipelines, self.more_dags):
            folder.mkdir(exist_ok=True)
        (self.pipelines / f"{name}.yaml").write_text(yaml.safe_dump({"name": name, **document}))
        (self.more_dags / "more.py").write_text(
            "# Airflow DAGs: files without these words are passed over.\n"
            "from pathlib import Path\nfrom include.orchestration.catalog import pipeline_dags\n"
            f"globals().update(pipeline_dags(Path({str(self.pipelines)!r})))\n"
        )

    @property
    def bundles(self) -> list[Mapping[str, Any]]:
        """Where Airflow looks for DAGs: in the compose file's folder, and where `add_pipeline` put some."""
        found: list[Mapping[str, Any]] = [{"name": "dags-folder", "classpath": LOCAL_BUNDLE, "kwargs": {}}]
        if self.more_dags.is_dir():
            found.append({"name": "more", "classpath": LOCAL_BUNDLE, "kwargs": {"path": str(self.more_dags)}})
        return found

    @property
    def airflow_url(self) -> str:
        """Where the API server answers."""
        return f"http://127.0.0.1:{self.ports['api-server:8080']}"

    @property
    def spark_master_ui(self) -> str:
        """Where the Spark master tells its state."""
        return f"http://127.0.0.1:{self.ports['spark-master:8081']}"

    # --- processes ---

    def start_postgres(self) -> None:
        """A server of Debian's PostgreSQL, initialised as the official image does it: one superuser with a password."""
        initdb, server = server_binary("initdb"), server_binary("postgres")
        if initdb is None or server is None:
            raise TopologyError("no initdb and postgres on this machine")
        folder = self.root / "postgres"
        folder.mkdir()
        (folder / "password").write_text(self.secrets["POSTGRES_PASSWORD"])
        as_user = unprivileged(folder)
        data = str(folder / "data")
        login = ["--username=airflow", "--auth=scram-sha-256", f"--pwfile={folder / 'password'}"]
        self.run("initdb", [*as_user, initdb, "-D", data, *login], dict(os.environ))
        port = str(self.ports["postgres:5432"])
        listen = ["-c", "listen_addresses=127.0.0.1", "-p", port, "-k", str(folder), "-c", "fsync=off"]
        self.spawn("postgres", [*as_user, server, "-D", data, *listen], dict(os.environ))
        client = {**os.environ, "PGPASSWORD": self.secrets["POSTGRES_PASSWORD"]}
        address = ["-h", "127.0.0.1", "-p", port, "-U", "airflow"]
        self.wait(
            "postgres",
            lambda: subprocess.run(["pg_isready", *address], check=False, capture_output=True).returncode == 0,
            60,
        )
        self.run("createdb", ["createdb", *address, "airflow"], client)

    def run_to_end(self, service: str) -> None:
        """A service that does one thing and ends, such as airflow-init."""
        command = ["sh", "docker/entrypoint.sh", *self.words(self.services[service]["command"])]
        self.run(service, command, self.environment(service))

    def start(self, service: str) -> None:
        """Start a service, as the image's entry point would."""
        command = ["sh", "docker/entrypoint.sh", *self.words(self.services[service]["command"])]
        self.spawn(service, command, self.environment(service))

    def wait_healthy(self, service: str, seconds: float) -> None:
        """Wait until the service's own health check passes."""
        check = self.words(self.services[service]["healthcheck"]["test"][1:])
        environment = self.environment(service)

        def healthy() -> bool:
            return (
                subprocess.run(check, cwd=PROJECT_ROOT, env=environment, check=False, capture_output=True).returncode
                == 0
            )

        self.wait(service, healthy, seconds)

    def run(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Run a command to its end.

        Raises:
            TopologyError: it failed.
        """
        self.spawn(name, command, environment)
        if self.processes.pop(name).wait(timeout=180) != 0:
            raise TopologyError(f"{name} failed\n{self.log_tail(name)}")

    def spawn(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start a process in a session of its own, with its output in a log file."""
        with self.log(name).open("wb") as output:
            self.processes[name] = subprocess.Popen(
                command,
                cwd=PROJECT_ROOT,
                env={**environment, MARKER: self.marker},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def wait(self, name: str, ready: Any, seconds: float) -> None:
        """Poll `ready` until it is true.

        Raises:
            TopologyError: the process ended, or `seconds` passed.
        """
        deadline = time.monotonic() + seconds
        while not ready():
            code = self.processes[name].poll()
            if code is not None or time.monotonic() > deadline:
                what = f"ended with {code}" if code is not None else f"is not ready after {seconds:.0f} s"
                raise TopologyError(f"{name} {what}\n{self.log_tail(name)}")
            time.sleep(POLL_SECONDS)

    def log(self, name: str) -> Path:
        """The output of a process."""
        return self.root / f"{name}.log"

    def log_tail(self, name: str) -> str:
        """The end of that output."""
        return "\n".join(self.log(name).read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])

    # --- the end ---

    def close(self) -> None:
        """Ask every process to end, last started first, then kill what is left of this topology, and only of it."""
        for process in reversed(self.processes.values()):
            if process.poll() is None:
                process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        while self.survivors() and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        for pid in self.survivors():
            os.kill(pid, signal.SIGKILL)
        for process in self.processes.values():
            process.wait(timeout=STOP_SECONDS)

    def survivors(self) -> list[int]:
        """The processes that carry this topology's marker in their environment, whoever is their parent by now."""
        return [pid for pid, environment in process_environments() if f"{MARKER}={self.marker}".encode() in environment]


def process_environments() -> Iterator[tuple[int, bytes]]:
    """Every other process that this user may look at, with the environment it was started with; no zombies."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                yield int(entry.name), (entry / "environ").read_bytes()
            except OSError:  # it ended meanwhile, or is another user's
                continue


def unprivileged(folder: Path) -> list[str]:
    """The words before a command that PostgreSQL refuses to run as root; `folder` is given to that user."""
    if os.geteuid() != 0:
        return []
    shutil.chown(folder, "postgres", "postgres")
    for file in folder.iterdir():
        shutil.chown(file, "postgres", "postgres")
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]
