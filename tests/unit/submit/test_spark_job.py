import importlib.util
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from include.config.errors import ConfigError
from include.config.pipeline import Pipeline
from include.config.reader import load_pipeline
from include.config.settings import PROJECT_ROOT, Settings, load_settings
from include.submit.command import guarded_command
from include.submit.java import Java
from include.submit.job import CACHED_DAEMON, DRIVER_PYTHON, WORKER_DAEMON, SparkJob, plan_job, spark_home
from include.submit.process import run_process
from include.submit.profile import BULK_BYTES, JarsMissing, choose_profile, class_archive, delta_jars, java_options
from include.submit.secrets import properties_path, secrets_file, split_secrets

SECRET = "s3cr=t: \\ value"


def _plan(pipeline: Pipeline, settings: Settings, planned_bytes: int = 0, master: str = "local[2]") -> SparkJob:
    return plan_job(pipeline, settings, "manual__2026-01-01T00:00:00+00:00", planned_bytes, master=master)


def test_every_word_of_the_command_is_text(pipeline: Pipeline, settings: Settings) -> None:
    assert all(type(word) is str for word in guarded_command(_plan(pipeline, settings)))


def test_every_path_of_the_command_exists(pipeline: Pipeline, settings: Settings) -> None:
    job = _plan(pipeline, settings)
    jars = job.conf["spark.driver.extraClassPath"].split(os.pathsep)
    paths = [job.application, Path(job.arguments[1]), Path(job.environment["PYSPARK_DRIVER_PYTHON"]), *map(Path, jars)]
    assert [path for path in paths if not path.is_file()] == []


def test_a_job_resolves_nothing_from_the_network(pipeline: Pipeline, settings: Settings) -> None:
    command = guarded_command(_plan(pipeline, settings))
    resolving = ("--packages", "--jars", "--repositories", "spark.jars")
    assert not [word for word in command if word.startswith(resolving)]


def test_small_and_bulk_plans_get_other_compilers(pipeline: Pipeline, settings: Settings) -> None:
    small = _plan(pipeline, settings, BULK_BYTES - 1).conf["spark.driver.extraJavaOptions"]
    bulk = _plan(pipeline, settings, BULK_BYTES).conf["spark.driver.extraJavaOptions"]
    assert "TieredStopAtLevel=1" in small
    assert "TieredStopAtLevel" not in bulk


def test_the_users_spark_conf_wins(pipeline: Pipeline, settings: Settings) -> None:
    changed = replace(settings, spark_conf={"spark.sql.shuffle.partitions": "7"})
    assert _plan(pipeline, changed).conf["spark.sql.shuffle.partitions"] == "7"


def test_a_local_spark_listens_on_loopback_only(pipeline: Pipeline, settings: Settings) -> None:
    assert _plan(pipeline, settings).conf["spark.driver.bindAddress"] == "127.0.0.1"
    assert "spark.driver.bindAddress" not in _plan(pipeline, settings, master="spark://host:7077").conf


@pytest.mark.parametrize(
    ("cached", "master", "daemon"),
    [(True, "local[2]", CACHED_DAEMON), (False, "local[2]", WORKER_DAEMON), (True, "yarn", None)],
)
def test_workers_are_forked_from_a_daemon_of_this_host(
    tmp_path: Path, settings: Settings, cached: bool, master: str, daemon: str | None
) -> None:
    file = tmp_path / "joined.yaml"
    step = f"{{join: {{table: silver.d, on: [k], cached: {str(cached).lower()}}}}}"
    file.write_text(f"name: joined\ntransform: {{source: bronze.t, table: gold.t, steps: [{step}]}}\n")
    assert _plan(load_pipeline(file), settings, master=master).conf.get("spark.python.daemon.module") == daemon
    assert daemon is None or importlib.util.find_spec(daemon) is not None


def test_driver_and_workers_import_the_installed_pyspark_and_not_sparks_zips() -> None:
    """Python compiles what is in a zip anew in each process."""
    home = spark_home()
    zips = [str(file) for file in (home / "python" / "lib").glob("*.zip")]
    assert len(zips) == 2
    theirs = {"PYTHONPATH": os.pathsep.join([*zips, str(PROJECT_ROOT), "/users/own.zip"]), "SPARK_HOME": str(home)}
    look = "import os, pyspark, py4j; print(pyspark.__file__, py4j.__file__, os.environ['PYTHONPATH'])"
    worker = f"from spark_jobs.engine.worker_daemon import leave_zips; leave_zips(); {look}"
    for command in ([str(DRIVER_PYTHON), "-c", look], [sys.executable, "-c", worker]):
        environment = {**os.environ, **theirs, "PYSPARK_PYTHON": sys.executable}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        spark, py4j, path = done.stdout.split()
        assert Path(spark).parent == home
        assert ".zip" not in py4j
        assert path == os.pathsep.join([str(PROJECT_ROOT), "/users/own.zip"])


def test_shared_home_is_said_by_the_environment_and_passed_on_to_the_job(pipeline: Pipeline, tmp_path: Path) -> None:
    for said in ("true", "false"):
        found = load_settings({"SLUICE_HOME": str(tmp_path), "SLUICE_SHARED_HOME": said}, tmp_path / "none.yaml")
        assert str(found.shared_home).lower() == said == _plan(pipeline, found).environment["SLUICE_SHARED_HOME"]
    with pytest.raises(ConfigError, match="must be true or false, not 'yes'"):
        load_settings({"SLUICE_SHARED_HOME": "yes"}, tmp_path / "none.yaml")


def test_the_job_sees_the_callers_settings(pipeline: Pipeline, settings: Settings) -> None:
    environment = _plan(pipeline, replace(settings, state="s3://bucket/state")).environment
    assert environment["SLUICE_HOME"] == str(settings.home)
    assert environment["SLUICE_STATE"] == "s3://bucket/state"


def test_secrets_are_on_no_command_line(pipeline: Pipeline, settings: Settings) -> None:
    secret_keys = {"spark.hadoop.fs.s3a.secret.key", "spark.hadoop.fs.s3a.access.key"}
    conf = {"spark.ssl.enabled": "true", **dict.fromkeys(secret_keys, SECRET)}
    job = _plan(pipeline, replace(settings, spark_conf=conf))
    with secrets_file(job.secrets) as descriptor:
        command = guarded_command(job, descriptor)
    assert SECRET not in " ".join(command)
    assert set(job.secrets) == secret_keys
    assert "--properties-file" in command


@pytest.mark.parametrize(
    "key", ["spark.hadoop.fs.s3a.aws.credentials.provider", "spark.ssl.enabled", "spark.sql.shuffle.partitions"]
)
def test_a_name_of_a_provider_is_no_secret(key: str) -> None:
    assert split_secrets({key: "x"}) == ({key: "x"}, {})


def test_only_the_jobs_process_can_read_its_secrets() -> None:
    with secrets_file({"spark.my.password": SECRET}) as descriptor:
        assert descriptor is not None
        command = ["cat", properties_path(descriptor)]
        heir = subprocess.run(command, pass_fds=(descriptor,), capture_output=True, text=True, check=True)
        stranger = subprocess.run(command, capture_output=True, text=True, check=False)
    assert heir.stdout == "spark.my.password=s3cr=t: \\\\ value\n"
    assert stranger.returncode != 0


def test_a_process_runs_in_the_jobs_environment(
    pipeline: Pipeline, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script in the place of spark-submit, the rest is real: guard, environment, exit code."""
    submit = tmp_path / "spark" / "bin" / "spark-submit"
    submit.parent.mkdir(parents=True)
    submit.write_text('#!/bin/sh\ntest "$LC_ALL" = C.UTF-8 || exit 1\nexit 66\n')
    submit.chmod(0o755)
    monkeypatch.setattr("include.submit.command.spark_home", lambda: tmp_path / "spark")
    monkeypatch.setenv("LC_ALL", "C")
    assert run_process(_plan(pipeline, settings)) == 66


@pytest.mark.parametrize("names", [[], ["delta-spark_4.2_2.13-4.4.0.jar"], ["delta-storage-4.4.0.jar"]])
def test_missing_jars_are_named_with_the_remedy(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(JarsMissing, match="is missing") as raised:
        delta_jars(tmp_path)
    assert "make setup" in raised.value.remedy


def test_two_versions_of_a_jar_are_refused(tmp_path: Path) -> None:
    for name in ("delta-spark_4.2_2.13-4.4.0.jar", "delta-spark_4.2_2.13-4.3.0.jar", "delta-storage-4.4.0.jar"):
        (tmp_path / name).touch()
    with pytest.raises(JarsMissing, match="2 times"):
        delta_jars(tmp_path)


def test_another_java_or_jar_has_another_class_archive(tmp_path: Path) -> None:
    jar = tmp_path / "a.jar"
    jar.write_bytes(b"1")
    java = Java(Path("java"), "17.0.15")
    names = {class_archive(java, [jar], tmp_path), class_archive(Java(Path("java"), "17.0.16"), [jar], tmp_path)}
    jar.write_bytes(b"22")
    names.add(class_archive(java, [jar], tmp_path))
    assert len(names) == 3


def test_the_class_archive_is_used_when_it_is_there(tmp_path: Path) -> None:
    archive = tmp_path / "with space" / "x.jsa"
    assert "SharedArchiveFile" not in java_options(choose_profile(0), archive)
    archive.parent.mkdir()
    archive.touch()
    assert f'"-XX:SharedArchiveFile={archive}"' in java_options(choose_profile(0), archive)


def test_nothing_of_the_project_is_left_out_on_a_cluster(pipeline: Pipeline, settings: Settings) -> None:
    job = _plan(pipeline, settings, master="spark://host:7077")
    assert job.conf["spark.executorEnv.PYTHONPATH"] == str(PROJECT_ROOT)
