"""The README's commands, run in a copy of the project as a newcomer would type them."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# `make demo` has a test of its own, and `make test` is what runs this.
ELSEWHERE = ("make demo", "make test")


def blocks() -> list[str]:
    return re.findall(r"```bash\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    project = tmp_path / "sluice"
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in listed.splitlines():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, project / name)
    for made in (".venv", "jars", ".cache"):
        (project / made).symlink_to(ROOT / made)
    return project


def test_readme_commands_do_what_the_readme_says(copy: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("SLUICE_")}
    script = "\n".join(block for block in blocks() if not block.startswith(ELSEWHERE))
    done = subprocess.run(
        ["bash", "-eu", "-o", "pipefail", "-c", script],
        cwd=copy,
        env={**environment, "PYTHONPATH": str(copy), "COLUMNS": "160"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (copy / "data" / "warehouse" / "bronze" / "orders" / "_delta_log").is_dir()
    assert re.search(r"orders/tuesday\.json +│? *2 ", done.stdout), done.stdout


def test_commands_named_in_the_readme_exist() -> None:
    named = set(re.findall(r"`sluice (\w[\w-]*)", (ROOT / "README.md").read_text()))
    shown = subprocess.run([ROOT / ".venv" / "bin" / "sluice", "--help"], capture_output=True, text=True, check=True)
    assert named <= set(re.findall(r"^ +(\w[\w-]*)  ", shown.stdout, re.MULTILINE))


def test_make_targets_named_in_the_readme_exist() -> None:
    named = set(re.findall(r"`?make ([a-z-]+)", (ROOT / "README.md").read_text()))
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert named <= targets
