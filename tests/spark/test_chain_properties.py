"""Files that land in any order and slicing, with duplicates, are replaced, and whose runs crash anywhere: each table
at the end of a chain of pipelines equals what another engine computes from the files that lie there.

A few examples run always, hundreds by `make properties`; what it finds, hypothesis shrinks.
"""

import json
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
import yaml
from deltalake import DeltaTable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from include.config.errors import TableNotFound
from include.config.pipeline import Pipeline
from include.config.reader import load_pipeline
from include.config.settings import Settings, load_settings
from include.ledger.discover import discover
from include.probe.workers import ProbePool
from include.submit.transform_steps import TransformSteps
from include.transform.plan import plan_transform
from spark_jobs.engine.batch import BatchLoader
from spark_jobs.engine.stream import LedgerStream
from spark_jobs.engine.transform.runner import run_batches
from tests.spark.oracle import MEASURES, SCHEMA, Row, differences, expected, in_order
from tests.spark.test_apply_changes import history
from tests.spark.test_windows import WINDOWS

EXAMPLES = int(os.environ.get("SLUICE_EXAMPLES", "200"))  # of all kinds together
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
BRONZE = "id bigint, at timestamp, k string, v bigint, price decimal(9, 2), who string"
ROWS = pa.schema([("id", pa.int64()), *SCHEMA])
OTHER = "k string, seen timestamp, temp bigint"
# What may happen to a run: nothing; a second start; a kill after the target's commit; one before it; one before the
# job; and before the run: the source compacted, or compacted and vacuumed; the stream's checkpoint deleted.
TROUBLE = ("nothing", "again", "no outcome", "no commit", "no job", "optimize", "vacuum", "no checkpoint")
Oracle = Callable[[Sequence[Row], Sequence[Row], "Chain"], list[str]]


def event(ident: int, variant: int) -> Row:
    """The row of an id, in one of its variants; equal arguments give equal rows, other ones another `v`."""
    rng = random.Random(ident)
    at = NOON + timedelta(days=rng.choice([0, 0, 0, 0, -1, -9]), seconds=rng.randrange(600) + variant)
    untimed, who = rng.random() < 0.05, rng.choice(["x", "y", "z", None])
    return {
        "id": ident,
        "at": None if untimed else at.isoformat(),
        "k": rng.choice(["a", "b", None]),
        "v": 100 + ident * 3 + variant,
        "price": None if rng.random() < 0.1 else rng.randrange(10_000) / 100,
        "who": who if variant else rng.choice(["x", "y", None]),
    }


def observation(ident: int) -> Row:
    """A row of the other table of a stream join."""
    rng = random.Random(-1 - ident)
    at = NOON + timedelta(days=rng.choice([0, 0, 0, -1]), seconds=rng.randrange(600))
    return {"k": rng.choice("ab"), "seen": at.isoformat(), "temp": ident}


@dataclass
class Chain:
    """An ingest of two folders and the pipelines on it."""

    home: Path
    spark: SparkSession
    pool: ProbePool
    limit: int
    settings: Settings = field(init=False)
    runs: int = 0

    def __post_init__(self) -> None:
        self.settings = load_settings({"SLUICE_HOME": str(self.home)}, self.home / "no-settings.yaml")

    def pipeline(self, name: str, **sections: Any) -> Pipeline:
        file = self.home / f"{name}.yaml"
        file.write_text(yaml.safe_dump({"name": name, **sections}, sort_keys=False))
        return load_pipeline(file)

    def ingest(self, name: str, schema: str) -> Pipeline:
        options = {"cloudFiles.format": "json", "cloudFiles.maxFilesPerTrigger": self.limit}
        section = {"source": name, "table": f"bronze.{name}", "schema": schema, "options": options}
        return self.pipeline(f"ingest_{name}", ingest={**section, "changed_files": "replace"})

    def transform(self, source: str, table: str, *steps: Row) -> Pipeline:
        options = {"maxVersionsPerTrigger": self.limit}
        section = {"source": source, "table": table, "steps": list(steps), "options": options}
        return self.pipeline(table.replace(".", "_"), transform=section)

    def land(self, folder: str, name: str, rows: Sequence[Row]) -> None:
        path = self.home / "landing" / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def run(self, pipeline: Pipeline, trouble: str) -> None:
        """A run, and the trouble that it meets."""
        state, target = self.home / "state" / pipeline.name, Path(self.settings.table_root(pipeline.targets[0]))
        before = self.home / "before"
        read = None if pipeline.transform is None else self.settings.table_root(pipeline.transform.tables[0])
        source = DeltaTable(read) if read is not None and DeltaTable.is_deltatable(read) else None
        if trouble in ("optimize", "vacuum") and source is not None:
            source.optimize.compact()
        if trouble == "no checkpoint":
            shutil.rmtree(state / "checkpoint", ignore_errors=True)
        if trouble == "no commit" and target.exists():
            shutil.copytree(target, before)
            self._run(pipeline)
            shutil.rmtree(target)
            shutil.move(before, target)
            shutil.rmtree(state / "outcomes", ignore_errors=True)
        self._run(pipeline, with_job=trouble != "no job")
        if trouble == "again":
            self._load(pipeline)
        if trouble == "no outcome":
            shutil.rmtree(state / "outcomes", ignore_errors=True)
        if trouble == "vacuum" and source is not None:
            source.update_incremental()
            source.vacuum(0, dry_run=False, enforce_retention_duration=False)

    def _run(self, pipeline: Pipeline, *, with_job: bool = True) -> None:
        self.runs += 1
        if pipeline.ingest is not None:
            if discover(pipeline, self.settings, self._run_id).has_work and with_job:
                self._load(pipeline)
            return
        plan = plan_transform(pipeline, self.settings, self._run_id)
        if plan.has_work and with_job:
            self._load(pipeline)
            TransformSteps().figures(pipeline, self.settings, plan)

    def _load(self, pipeline: Pipeline) -> None:
        if pipeline.ingest is None:
            run_batches(self.spark, pipeline, self.settings, self._run_id)
            return
        loader = BatchLoader(self.spark, pipeline, pipeline.ingest, self.settings, self._run_id, self.pool)
        LedgerStream(self.spark, pipeline, pipeline.ingest, self.settings).run(loader)

    @property
    def _run_id(self) -> str:
        return f"run-{self.runs}"

    def rows(self, table: str, *columns: str) -> list[Row]:
        """None where no row ever came to the table's source: then nobody made the table."""
        location = self.settings.table_root(table)
        if not DeltaTable.is_deltatable(location):
            return []
        found: list[Row] = DeltaTable(location).to_pyarrow_table(columns=list(columns)).to_pylist()
        return found


def typed(rows: Sequence[Row]) -> pa.Table:
    """The files' rows as DuckDB takes them."""
    at = [None if row["at"] is None else datetime.fromisoformat(row["at"]) for row in rows]
    prices = [None if row["price"] is None else Decimal(str(row["price"])).quantize(Decimal("0.01")) for row in rows]
    return pa.Table.from_pylist(
        [{**row, "at": when, "price": price} for row, when, price in zip(rows, at, prices, strict=True)], schema=ROWS
    )


def query(sql: str, **tables: pa.Table) -> list[tuple[Any, ...]]:
    with duckdb.connect() as engine:
        engine.execute("SET TimeZone = 'UTC'")
        for name, table in tables.items():
            engine.register(name, table)
        return sorted(engine.sql(sql).fetchall(), key=str)


def newest(rows: Sequence[Row]) -> list[Row]:
    """Each id once: the row with the greatest v."""
    with duckdb.connect() as engine:
        engine.execute("SET TimeZone = 'UTC'")
        engine.register("rows", typed(rows))
        sql = "SELECT * FROM rows QUALIFY row_number() OVER (PARTITION BY id ORDER BY v DESC) = 1"
        found: list[Row] = engine.sql(sql).to_arrow_table().to_pylist()
        return found


def unequal(found: Sequence[Any], wanted: Sequence[Any]) -> list[str]:
    mine, theirs = sorted(map(str, found)), sorted(map(str, wanted))
    return [] if mine == theirs else [f"{mine} is not {theirs}"]


def apart(rows: Sequence[Row], _other: Sequence[Row], chain: Chain) -> list[str]:
    """Of each key, in the order of v, those that are not within a minute of a kept one; one without a time."""
    kept: list[Row] = []
    for row in sorted(typed(rows).to_pylist(), key=lambda row: (row["v"], row["id"], str(row["at"]))):
        of_key = [other["at"] for other in kept if other["k"] == row["k"]]
        near = [at for at in of_key if at and row["at"] and abs(row["at"] - at) <= timedelta(minutes=1)]
        if not near and not (row["at"] is None and None in of_key):
            kept.append(row)
    found = [(row["k"], row["id"], row["v"]) for row in chain.rows("gold.t", "k", "id", "v")]
    return unequal(found, [(row["k"], row["id"], row["v"]) for row in kept])


SILVER = ("bronze.e", "silver.e", {"select": ["id", "at", "k", "v", "price", "who"]})
NEWEST = {"deduplicate": {"keys": ["id"], "order_by": ["v DESC"]}}


def window_step(kind: str, **more: Any) -> Row:
    lengths = {name: f"{value} seconds" for name, value in WINDOWS[kind].items() if name != "type"}
    texts = {name: ours for name, (ours, _) in MEASURES.items()}
    return {"window": {"type": kind, **lengths, "time": "at", "keys": ["k"], "measures": texts, **more}}


def windows(kind: str) -> Oracle:
    def check(rows: Sequence[Row], _other: Sequence[Row], chain: Chain) -> list[str]:
        found = in_order(chain.rows("gold.t", "window_start", "k", *MEASURES))
        return differences(found, expected(newest(rows), WINDOWS[kind]))

    return check


def of_windows(rows: Sequence[Row], _other: Sequence[Row], chain: Chain) -> list[str]:
    """Windows of five minutes over windows of one, which change."""
    sql = """SELECT time_bucket(INTERVAL '300 seconds', "at", TIMESTAMPTZ '1970-01-01 00:00:00+00') AS s, count(*),
        CAST(sum(v) AS BIGINT), max(v) FROM rows WHERE "at" IS NOT NULL GROUP BY s"""
    found = [tuple(row.values()) for row in chain.rows("gold.again", "window_start", "n", "total", "most")]
    wanted = query(sql, rows=pa.Table.from_pylist(newest(rows), schema=ROWS))
    return unequal([(str(at), *rest) for at, *rest in found], [(str(at), *rest) for at, *rest in wanted])


def mirrored(rows: Sequence[Row], _other: Sequence[Row], chain: Chain) -> list[str]:
    """A copy of a table of windows, by its change feed."""
    found = in_order(chain.rows("gold.copy", "window_start", "k", *MEASURES))
    return differences(found, expected(newest(rows), WINDOWS["tumbling"]))


def first_rows(_rows: Sequence[Row], _other: Sequence[Row], chain: Chain) -> list[str]:
    """Each id once: of the first batch, and in it the earliest."""
    bronze = pa.Table.from_pylist(chain.rows("bronze.e", "id", "at", "v", "_batch"))
    sql = 'SELECT id, v FROM b QUALIFY row_number() OVER (PARTITION BY id ORDER BY _batch, "at" NULLS LAST, v) = 1'
    return unequal([(row["id"], row["v"]) for row in chain.rows("gold.t", "id", "v")], query(sql, b=bronze))


def enriched(rows: Sequence[Row], _other: Sequence[Row], chain: Chain) -> list[str]:
    sql = "SELECT id, v, CASE who WHEN 'x' THEN 'label x' WHEN 'y' THEN 'label y' END FROM rows"
    found = [(row["id"], row["v"], row["label"]) for row in chain.rows("gold.t", "id", "v", "label")]
    return unequal(found, query(sql, rows=typed(rows)))


def changes(scd: int) -> Oracle:
    def check(rows: Sequence[Row], _other: Sequence[Row], chain: Chain) -> list[str]:
        told = [
            {"k": row["k"], "seq": row["v"], "v": row["id"], "op": "d" if row["who"] == "x" else "u"} for row in rows
        ]
        wanted = [row for row in history(told) if scd == 2 or row["end"] is None]
        if scd == 1:
            newest = [(row["k"], row["v"]) for row in chain.rows("gold.t", "k", "v")]
            return unequal(newest, [(row["k"], row["start"]) for row in wanted])
        rows = chain.rows("gold.t", "k", "v", "__start_at", "__end_at")
        found = [(row["k"], row["v"], row["__start_at"], row["__end_at"]) for row in rows]
        return unequal(found, [(row["k"], row["start"], row["start"], row["end"]) for row in wanted])

    return check


def pairs(how: str) -> Oracle:
    def check(rows: Sequence[Row], other: Sequence[Row], chain: Chain) -> list[str]:
        r = pa.Table.from_pylist(
            [{**row, "seen": datetime.fromisoformat(row["seen"])} for row in other],
            schema=pa.schema([("k", pa.string()), ("seen", pa.timestamp("us", "UTC")), ("temp", pa.int64())]),
        )
        final = """ WHERE r.temp IS NOT NULL OR l."at" IS NULL
            OR l."at" + INTERVAL 30 SECONDS < (SELECT max(seen) FROM r)"""
        sql = f"""SELECT l.id, l.v, r.temp FROM l {how} JOIN r ON l.k = r.k
            AND r.seen BETWEEN l."at" - INTERVAL 60 SECONDS AND l."at" + INTERVAL 30 SECONDS"""
        wanted = query(sql + (final if how == "left" else ""), l=typed(rows), r=r)
        found = [(row["id"], row["v"], row["temp"]) for row in chain.rows("gold.t", "id", "v", "temp")]
        return unequal(found, wanted)

    return check


def stream_join(how: str) -> Row:
    bounds = {"time": "at", "other_time": "seen", "before": "60 seconds", "after": "30 seconds"}
    return {"stream_join": {"table": "bronze.w", "on": ["k"], "how": how, "columns": ["temp"], **bounds}}


MINUTES = window_step("tumbling", keys=[], measures={"n": "count(*)", "total": "sum(v)", "most": "max(v)"})
SUMS = {"n": "sum(n)", "total": "sum(total)", "most": "max(most)"}
OVER = {"window": {"type": "tumbling", "time": "window_start", "size": "5 minutes", "measures": SUMS}}
COPY = {"apply_changes": {"keys": ["window_start", "k"], "sequence_by": "window_end"}}
APART = {"keys": ["k"], "order_by": ["v", "id"], "time": "at", "within": "1 minute"}
APPLY = {"keys": ["k"], "sequence_by": "v", "delete_when": "who = 'x'"}
# What stands at the end of a chain: its transformations, in order, and what its last table must be.
CHAINS: Mapping[str, tuple[list[tuple[Any, ...]], Oracle]] = {
    **{
        kind: ([(*SILVER, NEWEST), ("silver.e", "gold.t", window_step(kind))], windows(kind))
        for kind in ("tumbling", "sliding", "session")
    },
    "again": ([(*SILVER, NEWEST), ("silver.e", "gold.t", MINUTES), ("gold.t", "gold.again", OVER)], of_windows),
    "copy": (
        [(*SILVER, NEWEST), ("silver.e", "gold.t", window_step("tumbling")), ("gold.t", "gold.copy", COPY)],
        mirrored,
    ),
    "first": ([("bronze.e", "gold.t", {"deduplicate": {"keys": ["id"], "time": "at"}})], first_rows),
    "apart": (
        [("bronze.e", "gold.t", {"select": ["id", "at", "k", "v"]}, {"deduplicate": APART})],
        apart,
    ),
    "enriched": (
        [("bronze.e", "gold.t", {"join": {"table": "bronze.labels", "on": ["who"], "how": "left"}})],
        enriched,
    ),
    "scd1": ([("bronze.e", "gold.t", {"apply_changes": APPLY})], changes(1)),
    "scd2": ([("bronze.e", "gold.t", {"apply_changes": {**APPLY, "scd": 2}})], changes(2)),
    "pairs": ([("bronze.e", "gold.t", stream_join("inner"))], pairs("inner")),
    "pairs_or_alone": ([("bronze.e", "gold.t", stream_join("left"))], pairs("left")),
}


@st.composite
def landings(draw: st.DrawFn) -> list[list[tuple[str, str, list[Row]]]]:
    """Rounds of files that land: folder, name and rows. A name that comes again replaces its file."""
    rows = st.lists(st.builds(event, st.integers(0, 25), st.integers(0, 2)), min_size=1, max_size=12)
    others = st.lists(st.builds(observation, st.integers(0, 25)), min_size=1, max_size=6)
    files = st.one_of(
        st.tuples(st.just("e"), st.sampled_from([f"{number}.json" for number in range(5)]), rows),
        st.tuples(st.just("w"), st.sampled_from([f"{number}.json" for number in range(6)]), others),
    )
    rounds = draw(st.lists(st.lists(files, max_size=4), min_size=1, max_size=3))
    first = [("e", "first.json", draw(rows)), ("w", "first.json", draw(others))]
    return [[*first, *rounds[0]], *rounds[1:]]


def check_chain(spark: SparkSession, pool: ProbePool, kind: str, rounds: Any, limit: int, troubles: Any) -> None:
    home = Path(tempfile.mkdtemp(prefix="sluice-chain-"))
    try:
        chain = Chain(home, spark, pool, limit)
        steps, check = CHAINS[kind]
        pipelines = [chain.ingest("e", BRONZE)]
        if kind.startswith("pairs"):
            pipelines.append(chain.ingest("w", OTHER))
        if kind == "enriched":
            chain.land("labels", "all.json", [{"who": who, "label": f"label {who}"} for who in "xy"])
            chain.run(chain.ingest("labels", "who string, label string"), "nothing")
        pipelines += [chain.transform(*each) for each in steps]
        files: dict[tuple[str, str], list[Row]] = {}
        for landed in rounds:
            for folder, name, rows in landed:
                chain.land(folder, name, rows)
                files[folder, name] = rows
            for pipeline in pipelines:
                with suppress(TableNotFound):  # what writes its source was killed before its first commit
                    chain.run(pipeline, troubles())
        for pipeline in pipelines:
            chain.run(pipeline, "nothing")
        rows, other = ([row for (at, _), part in files.items() if at == side for row in part] for side in "ew")
        assert check(rows, other, chain) == []
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.timeout(36_000)
@pytest.mark.parametrize("kind", sorted(CHAINS))
@settings(max_examples=EXAMPLES // len(CHAINS) + 1, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), rounds=landings(), limit=st.integers(1, 3))
def test_gold_equals_the_batch_query_over_the_files(
    spark: SparkSession, pool: ProbePool, kind: str, data: st.DataObject, rounds: Any, limit: int
) -> None:
    check_chain(spark, pool, kind, rounds, limit, lambda: data.draw(st.sampled_from(TROUBLE)))


@pytest.mark.parametrize(
    "kind", ["again", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("pairs_or_alone", "first", "scd2"))]
)
def test_chain_of_a_few_files_equals_the_batch_query(spark: SparkSession, pool: ProbePool, kind: str) -> None:
    rng = random.Random(kind)

    def some(count: int) -> list[Row]:
        return [event(rng.randrange(25), rng.randrange(3)) for _ in range(count)]

    rounds = [
        [("e", "0.json", some(9)), ("e", "1.json", some(7)), ("w", "0.json", [observation(n) for n in range(9)])],
        [("e", "0.json", some(8)), ("e", "2.json", some(5)), ("w", "1.json", [observation(n) for n in range(9, 15)])],
    ]
    check_chain(spark, pool, kind, rounds, 2, lambda: rng.choice(TROUBLE))
