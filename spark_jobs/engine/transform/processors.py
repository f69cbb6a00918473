"""What a state computes: windows by any aggregates that Spark knows, or a function of the user's over a stream."""

from dataclasses import dataclass

from pyspark.errors import AnalysisException, ParseException
from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812

from include.algebra.measures import TIME, quoted
from include.config.errors import ConfigError, Defect
from include.config.steps import Step
from include.config.windows import Late, StatefulFunction, Window
from spark_jobs.engine.transform.problems import unusable
from spark_jobs.engine.transform.stateful import Stateful, keys_sql
from spark_jobs.engine.transform.states import END, START, WINDOW, window_of
from spark_jobs.engine.transform.steps import custom

_ALL = "__sluice_all"


@dataclass(frozen=True)
class TimeOfRows:
    """The lateness of rows that a function of the user's gets."""

    time: str
    late: Late
    type: str = "function"
    keys: tuple[str, ...] = ()


def state_of(step: Step) -> Stateful:
    """What Spark's state computes for the last step of a pipeline."""
    if step.window is not None:
        return window_state(step.window)
    if step.stateful is not None:
        return function_state(step.stateful)
    raise Defect(f"No state for the step {step.kind}.", remedy="Please report this.")


def window_state(window: Window) -> Stateful:
    """The windows of a step whose engine is Spark's state."""

    def build(rows: DataFrame) -> DataFrame:
        try:
            aggregates = [F.expr(text).alias(name) for name, text in window.measures.items()]
            # Spark has no sessions without a key.
            keys = keys_sql(window.keys) or [_ALL]
            keyed = rows.withColumn(_ALL, F.lit(0))
            grouped = keyed.groupBy(window_of(window).alias(WINDOW), *keys).agg(*aggregates)
        except (AnalysisException, ParseException) as error:
            raise unusable("transform.steps: window: measures", error, rows) from None
        bounds = (F.col(WINDOW).start.alias(START), F.col(WINDOW).end.alias(END))
        return grouped.select(*bounds, *keys_sql(window.keys), *map(quoted, window.measures))

    identity = () if window.output_mode == "append" else (START, *window.keys)
    return Stateful(window, TIME, build, identity, window.gap if window.size is None else window.size)


def function_state(step: StatefulFunction) -> Stateful:
    """The user's function `module:function`: a stream with a watermark on `time` -> a stream."""

    def build(rows: DataFrame) -> DataFrame:
        result = custom(step.function)(rows)
        if not isinstance(result, DataFrame):
            raise ConfigError(
                f"transform.steps: stateful: {step.function} returned {type(result).__name__}, not a DataFrame.",
                remedy="Return what transformWithState gave.",
            )
        if missing := [key for key in step.keys or () if key not in result.columns]:
            raise ConfigError(
                f"transform.steps: stateful: keys: {step.function} gives no column {', '.join(missing)}.",
                remedy=f"Its columns: {', '.join(result.columns)}.",
            )
        return result

    return Stateful(TimeOfRows(quoted(step.time), step.late), step.time, build, step.keys or ())
