"""The steps that turn rows into rows: filter, select, custom, join. Each is a function of the micro-batch alone."""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pyspark.errors import AnalysisException, ParseException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from include.config.errors import ConfigError, Defect
from include.config.settings import Settings
from include.config.steps import Step
from include.transform.ranges import PlannedRange
from spark_jobs.engine.cache.joins import CachedJoins
from spark_jobs.engine.transform.checks import passing, refuse
from spark_jobs.engine.transform.deduplicate import SeenKeys
from spark_jobs.engine.transform.join import join
from spark_jobs.engine.transform.problems import changed, unusable


@dataclass(frozen=True)
class RowSteps:
    """The steps of a pipeline that stand before its sink."""

    spark: SparkSession
    settings: Settings
    pipeline: str
    steps: Sequence[Step]
    cached: CachedJoins
    held: list[DataFrame] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)

    def apply(self, frame: DataFrame, planned: PlannedRange, *, again: bool = False) -> DataFrame:
        """All steps, in their order. `again`: over rows of which nothing is to be remembered or counted.

        Raises:
            ConfigError: Spark does not understand a step, with its number.
        """
        return self.part(frame, planned, range(len(self.steps)), again=again)

    @property
    def memory(self) -> int | None:
        """The place of the one deduplicate step; None without one, or with more."""
        places = [number for number, step in enumerate(self.steps) if step.deduplicate is not None]
        return places[0] if len(places) == 1 else None

    def seen_keys(self, number: int) -> SeenKeys:
        """The memory of the deduplicate step at a place."""
        step = self.steps[number].deduplicate
        if step is None:
            raise Defect(f"Step {number} does not deduplicate.", remedy="Please report this.")
        return SeenKeys(self.spark, self.settings, self.pipeline, number, step, self.held)

    def part(self, frame: DataFrame, planned: PlannedRange, places: range, *, again: bool = False) -> DataFrame:
        """Some of the steps; see `apply`."""
        for number in places:
            step = self.steps[number]
            try:
                frame = self._one(frame, step, number, planned, again=again)
            except (AnalysisException, ParseException) as error:
                raise unusable(f"transform.steps.{number}.{step.kind}", error, frame) from None
        return frame

    def refuse_memory(self, planned: PlannedRange) -> None:
        """Stop where a step remembers earlier rows.

        Raises:
            SourceChanged: always then.
        """
        if any(step.deduplicate is not None for step in self.steps):
            raise changed(
                planned, "a deduplicate step cannot take back what it let through: give it a pipeline of its own"
            )

    @property
    def rows_refused(self) -> int:
        """How many rows of the batch the checks have left out."""
        return sum(self.refused)

    def release(self) -> None:
        """Forget what was kept computed, and counted, for the batch."""
        self.refused.clear()
        while self.held:
            self.held.pop().unpersist()

    def _one(self, frame: DataFrame, step: Step, number: int, planned: PlannedRange, *, again: bool) -> DataFrame:
        if step.filter is not None:
            return frame.where(F.expr(step.filter))
        if step.select is not None:
            return frame.selectExpr(*step.select)
        if step.join is not None:
            return join(self.spark, self.settings, frame, step.join, planned.pinned[step.join.table], self.cached)
        if step.checks is not None:
            if not again:
                self.refused.append(refuse(frame, step.checks, self.settings, self.pipeline, number, planned))
            return passing(frame, step.checks)
        if step.deduplicate is not None:
            return self.seen_keys(number).first(frame, planned)
        if step.custom is not None:
            return custom(step.custom)(frame)
        raise ConfigError(f"The step {step.kind} is not executed here.", remedy="See `sluice validate`.")


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
