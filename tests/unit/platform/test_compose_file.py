"""docker-compose.yaml and its image: valid, closed to the outside, without a default password, one image."""

import json
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose

from include.config.settings import PROJECT_ROOT
from tools.airflow_env import airflow_environment
from tools.compose_env import TEMPLATE, wanted_names

COMPOSE_FILE = PROJECT_ROOT / "docker-compose.yaml"
DOCKERFILE = PROJECT_ROOT / "docker" / "Dockerfile"
RUNS_ONCE = {"airflow-init"}
VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?P<operator>:?[-?+]?)")
PINNED_TAG = re.compile(r":\d+(\.\d+)+(-[\w.-]+)?$")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load(COMPOSE_FILE.read_text())
    return parsed


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose["services"]
    assert found
    return found


def test_file_follows_the_compose_specification(compose: dict[str, Any]) -> None:
    parsed = PyCompose.from_json(json.dumps(compose))
    parsed.validate()
    assert set(parsed.service_names()) == set(compose["services"])


def test_a_misspelt_key_would_be_refused(compose: dict[str, Any]) -> None:
    postgres = {**compose["services"]["postgres"], "healthchek": {}}
    with pytest.raises(ValueError, match="healthchek"):
        PyCompose.from_json(json.dumps({"services": {"postgres": postgres}}))


def test_every_secret_comes_from_the_environment_and_has_no_default() -> None:
    secret = re.compile(r"PASSWORD|SECRET|KEY")
    used = {(match["name"], match["operator"]) for match in VARIABLE.finditer(COMPOSE_FILE.read_text())}
    assert {name for name, operator in used if operator == ":?"} == set(wanted_names(TEMPLATE.read_text()))
    assert not [name for name, operator in used if secret.search(name) and operator != ":?"]


def test_no_service_has_a_literal_secret(services: dict[str, dict[str, Any]]) -> None:
    literal = [
        f"{service}.{name}"
        for service, definition in services.items()
        for name, value in definition.get("environment", {}).items()
        if re.search(r"PASSWORD|SECRET|_KEY|://\w+:[^$]+@", f"{name} {value}") and "${" not in str(value)
    ]
    assert literal == []


def test_every_published_port_listens_on_loopback_only(services: dict[str, dict[str, Any]]) -> None:
    ports = [port for definition in services.values() for port in definition.get("ports", [])]
    assert ports
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_every_long_running_service_has_a_health_check_and_is_restarted(services: dict[str, dict[str, Any]]) -> None:
    lasting = {name: definition for name, definition in services.items() if name not in RUNS_ONCE}
    assert [name for name, definition in lasting.items() if not definition.get("healthcheck")] == []
    assert {definition["restart"] for definition in lasting.values()} == {"unless-stopped"}


def test_our_services_are_one_image_and_the_others_are_pinned(services: dict[str, dict[str, Any]]) -> None:
    images = {definition["image"] for definition in services.values()}
    ours = {definition["image"] for definition in services.values() if "build" in definition}
    assert len(ours) == 1
    assert [image for image in images if not PINNED_TAG.search(image)] == []


def test_our_containers_gain_no_privileges(services: dict[str, dict[str, Any]]) -> None:
    for definition in services.values():
        assert "privileged" not in definition
        assert "no-new-privileges:true" in definition["security_opt"]
        if "build" in definition:
            assert definition["cap_drop"] == ["ALL"]


def test_every_airflow_variable_is_an_option_of_the_installed_airflow(services: dict[str, dict[str, Any]]) -> None:
    spec = find_spec("airflow")  # found, not imported: its configuration's own list is a file
    assert spec is not None
    assert spec.origin is not None
    known = yaml.safe_load(Path(spec.origin).with_name("config_templates").joinpath("config.yml").read_text())
    names = {name for definition in services.values() for name in definition.get("environment", {})}
    names |= set(airflow_environment({}))
    options = [name.lower().split("__")[1:] for name in sorted(names) if name.startswith("AIRFLOW__")]
    assert len(options) > 10
    assert [option for option in options if option[1] not in known.get(option[0], {"options": {}})["options"]] == []


def dockerfile_lines(instruction: str) -> list[str]:
    joined = DOCKERFILE.read_text().replace("\\\n", " ")
    return [line.partition(" ")[2].strip() for line in joined.splitlines() if line.startswith(f"{instruction} ")]


def test_image_runs_as_an_ordinary_user_and_refuses_to_be_built_for_root() -> None:
    assert dockerfile_lines("USER") == ["sluice"]
    assert any('test "$SLUICE_UID" -ne 0' in line for line in dockerfile_lines("RUN"))


def test_image_installs_only_hash_pinned_packages() -> None:
    installs = [line for line in dockerfile_lines("RUN") if "pip install" in line]
    assert installs
    assert [line for line in installs if "--require-hashes" not in line and "--no-deps" not in line] == []


def test_everything_the_image_copies_is_there_and_in_the_build_context() -> None:
    allowed = {line[1:] for line in (PROJECT_ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = [word for line in dockerfile_lines("COPY") if "--from" not in line for word in line.split()[:-1]]
    assert copied
    assert [name for name in copied if not (PROJECT_ROOT / name).exists() or name not in allowed] == []
