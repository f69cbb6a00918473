"""What a process pays for the import of the ledger."""

import os
import subprocess
import sys

import pytest

THREADS = "import os, include.ledger.discover; print(len(os.listdir('/proc/self/task')))"


def threads(**environment: str) -> int:
    """How many threads a process has that has imported the ledger."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("OPENBLAS", "OMP_"))}
    command = [sys.executable, "-c", THREADS]
    done = subprocess.run(command, env={**inherited, **environment}, capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(os.cpu_count() == 1, reason="OpenBLAS begins no thread on one core")
def test_no_thread_is_begun_that_nothing_uses() -> None:
    assert threads() < threads(OPENBLAS_NUM_THREADS="2")
