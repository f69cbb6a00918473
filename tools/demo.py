"""`make demo`: real files go through Airflow and Spark into Delta tables, and a table tells what happened.

Each stage prints one line with its seconds. What Airflow and Spark print goes to a log file a stage; its end is shown
where a stage fails, and the demo fails with it.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from include.config.errors import SluiceError
from include.config.settings import Settings, load_settings
from tools.airflow_env import airflow_environment
from tools.demo_data import DIMENSIONS, land, landing_folder
from tools.demo_report import TRANSFORMATIONS, Loaded, print_report, totals

# The dimensions before what joins them; each table before those that are made of it.
PIPELINES = ("flights", *DIMENSIONS, *TRANSFORMATIONS)
LOG_TAIL_LINES = 25


class StageFailed(SluiceError):
    """Raised when a command of the demo ends with an error; the end of its log is part of the message."""


class Demo:
    """The demo's stages, in an Airflow environment of their own."""

    def __init__(self, settings: Settings, environment: Mapping[str, str], console: Console | None = None) -> None:
        self.settings = settings
        self.console = console or Console()
        self.environment = environment
        self.logs = Path(environment["AIRFLOW_HOME"], "logs", "demo")

    def run(self) -> list[Loaded]:
        """All stages in their order.

        Raises:
            SluiceError: a stage failed; those after it were not started.
        """
        landing = landing_folder(self.settings)
        self.stage("landing files", lambda: land(landing).summary())
        self.stage("Airflow's database", self.migrate)
        return [self.load(pipeline) for pipeline in PIPELINES]

    def migrate(self) -> str:
        """Create Airflow's database, or bring it to the installed version."""
        self.command("db-migrate", "airflow", "db", "migrate")
        return f"ready in {self.environment['AIRFLOW_HOME']}"

    def load(self, pipeline: str) -> Loaded:
        """Run the pipeline's DAG once, as `airflow dags test` does."""
        before = totals(self.settings, pipeline)
        started = time.monotonic()

        def run_dag() -> str:
            self.command(pipeline, "airflow", "dags", "test", pipeline)
            added = totals(self.settings, pipeline) - before
            return added.summary()

        self.stage(f"DAG {pipeline}", run_dag)
        total = totals(self.settings, pipeline)
        return Loaded(pipeline, total - before, total, time.monotonic() - started)

    def stage(self, name: str, work: Callable[[], str]) -> None:
        """Do `work` and print its line: seconds, name, and what `work` says of itself."""
        started = time.monotonic()
        with self.console.status(f"{name} ..."):
            said = work()
        self.console.print(
            f"[green]{time.monotonic() - started:6.1f} s[/]  {name:<20} {escape(said)}", highlight=False, soft_wrap=True
        )

    def command(self, log_name: str, *words: str) -> None:
        """Run a command with its output in a log file.

        Raises:
            StageFailed: it ended with another code than 0.
        """
        self.logs.mkdir(parents=True, exist_ok=True)
        log = self.logs / f"{log_name}.log"
        with log.open("wb") as output:
            code = subprocess.run(
                words, env=self.environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False
            ).returncode
        if code != 0:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])
            raise StageFailed(f"`{' '.join(words)}` ended with {code}.\n{tail}", remedy=f"The whole log is {log}.")


def main() -> int:
    """Run the demo and print its report; ends with the error's exit code."""
    console = Console()
    try:
        settings = load_settings()
        results = Demo(settings, airflow_environment(), console).run()
    except SluiceError as error:
        print(error, file=sys.stderr)
        return int(error.exit_code)
    print_report(console, settings, results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
