"""What a pipeline's Spark job may use."""

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, Field

from include.config.section import Count, Section
from include.config.values import CREDENTIAL_KEY, shown

_MEMORY = re.compile(r"[1-9][0-9]*[mgMG]")
# The engine sets these; another value would break what it guarantees.
_RESERVED = (
    "spark.sql.extensions",
    "spark.sql.catalog.spark_catalog",
    "spark.master",
    "spark.submit.deployMode",
    "spark.sql.session.timeZone",
)


def _memory(value: str) -> str:
    if not _MEMORY.fullmatch(value):
        raise ValueError(f"must be a size such as 2g or 512m, not {shown(value)}")
    return value


def _conf(conf: Mapping[str, str]) -> Mapping[str, str]:
    for key in conf:
        if not key.startswith("spark."):
            raise ValueError(f"{key} is not a Spark setting: their names begin with spark.")
        if CREDENTIAL_KEY.search(key):
            raise ValueError(f"{key} is a credential: give it to the environment, not to a pipeline file")
        if key in _RESERVED or key.startswith("spark.databricks.delta.write.txn"):
            raise ValueError(f"{key} is set by Sluice itself")
    return conf


Memory = Annotated[str, AfterValidator(_memory), Field(json_schema_extra={"pattern": f"^{_MEMORY.pattern}$"})]


class Resources(Section):
    """Sizes of the Spark job; what is left out is chosen by the planned bytes. `conf` holds further Spark settings."""

    driver_memory: Memory | None = None
    driver_cores: Count | None = None
    executor_memory: Memory | None = None
    executor_cores: Count | None = None
    executors: Count | None = None
    conf: Annotated[Mapping[str, str], AfterValidator(_conf)] = Field(default_factory=dict)

    def spark_conf(self) -> dict[str, str]:
        """All of it under Spark's own names; `conf` wins."""
        named = {
            "spark.driver.memory": self.driver_memory,
            "spark.driver.cores": self.driver_cores,
            "spark.executor.memory": self.executor_memory,
            "spark.executor.cores": self.executor_cores,
            "spark.executor.instances": self.executors,
        }
        return {key: str(value) for key, value in named.items() if value is not None} | dict(self.conf)
