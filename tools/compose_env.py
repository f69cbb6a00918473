"""`make env`: writes .env for docker-compose.yaml, with a random secret for every name in docker/env.example.

An .env that is there stays as it is: its secrets are those of a database that exists. Names it lacks are added.
"""

import os
import secrets
import sys
from base64 import urlsafe_b64encode
from pathlib import Path

from include.config.settings import PROJECT_ROOT

TEMPLATE = PROJECT_ROOT / "docker" / "env.example"
ENV_FILE = PROJECT_ROOT / ".env"
OWNER_ONLY = 0o600
# The image's own user where make is run by root, who cannot be the containers' user.
IMAGE_UID = 1000


def wanted_names(template: str) -> list[str]:
    """The variables of a template, in its order."""
    return [line.partition("=")[0] for line in template.splitlines() if line and not line.startswith("#")]


def new_value(name: str) -> str:
    """A fresh value: the user's id for SLUICE_UID, a Fernet key for AIRFLOW_FERNET_KEY, 256 random bits for the others.

    Only letters, digits, - and _ (and a Fernet key's =): the values stand in URLs, JSON and .env files without quoting.
    """
    if name == "SLUICE_UID":
        return str(os.getuid() or IMAGE_UID)
    if name == "AIRFLOW_FERNET_KEY":
        return urlsafe_b64encode(secrets.token_bytes(32)).decode()
    return secrets.token_urlsafe(32)


def complete(env_file: Path = ENV_FILE, template: Path = TEMPLATE) -> list[str]:
    """Add what `env_file` lacks, readable by its owner only from its first byte; returns the names that were added."""
    present = env_file.read_text() if env_file.exists() else ""
    known = set(wanted_names(present))
    missing = [name for name in wanted_names(template.read_text()) if name not in known]
    if missing:
        lines = [f"{name}={new_value(name)}\n" for name in missing]
        separator = "\n" if present and not present.endswith("\n") else ""
        descriptor = os.open(env_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, OWNER_ONLY)
        with os.fdopen(descriptor, "w") as file:
            os.fchmod(descriptor, OWNER_ONLY)
            file.write(separator + "".join(lines))
    return missing


def main() -> int:
    """Complete .env, and make data/ (Docker would make it root's). Says what was added, never a value."""
    (PROJECT_ROOT / "data" / "landing").mkdir(parents=True, exist_ok=True)
    added = complete()
    print(f"{ENV_FILE.name}: added {', '.join(added)}" if added else f"{ENV_FILE.name}: complete, nothing changed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
