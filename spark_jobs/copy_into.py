"""Entry of the COPY INTO job: load every pending statement of the tables that a pipeline's statements write.

Started by a guarded spark-submit (include/submit). With `--validate FILE` it writes nothing but that file: what the
statement would load.
"""

import argparse
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from include.config.reader import load_pipeline
from include.config.settings import Settings, load_settings
from include.copy_into.results import rejection_of
from include.copy_into.state import STATE, TableState
from include.copy_into.statement import CopyInto, read_statement
from include.probe.workers import ProbePool
from spark_jobs.engine.entry import reported, start_logging
from spark_jobs.engine.session import build_session


def main(arguments: list[str] | None = None) -> int:
    """Run the job and return its exit code (include.config.exit_codes)."""
    parser = argparse.ArgumentParser(description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--pipeline", help="name or path of a pipeline file")
    what.add_argument("--statement", type=Path, help="a JSON file with one statement's sql and parameters")
    parser.add_argument("--run-id", required=True)
    parser.add_argument("--validate", type=Path, help="write what the first statement would load to this file")
    args = parser.parse_args(arguments)
    start_logging()
    settings = load_settings()
    name, statements = _statements(args.pipeline, args.statement)
    return reported(settings, name, args.run_id, lambda: _work(name, statements, settings, args.run_id, args.validate))


def _statements(pipeline: str | None, file: Path | None) -> tuple[str, tuple[CopyInto, ...]]:
    """The statements, and the name under which a failure is reported."""
    if file is not None:
        document = json.loads(file.read_text())
        return STATE, (read_statement(document["sql"], document["parameters"]),)
    found = load_pipeline(pipeline or "")
    return found.name, found.statements()


def _work(name: str, statements: tuple[CopyInto, ...], settings: Settings, run_id: str, validate: Path | None) -> None:
    pool = ProbePool()
    try:
        with ThreadPoolExecutor(1) as background:
            imported = background.submit(_import_engine)
            spark = build_session(f"sluice {name}")
            imported.result()
        from spark_jobs.engine.copy.loader import TableLoader  # noqa: PLC0415  imported beside the JVM's start, above
        from spark_jobs.engine.copy.validate import validate_statement  # noqa: PLC0415

        if validate is not None:
            validate.write_text(json.dumps(validate_statement(spark, settings, pool, statements[0]), default=str))
        else:
            tables = dict.fromkeys(statement.table for statement in statements)
            before = {table: TableState(settings, table).accounted() for table in tables}
            for table in tables:
                TableLoader(spark, settings, pool, table, run_id).run()
            rejection_of(settings, statements, run_id, before)
        spark.stop()
    finally:
        pool.close()


def _import_engine() -> None:
    import spark_jobs.engine.copy.loader  # noqa: PLC0415
    import spark_jobs.engine.copy.validate  # noqa: F401, PLC0415


if __name__ == "__main__":
    sys.exit(main())
