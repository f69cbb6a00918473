"""Rows of a window table: from rows of the micro-batch, and from other such rows that belong together."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pyspark.errors import AnalysisException, ParseException
from pyspark.sql import Column, DataFrame
from pyspark.sql import Window as Over
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import StructType

from include.algebra.measures import STATE, TIME, Field, Measure, measure, quoted
from include.config.errors import ConfigError
from include.config.windows import Window
from spark_jobs.engine.transform.problems import unusable

if TYPE_CHECKING:
    from spark_jobs.engine.transform.late import Lateness

START, END = "window_start", "window_end"
WINDOW = "__sluice_window"
ROWS = "__sluice_rows"
OLD = "__sluice_old_start"
_PREVIOUS_END, _SESSION = "__sluice_previous_end", "__sluice_session"
_STEP = "transform.steps: window"


class States:
    """The window step over rows of one schema."""

    def __init__(self, window: Window, rows: DataFrame) -> None:
        self.window = window
        self.keys = window.keys
        self.measures = _measures(window, rows)

    @property
    def columns(self) -> list[str]:
        """The columns of the table, in their order."""
        own = [START, END, *self.keys, *(item.name for item in self.measures)]
        return own if all(item.plain for item in self.measures) else [*own, STATE]

    def of_rows(self, rows: DataFrame) -> DataFrame:
        """One row for each window and keys; ROWS is how many rows it has."""
        aggregates = [F.expr(field.of_rows).alias(item.key(field)) for item, field in self._fields()]
        keys = [F.col(quoted(key)) for key in self.keys]
        grouped = rows.groupBy(window_of(self.window).alias(WINDOW), *keys).agg(
            *aggregates, F.count(F.lit(1)).alias(ROWS)
        )
        return self._shown(grouped.withColumns({START: F.col(WINDOW).start, END: F.col(WINDOW).end}))

    def joined_sessions(self, states: DataFrame) -> DataFrame:
        """Sessions of equal keys that touch, as one; OLD holds the starts that they had in the table, if any."""
        by_key = Over.partitionBy(*(quoted(key) for key in self.keys), F.lit(0)).orderBy(START, END)
        before = by_key.rowsBetween(Over.unboundedPreceding, -1)
        marked = states.withColumn(_PREVIOUS_END, F.max(END).over(before))
        begins = F.col(_PREVIOUS_END).isNull() | (F.col(START) > F.col(_PREVIOUS_END))
        numbered = marked.withColumn(_SESSION, F.sum(begins.cast("int")).over(by_key))
        aggregates = [
            F.expr(field.of_states.format(_path(item, field))).alias(item.key(field)) for item, field in self._fields()
        ]
        grouped = numbered.groupBy(*(quoted(key) for key in self.keys), _SESSION).agg(
            *aggregates,
            F.min(START).alias(START),
            F.max(END).alias(END),
            F.collect_list(OLD).alias(OLD),
            F.sum(ROWS).alias(ROWS),
        )
        return self._shown(grouped, OLD)

    def updates(self) -> dict[str, str]:
        """What MERGE sets, by column, where the target (t) has the window and keys of the micro-batch's row (s)."""
        merged = {
            (item.name, field.name): field.merge(item.column(field, "t"), item.column(field, "s"))
            for item, field in self._fields()
        }
        updates = {}
        for item in self.measures:
            updates[quoted(item.name)] = item.result(
                {field.name: merged[item.name, field.name] for field in item.fields}
            )
        parts = [
            f"'{item.key(field)}', {merged[item.name, field.name]}" for item, field in self._fields() if not item.plain
        ]
        if parts:
            updates[STATE] = f"named_struct({', '.join(parts)})"
        return updates

    def merged(self, pairs: DataFrame, kinds: StructType) -> DataFrame:
        """Window rows `s`, each as one with the row `t` of the same window and keys: both structs, of these types."""
        updates = self.updates()
        columns = []
        for name in kinds.names:
            text = updates.get(STATE if name == STATE else quoted(name), f"s.{quoted(name)}")
            columns.append(F.expr(text).cast(kinds[name].dataType).alias(name))
        return pairs.select(*columns)

    def _fields(self) -> Iterator[tuple[Measure, Field]]:
        return ((item, field) for item in self.measures for field in item.fields)

    def _shown(self, grouped: DataFrame, *more: str) -> DataFrame:
        """The columns of the table from those of the states."""
        values = [
            F.expr(item.result({field.name: quoted(item.key(field)) for field in item.fields})).alias(item.name)
            for item in self.measures
        ]
        parts = [F.col(quoted(item.key(field))) for item, field in self._fields() if not item.plain]
        state = [F.struct(*parts).alias(STATE)] if parts else []
        keys = [F.col(quoted(key)) for key in self.keys]
        return grouped.select(F.col(START), F.col(END), *keys, *values, *state, ROWS, *more)


def with_time(window: "Lateness", rows: DataFrame) -> DataFrame:
    """The rows with their time, as a timestamp.

    Raises:
        ConfigError: the window's `time` is no timestamp, or a key is missing.
    """
    if missing := [key for key in window.keys if key not in rows.columns]:
        raise ConfigError(
            f"{_STEP}: keys: there is no column {', '.join(missing)}.",
            remedy=f"Columns at this step: {', '.join(rows.columns)}. Compute others by a `select` step.",
        )
    try:
        timed = rows.withColumn(TIME, F.expr(window.time))
    except (AnalysisException, ParseException) as error:
        raise unusable(f"{_STEP}: time", error, rows) from None
    kind = timed.schema[TIME].dataType.typeName()
    if kind not in ("timestamp", "timestamp_ntz", "date"):
        raise ConfigError(
            f"{_STEP}: time: {window.time} is {kind}, not a timestamp.",
            remedy="Write an expression that is one, such as timestamp_seconds(seconds).",
        )
    return timed.withColumn(TIME, F.col(TIME).cast("timestamp"))


@contextmanager
def persisted(frame: DataFrame) -> Iterator[DataFrame]:
    """The frame, computed once however often it is read."""
    frame.persist()
    try:
        yield frame
    finally:
        frame.unpersist()


def _measures(window: Window, rows: DataFrame) -> tuple[Measure, ...]:
    found = []
    for name, text in window.measures.items():
        try:
            item = measure(name, text, _type_in(rows))
            rows.agg(*(F.expr(field.of_rows) for field in item.fields))
        except (AnalysisException, ParseException) as error:
            raise unusable(f"{_STEP}: measures: {name}: {text}", error, rows) from None
        found.append(item)
    return tuple(found)


def _type_in(rows: DataFrame) -> Callable[[str], str]:
    return lambda sql: rows.selectExpr(sql).schema[0].dataType.simpleString()


def _path(item: Measure, field: Field) -> str:
    return quoted(item.name) if item.plain else f"{STATE}.{quoted(item.key(field))}"


def window_of(window: Window) -> Column:
    """The window of a row's time, or the windows."""
    if window.gap is not None:
        return F.session_window(F.col(TIME), _interval(window.gap))
    if window.size is None:
        raise ConfigError(f"{_STEP}: size is missing.", remedy="Write `size`.")
    return F.window(F.col(TIME), _interval(window.size), None if window.slide is None else _interval(window.slide))


def _interval(seconds: float) -> str:
    return f"{round(seconds * 1_000_000)} microseconds"


def same_keys(keys: Sequence[str]) -> str:
    """The SQL condition that t and s have the same keys; NULL is a key like any other."""
    return "".join(f" AND t.{quoted(key)} <=> s.{quoted(key)}" for key in keys)


def inserts(columns: Sequence[str]) -> Mapping[str, str]:
    """What MERGE inserts: each column of s."""
    return {quoted(name): f"s.{quoted(name)}" for name in columns}
