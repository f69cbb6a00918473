"""The steps that turn rows into rows: filter, select, custom, join. Each is a function of the micro-batch alone."""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pyspark.errors import AnalysisException, ParseException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from include.config.errors import ConfigError
from include.config.settings import Settings
from include.config.transform import Step
from include.transform.ranges import PlannedRange
from spark_jobs.engine.cache.joins import CachedJoins
from spark_jobs.engine.transform.join import join


@dataclass(frozen=True)
class RowSteps:
    """The steps of a pipeline that stand before its sink."""

    spark: SparkSession
    settings: Settings
    steps: Sequence[Step]
    cached: CachedJoins

    def apply(self, frame: DataFrame, planned: PlannedRange) -> DataFrame:
        """All steps, in their order.

        Raises:
            ConfigError: Spark does not understand a step, with its number.
        """
        for number, step in enumerate(self.steps):
            try:
                frame = self._one(frame, step, planned)
            except (AnalysisException, ParseException) as error:
                raise unusable(f"transform.steps.{number}.{step.kind}", error, frame) from None
        return frame

    def _one(self, frame: DataFrame, step: Step, planned: PlannedRange) -> DataFrame:
        if step.filter is not None:
            return frame.where(F.expr(step.filter))
        if step.select is not None:
            return frame.selectExpr(*step.select)
        if step.join is not None:
            return join(self.spark, self.settings, frame, step.join, planned.pinned[step.join.table], self.cached)
        if step.custom is not None:
            return custom(step.custom)(frame)
        raise ConfigError(f"The step {step.kind} is not executed here.", remedy="See `sluice validate`.")


def unusable(where: str, error: Exception, frame: DataFrame) -> ConfigError:
    """What Spark says of an expression, and what it could have named."""
    return ConfigError(
        f"{where}: {str(error).strip().splitlines()[0]}",
        remedy=f"Columns at this step: {', '.join(frame.columns)}.",
    )


def custom(name: str) -> Callable[[DataFrame], DataFrame]:
    """The user's function `module:function`, DataFrame -> DataFrame.

    Raises:
        ConfigError: there is no such function.
    """
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"transform.steps: custom: {name}: {error}.",
            remedy="Write module:function; the module must be importable from the project's folder.",
        ) from error
    if not callable(found):
        raise ConfigError(f"transform.steps: custom: {name} is not a function.", remedy="Name a function.")
    checked: Callable[[DataFrame], DataFrame] = found
    return checked
