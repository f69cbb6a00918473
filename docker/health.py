"""The containers' health checks: `health.py URL [KEY]` ends with 0 when URL answers 200 and its part KEY is healthy.

KEY names an entry of Airflow's health report (scheduler, dag_processor, metadatabase), whose heartbeats the API server
reads from the database. That costs nothing; `airflow jobs check` would start a whole Airflow every time.
"""

import json
import sys
from urllib.error import URLError
from urllib.request import urlopen

TIMEOUT_SECONDS = 8


def problem(url: str, key: str | None) -> str | None:
    """Why the service is not healthy, None when it is."""
    try:
        with urlopen(url, timeout=TIMEOUT_SECONDS) as answer:
            report = answer.read()
    except (URLError, OSError) as error:
        return f"{url}: {error}"
    status = json.loads(report)[key]["status"] if key else "healthy"
    return None if status == "healthy" else f"{key} is {status}"


if __name__ == "__main__":
    address, *keys = sys.argv[1:]
    sys.exit(problem(address, keys[0] if keys else None))
