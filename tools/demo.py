"""`make demo`: real files go through Airflow and Spark into Delta tables, and tables tell what happened.

Each stage prints one line with its seconds. What Airflow and Spark print goes to a log file a stage; its end is shown
where a stage fails, and the demo fails with it.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from rich.console import Console
from rich.markup import escape

from include.config.errors import SluiceError
from include.config.settings import PROJECT_ROOT, Settings, load_settings
from tools.airflow_env import airflow_environment
from tools.demo_check import check_tables
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
        return self.load(PIPELINES)

    def migrate(self) -> str:
        """Create Airflow's database, or bring it to the installed version."""
        self.command("db-migrate", "airflow", "db", "migrate")
        return f"ready in {self.environment['AIRFLOW_HOME']}"

    def load(self, pipelines: Sequence[str]) -> list[Loaded]:
        """Run the DAG of each pipeline once, in order, all in one Airflow process (tools/demo_dags.py)."""
        words = [sys.executable, "-m", "tools.demo_dags", str(self.logs), *pipelines]
        with subprocess.Popen(
            words, cwd=PROJECT_ROOT, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        ) as process:
            answers = process.stdout
            if answers is None:
                raise AssertionError
            try:
                self.stage("Airflow", lambda: self.answer(answers, "airflow").strip())
                return [self.dag(pipeline, answers) for pipeline in pipelines]
            finally:
                process.terminate()

    def dag(self, pipeline: str, answers: IO[str]) -> Loaded:
        """Wait for one pipeline's DAG."""
        before = totals(self.settings, pipeline)
        started = time.monotonic()

        def wait() -> str:
            state = json.loads(self.answer(answers, pipeline))["state"]
            if state != "success":
                raise self.failed(f"The DAG {pipeline}", state, pipeline)
            return (totals(self.settings, pipeline) - before).summary()

        self.stage(f"DAG {pipeline}", wait)
        total = totals(self.settings, pipeline)
        return Loaded(pipeline, total - before, total, time.monotonic() - started)

    def answer(self, answers: IO[str], log_name: str) -> str:
        """The next line that the process says.

        Raises:
            StageFailed: it has ended instead.
        """
        line = answers.readline()
        if not line:
            raise self.failed("Airflow", "no answer", log_name)
        return line

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
            raise self.failed(f"`{' '.join(words)}`", str(code), log_name)

    def failed(self, what: str, end: str, log_name: str) -> StageFailed:
        """The error of a stage, with the end of its log."""
        log = self.logs / f"{log_name}.log"
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]) if log.is_file() else ""
        return StageFailed(f"{what} ended with {end}.\n{tail}", remedy=f"The whole log is {log}.")


def main() -> int:
    """Run the demo and print its report; ends with the error's exit code."""
    console = Console()
    try:
        settings = load_settings()
        results = Demo(settings, airflow_environment(), console).run()
        print_report(console, settings, results, check_tables(settings))
    except SluiceError as error:
        print(error, file=sys.stderr)
        return int(error.exit_code)
    return 0


if __name__ == "__main__":
    sys.exit(main())
