"""The class archive (AppCDS): the JVM maps the classes that every job loads instead of reading and checking them again.

Made by running the real ingest job over tiny files of each format and the real transform job over their tables, with
the flags and the class path that `include.submit` gives to every job, and letting the JVM write down at its end what it
had loaded. It is also the first proof that Spark and Delta work on this machine, so a job that fails here fails the
setup.
"""

import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq

from include.config.errors import Defect, SluiceError
from include.config.exit_codes import ExitCode
from include.config.pipeline import Pipeline
from include.config.reader import load_pipeline
from include.config.settings import Settings, load_settings
from include.submit.java import find_java
from include.submit.job import SparkJob, plan_job
from include.submit.profile import SMALL, class_archive, delta_jars, java_options
from include.submit.steps import discover_step, submit_step

RUN_ID = "setup"
APPLICATION = Path(__file__).with_name("appcds_job.py")
MEBIBYTE = 2**20
# A cached join has Arrow's classes and those of Python workers, windows have MERGE's.
TRANSFORM = """
name: windows
transform:
  source: bronze.json
  steps:
    - select: [id, CAST(at AS TIMESTAMP) AS at, CAST(x AS DOUBLE) AS x]
    - join: {table: bronze.parquet, on: [id], how: left, columns: [label], cached: true}
    - window: {type: tumbling, time: at, size: 1 hour, keys: [label], measures: {rows: count(*), mean: avg(x)}}
  table: gold.windows
"""
# Format -> its options in a pipeline file, beyond the format itself.
FORMATS: Mapping[str, str] = {
    "json": "cloudFiles.inferColumnTypes: true",
    "csv": "header: true, cloudFiles.inferColumnTypes: true",
    "parquet": "pathGlobFilter: '*.parquet'",
    "text": "pathGlobFilter: '*.text'",
}


def write_file(file: Path) -> None:
    """A landing file of two rows in the format that its extension names."""
    file.parent.mkdir(parents=True)
    match file.suffix:
        case ".json":
            file.write_text('{"id":1,"at":"2013-01-01T10:00:00Z","x":1.5}\n{"id":2,"at":null,"x":2}\n')
        case ".csv":
            file.write_text("id,at,x\n1,2013-01-01T10:00:00Z,1.5\n2,NA,2\n")
        case ".parquet":
            pq.write_table(pa.table({"id": [1, 2], "x": [1.5, 2.0], "label": ["a", "b"]}), file)
        case _:
            file.write_text("one\ntwo\n")


def write_pipelines(home: Path) -> Iterator[Pipeline]:
    """One pipeline a format, each with one landing file, under `home`."""
    for name, options in FORMATS.items():
        write_file(home / "landing" / name / f"part.{name}")
        file = home / f"{name}.yaml"
        file.write_text(
            f"name: {name}\ndescription: Warms the class archive up.\n"
            f"ingest: {{source: {name}, table: bronze.{name}, options: {{cloudFiles.format: {name}, {options}}}}}\n"
        )
        yield load_pipeline(file)


def recording_job(settings: Settings, archive: Path) -> SparkJob:
    """The job that loads every format and transforms in one JVM, which writes `archive` when it ends."""
    pipelines = list(write_pipelines(settings.home))
    transform = settings.home / "windows.yaml"
    transform.write_text(TRANSFORM)
    for pipeline in pipelines:
        discover_step(pipeline, settings, RUN_ID)
    job = plan_job(pipelines[0], settings, RUN_ID, planned_bytes=0)
    # The JVM warns of each of the thousands of classes (generated, signed) that no archive can hold.
    flags = f"{java_options(SMALL, archive)} -XX:ArchiveClassesAtExit={archive} -Xlog:disable -Xlog:all=error:stderr"
    return replace(
        job,
        application=APPLICATION,
        arguments=(RUN_ID, str(transform), *(str(pipeline.file) for pipeline in pipelines)),
        conf={**job.conf, "spark.driver.extraJavaOptions": flags},
    )


def build(archive: Path) -> bool:
    """Make `archive`, in one step; False where this Java cannot write one.

    Raises:
        SluiceError: the jobs do not run on this machine.
    """
    archive.parent.mkdir(parents=True, exist_ok=True)
    partial = archive.with_suffix(".part")
    partial.unlink(missing_ok=True)  # the JVM writes over no file
    with TemporaryDirectory(prefix="sluice-appcds-") as home:
        # Not the user's settings: what they add (a cluster, more jars) belongs to their jobs only.
        settings = load_settings({"SLUICE_HOME": home}, file=Path(home, "settings.yaml"))
        code = submit_step(recording_job(settings, partial), settings)
    if code is not ExitCode.OK:
        raise Defect(f"The first Spark job on this machine ended with {int(code)}.", remedy="Its output stands above.")
    if not partial.is_file():
        return False
    for older in archive.parent.glob("sluice-*.jsa"):
        older.unlink()
    partial.replace(archive)
    return True


def main() -> int:
    """Make the archive unless it is there; ends with the error's exit code."""
    started = time.monotonic()
    try:
        archive = class_archive(find_java(), delta_jars())
        if archive.is_file():
            print(f".cache/: {archive.name} fits this Java and these jars")
        elif build(archive):
            size = archive.stat().st_size / MEBIBYTE
            print(f".cache/: {archive.name}, {size:.0f} MiB, in {time.monotonic() - started:.0f} s")
        else:
            print(".cache/: this Java writes no class archive; jobs work, each starts some seconds slower")
    except SluiceError as error:
        print(error, file=sys.stderr)
        return int(error.exit_code)
    return 0


if __name__ == "__main__":
    sys.exit(main())
