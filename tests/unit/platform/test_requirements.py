"""requirements*.txt: hash-pinned, complete for what the code imports, and in step with the jars."""

import ast
import re
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from include.config.settings import PROJECT_ROOT
from include.submit.jars import JAR_NAME, read_checksums

RUNTIME_ROOMS = ("dags", "include", "spark_jobs", "tools")
# Only `make` runs them, where the development packages are; the image has no use for them.
DEVELOPMENT_TOOLS = ("demo_chart.py", "demo_check.py", "notebook.py")
OWN_PACKAGES = {"dags", "include", "spark_jobs", "tools"}
PIN = re.compile(
    r"^(?P<name>[a-z0-9-]+)==(?P<version>\S+)( ;.*)? \\\n(?P<hashes>(    --hash=sha256:[0-9a-f]{64}( \\)?\n)+)", re.M
)


def pins(file: str) -> dict[str, Version]:
    found = {match["name"]: Version(match["version"]) for match in PIN.finditer((PROJECT_ROOT / file).read_text())}
    assert found
    return found


def wanted(file: str) -> Iterator[Requirement]:
    for line in (PROJECT_ROOT / file).read_text().splitlines():
        if line and not line.startswith(("#", "-")):
            yield Requirement(line)


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("kind", ["requirements", "requirements-dev"])
def test_compiled_file_satisfies_its_source(kind: str) -> None:
    compiled = pins(f"{kind}.txt")
    for requirement in wanted(f"{kind}.in"):
        assert compiled[canonical(requirement.name)] in requirement.specifier, requirement


@pytest.mark.parametrize("file", ["requirements.txt", "requirements-dev.txt"])
def test_every_line_of_a_compiled_file_is_a_pin_with_hashes_or_a_comment(file: str) -> None:
    rest = PIN.sub("", (PROJECT_ROOT / file).read_text())
    assert [line for line in rest.splitlines() if line and not line.lstrip().startswith("#")] == []


def test_development_and_runtime_agree_on_every_version() -> None:
    runtime, development = pins("requirements.txt"), pins("requirements-dev.txt")
    assert {name: (runtime[name], development[name]) for name in runtime.keys() & development.keys()} == {
        name: (runtime[name], runtime[name]) for name in runtime.keys() & development.keys()
    }


def imported_packages(file: Path) -> set[str]:
    tree = ast.parse(file.read_text())
    imports = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imports |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    return {name.partition(".")[0] for name in imports} - set(sys.stdlib_module_names) - OWN_PACKAGES


def pinned_by(package: str) -> set[str]:
    dependencies = [Requirement(line) for line in requires(package) or []]
    return {
        canonical(dependency.name)
        for dependency in dependencies
        if str(dependency.specifier).startswith("==") and "extra" not in str(dependency.marker)
    }


def test_every_package_the_code_imports_is_asked_for_by_name() -> None:
    """Not by luck of another package's dependencies, whose next version may drop it or take another.

    What an asked-for package pins exactly (pydantic its core) comes and goes with that package.
    """
    asked_for = {canonical(requirement.name) for requirement in wanted("requirements.in")}
    asked_for |= {companion for name in list(asked_for) for companion in pinned_by(name)}
    in_development = asked_for | {canonical(requirement.name) for requirement in wanted("requirements-dev.in")}
    providers = packages_distributions()
    files = [file for room in RUNTIME_ROOMS for file in (PROJECT_ROOT / room).rglob("*.py")]
    assert files
    missing = {
        (str(file.relative_to(PROJECT_ROOT)), package)
        for file in files
        for package in imported_packages(file)
        if not (in_development if file.name in DEVELOPMENT_TOOLS else asked_for)
        & {canonical(provider) for provider in providers.get(package, [])}
    }
    assert missing == set()


def test_spark_and_its_client_share_one_version() -> None:
    compiled = pins("requirements.txt")
    assert compiled["pyspark"] == compiled["pyspark-client"]


def test_jars_are_of_the_python_packages_versions() -> None:
    compiled = pins("requirements.txt")
    spark_line = f"{compiled['pyspark'].major}.{compiled['pyspark'].minor}"
    matches = [JAR_NAME.fullmatch(name) for name in read_checksums()]
    jars = {match["artifact"]: match["version"] for match in matches if match}
    assert jars == {
        f"delta-spark_{spark_line}_2.13": str(compiled["delta-spark"]),
        "delta-storage": str(compiled["delta-spark"]),
    }
