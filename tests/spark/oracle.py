"""What window tables must hold: computed by DuckDB over all rows at once. Another engine, no batches, no merging."""

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import pyarrow as pa

Row = dict[str, Any]
# Ours by name -> DuckDB's over the table `rows` (at, k, v, price, who).
MEASURES: Mapping[str, tuple[str, str]] = {
    "n": ("count(*)", "count(*)"),
    "n_v": ("count(v)", "count(v)"),
    "total": ("sum(v)", "CAST(sum(v) AS BIGINT)"),
    "positive": ("sum(v) FILTER (WHERE v > 0)", "CAST(sum(v) FILTER (WHERE v > 0) AS BIGINT)"),
    "revenue": ("sum(price)", "sum(price)"),
    "least": ("min(v)", "min(v)"),
    "most": ("max(who)", "max(who)"),
    "mean": ("avg(v)", "CAST(sum(v) AS DOUBLE) / nullif(count(v), 0)"),
    "spread": ("stddev(v)", "stddev_samp(v)"),
    "spread_pop": ("var_pop(CAST(price AS DOUBLE))", "var_pop(CAST(price AS DOUBLE))"),
    "people": ("count(DISTINCT who)", "count(DISTINCT who)"),
    "people_about": ("approx_count_distinct(who)", "count(DISTINCT who)"),
    "middle": ("median(v)", "quantile_cont(v, 0.5)"),
    "p90": ("percentile(v, 0.9)", "quantile_cont(v, 0.9)"),
    "earliest": ("first(v)", "struct_extract(min({'by': \"at\", 'set': v IS NOT NULL, 'value': v}), 'value')"),
    "latest": ("last(who)", "struct_extract(max({'by': \"at\", 'set': who IS NOT NULL, 'value': who}), 'value')"),
    "cheapest": (
        "min_by(v, price)",
        "struct_extract(min({'by': price, 'set': v IS NOT NULL, 'value': v}) FILTER (WHERE price > -1), 'value')",
    ),
    "any_big": ("bool_or(v > 50)", "bool_or(v > 50)"),
}
# Near enough for two ways to compute in DOUBLE; all other measures must be equal.
ROUNDED = {"spread", "spread_pop", "middle", "p90", "mean"}
SCHEMA = pa.schema(
    [
        ("at", pa.timestamp("us", "UTC")),
        ("k", pa.string()),
        ("v", pa.int64()),
        ("price", pa.decimal128(9, 2)),
        ("who", pa.string()),
    ]
)
_TIMED = 'FROM rows WHERE "at" IS NOT NULL'
_WINDOWS = {
    "tumbling": f"""SELECT time_bucket(INTERVAL '{{size}} seconds', "at", TIMESTAMPTZ '1970-01-01 00:00:00+00') AS s, *
        {_TIMED}""",
    "sliding": f"""SELECT to_timestamp(unnest(range(cast(floor(epoch("at") / {{slide}}) AS BIGINT) * {{slide}},
        cast(floor(epoch("at")) AS BIGINT) - {{size}}, -{{slide}}))) AS s, * {_TIMED}""",
    "session": f"""SELECT min("at") OVER (PARTITION BY k, session) AS s, * FROM (SELECT *,
        sum(CASE WHEN before IS NULL OR epoch("at") - epoch(before) > {{gap}} THEN 1 ELSE 0 END)
        OVER (PARTITION BY k ORDER BY "at" RANGE UNBOUNDED PRECEDING) AS session FROM (SELECT *,
        lag("at") OVER (PARTITION BY k ORDER BY "at") AS before {_TIMED}))""",
}


def expected(rows: Sequence[Row], window: Mapping[str, Any]) -> list[Row]:
    """The window rows, with `window_start`, the key and MEASURES, sorted by them."""
    lengths = {name: window.get(name, 0) for name in ("size", "slide", "gap")}
    measures = ", ".join(f"{sql} AS {name}" for name, (_, sql) in MEASURES.items())
    query = f"SELECT s AS window_start, k, {measures} FROM ({_WINDOWS[window['type']].format(**lengths)}) GROUP BY s, k"
    with duckdb.connect() as engine:
        engine.execute("SET TimeZone = 'UTC'")
        engine.register("rows", pa.Table.from_pylist(list(rows), schema=SCHEMA))
        found: pa.Table = engine.sql(query).to_arrow_table()
        return in_order(found.to_pylist())


def in_order(rows: Sequence[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (row["window_start"], row["k"] is not None, row["k"] or ""))


def differences(found: Sequence[Row], wanted: Sequence[Row]) -> list[str]:
    """Each cell that differs, as text; empty where the tables are equal."""
    keys = [[(row["window_start"], row["k"]) for row in rows] for rows in (found, wanted)]
    if keys[0] != keys[1]:
        return [f"windows: too many {set(keys[0]) - set(keys[1])}, missing {set(keys[1]) - set(keys[0])}"]
    return [
        f"{row['window_start']} {row['k']} {name}: {row[name]!r}, not {other[name]!r}"
        for row, other in zip(found, wanted, strict=True)
        for name in MEASURES
        if not _equal(name, row[name], other[name])
    ]


def _equal(name: str, one: Any, other: Any) -> bool:
    if name in ROUNDED and one is not None and other is not None:
        return abs(float(one) - float(other)) <= 1e-9 * max(1.0, abs(float(other)))
    return bool(one == other)
