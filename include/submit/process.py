"""The process of a job that this program starts and waits for itself."""

import os
import subprocess
import sys

from include.submit.command import guarded_command
from include.submit.job import SparkJob
from include.submit.secrets import secrets_file

TERM_SECONDS = 10.0


def run_process(job: SparkJob) -> int:
    """Run a job to its end and return what its process returned. What it prints goes to stderr.

    A caller that is interrupted meanwhile takes the job with it.

    Raises:
        ConfigError, StorageError: the job cannot be guarded on this machine.
    """
    with secrets_file(job.secrets) as descriptor:
        process = subprocess.Popen(
            guarded_command(job, descriptor),
            env={**os.environ, **job.environment},
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr.fileno(),
            stderr=sys.stderr.fileno(),
            pass_fds=() if descriptor is None else (descriptor,),
        )
        try:
            return process.wait()
        finally:
            end_process(process)


def end_process(process: subprocess.Popen[bytes] | subprocess.Popen[str], patience: float = TERM_SECONDS) -> None:
    """End a job that still runs: asked first, killed after `patience` seconds; nothing if it has ended."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
