"""A cached join step gives what the same step gives uncached, for dimensions of any kind, whatever is done to them.

Tables are made and changed by Delta-Spark: with and without deletion vectors, change feed, column mapping, partitions;
keys and columns of all types; rows, columns and whole tables that come, go and change. `SLUICE_CACHE_SEEDS=1-200` runs
that many.
"""

import datetime as dt
import logging
import os
import random
import shutil
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructType

from include.cache.dimension import current_version
from include.cache.memory import Memory
from include.config.settings import Settings, load_settings
from include.config.steps import Join
from include.transform.ranges import Pin
from spark_jobs.engine.cache.joins import CachedJoins
from spark_jobs.engine.transform.join import join

HOWS = ("inner", "left", "left_semi", "left_anti")
PLENTY = Memory(available=8 << 30, total=16 << 30)
TABLE = "silver.d"
log = logging.getLogger("test")
Make = Callable[[random.Random], Any]

TEXTS = ["", "a", "A", "a ", "abcdefgh", "abcdefghi", "\0", "a\0", "ü", "u\u0308", "x" * 70, "😀" * 9, "'", "\\"]
BYTES = [text.encode() for text in TEXTS] + [b"\xff", b"\x80\0\xff" * 5]
DAYS = [dt.date(1, 1, 1), dt.date(1582, 10, 4), dt.date(1899, 12, 31), dt.date(1970, 1, 1), dt.date(9999, 12, 31)]
MOMENTS = [
    dt.datetime(1500, 1, 1, 1, 2, 3, 4),
    dt.datetime(1969, 12, 31, 23, 59, 59, 999999),
    dt.datetime(2026, 3, 29, 1, 30),
    dt.datetime(2200, 1, 1),
]
KEY_TYPES: dict[str, list[Any]] = {
    "tinyint": [-128, -1, 0, 1, 127],
    "smallint": [-32768, -1, 0, 5, 32767],
    "int": [-(2**31), -7, 0, 7, 2**31 - 1],
    "bigint": [-(2**63), -1, 0, 1, 2**40, 2**63 - 1],
    "decimal(5,2)": [Decimal("-999.99"), Decimal("0.00"), Decimal("0.01"), Decimal("10.10")],
    "decimal(38,6)": [Decimal(10) ** 31, -(Decimal(10) ** 31), Decimal("0.000001"), Decimal(0)],
    "boolean": [True, False],
    "date": DAYS,
    "timestamp": MOMENTS,
    "timestamp_ntz": MOMENTS,
    "string": TEXTS,
    "binary": BYTES,
    "double": [0.0, 1.5, -2.0],  # left to Spark
}
# A micro-batch may have a key in another type that Spark widens without loss.
WIDER = {"tinyint": "bigint", "smallint": "int", "int": "bigint", "decimal(5,2)": "decimal(12,2)"}


def one_of(values: list[Any], rng: random.Random) -> Any:
    return rng.choice(values)


VALUE_TYPES: dict[str, Make] = {
    **{kind: partial(one_of, values) for kind, values in KEY_TYPES.items()},
    "double": lambda rng: rng.choice([0.0, -0.0, float("nan"), float("inf"), 1e-320, 0.1]),
    "float": lambda rng: rng.choice([0.0, -0.0, float("nan"), 1.5]),
    "array<int>": lambda rng: rng.choice([[], [1, None], [2] * 9]),
    "array<struct<a:string,b:date>>": lambda rng: [(rng.choice(TEXTS), rng.choice(DAYS)), None],
    "map<string,decimal(9,3)>": lambda rng: rng.choice([{}, {"a": None, "b": Decimal("1.234")}]),
    "struct<x:timestamp,y:struct<z:binary>>": lambda rng: (rng.choice(MOMENTS), (rng.choice(BYTES),)),
    "varchar(90)": lambda rng: rng.choice(TEXTS),
}


# What else a micro-batch may hold, beside the keys.
FURTHER = [
    """parse_json('{"a": [1, null]}') AS f0""",
    "INTERVAL '1 02:03:04.5' DAY TO SECOND AS f2",
    "NULL AS f3",
    "'a' COLLATE UTF8_LCASE AS f4",
    "map('a', struct(row, X'00ff')) AS f5",
    "array(timestamp_ntz'0001-01-01 00:00:00', NULL) AS f6",
    "CAST(row AS FLOAT) / 0.1 AS f7",
    "CAST('x' AS CHAR(3)) AS f8",
    "time'12:34:56.789' AS f9",
]


class Dimension:
    """A Delta table of a random kind with unique keys, but for NULL ones."""

    def __init__(self, spark: SparkSession, settings: Settings, rng: random.Random) -> None:
        self.spark = spark
        self.rng = rng
        self.root = settings.table_root(TABLE)
        self.sql = f"delta.`{self.root}`"
        self.features = rng.sample(["feed", "vectors", "mapping", "partitions"], rng.randint(0, 3))
        if "vectors" in self.features and "partitions" in self.features:
            self.features.remove("partitions")
        self._space = " " if "mapping" in self.features else "_"
        self.keys = {f"k{n}": rng.choice([*KEY_TYPES]) for n in range(rng.choice([1, 1, 2, 3]))}
        self.values = {f"v{self._space}{n}": rng.choice([*VALUE_TYPES]) for n in range(rng.randint(1, 5))}
        self.pool = list({self._key() for _ in range(40)})
        self.latest = rng.random() < 0.25
        self.number = 0
        self.create()

    @property
    def columns(self) -> dict[str, str]:
        return {**self.keys, **self.values, **({"seq": "int"} if self.latest else {})}

    def _key(self) -> tuple[Any, ...]:
        return tuple(self.rng.choice(KEY_TYPES[kind]) for kind in self.keys.values())

    def create(self) -> None:
        properties = {
            "delta.enableChangeDataFeed": "feed" in self.features,
            "delta.enableDeletionVectors": "vectors" in self.features,
            "delta.feature.timestampNtz": "supported",  # for columns that come later
            # Without it names have no spaces.
            "delta.columnMapping.mode": "name" if "mapping" in self.features else "none",
        }
        listed = ", ".join(f"`{name}` {kind}" for name, kind in self.columns.items())
        text = ", ".join(f"'{key}' = '{str(value).lower()}'" for key, value in properties.items())
        first, kind = next(iter(self.keys.items()))
        foldable = kind not in ("string", "binary")  # no folder can be named by a text with a zero byte
        by = f"PARTITIONED BY ({first})" if "partitions" in self.features and foldable else ""
        self.spark.sql(f"CREATE TABLE {self.sql} ({listed}) USING delta {by} TBLPROPERTIES ({text})")
        self.insert(self.rng.sample(self.pool, len(self.pool) // 2))

    def frame(self, keys: list[tuple[Any, ...]]) -> DataFrame:
        rows = []
        for key in keys:
            values = [None if self.rng.random() < 0.2 else VALUE_TYPES[kind](self.rng) for kind in self.values.values()]
            self.number += 1
            rows.append((*key, *values, *([self.number] if self.latest else [])))
        return self.spark.createDataFrame(rows, schema_of(self.columns))

    def insert(self, keys: list[tuple[Any, ...]]) -> None:
        frame = self.frame(keys).coalesce(1)
        self.spark.conf.set("spark.sql.parquet.outputTimestampType", self.rng.choice(["INT96", "TIMESTAMP_MICROS"]))
        calendar = self.rng.choice(["CORRECTED"] * 5 + ["LEGACY"])  # of files by Spark 2, but for their version
        for kind in ("datetime", "int96"):
            self.spark.conf.set(f"spark.sql.parquet.{kind}RebaseModeInWrite", calendar)
        frame.write.format("delta").mode("append").save(self.root)

    def there(self) -> set[tuple[Any, ...]]:
        rows = self.spark.read.format("delta").load(self.root).select(*self.keys).collect()
        return {tuple(plain(value) for value in row) for row in rows}

    def change(self) -> None:
        """One random commit, or what may stand for several."""
        happenings = [self.add, self.add, self.update, self.update, self.delete, self.merge, self.nulls]
        happenings += [self.compact, self.overwrite, self.anew, self.restore, self.switch_feed, self.purge]
        happenings += [self.add_column]
        if "mapping" in self.features:
            happenings += [self.drop_column, self.rename_column, self.empty_column]
        happening = self.rng.choice(happenings)
        log.info("%s", happening.__name__)
        happening()

    def add(self) -> None:
        there = self.there() if not self.latest else set()
        self.insert([key for key in self.rng.sample(self.pool, 5 % len(self.pool) or 1) if plain_key(key) not in there])

    def _some(self) -> str:
        """A predicate over keys."""
        key = self.rng.choice([*self.keys])
        value = self.rng.choice(KEY_TYPES[self.keys[key]])
        operator = self.rng.choice(["=", "<", "<=>"])
        self.spark.createDataFrame([(value,)], schema_of({"x": self.keys[key]})).createOrReplaceTempView("some")
        literal = self.spark.sql("SELECT hex(cast(to_json(struct(x)) as binary)) h FROM some").collect()[0]["h"]
        return (
            f"`{key}` {operator} from_json(cast(unhex('{literal}') as string), 'x {self.keys[key]}').x"
            if self.keys[key] != "binary"
            else f"`{key}` {operator} unhex('{value.hex()}')"
        )

    def update(self) -> None:
        name = self.rng.choice([*self.values])
        self.spark.sql(f"UPDATE {self.sql} SET `{name}` = NULL WHERE {self._some()}")

    def delete(self) -> None:
        self.spark.sql(f"DELETE FROM {self.sql} WHERE {self._some()}")

    def merge(self) -> None:
        if self.latest:
            return
        self.frame(self.rng.sample(self.pool, min(6, len(self.pool)))).createOrReplaceTempView("came")
        same = " AND ".join(f"t.`{key}` = s.`{key}`" for key in self.keys)
        gone = self.rng.choice(["", f"WHEN MATCHED AND t.`{next(iter(self.values))}` IS NULL THEN DELETE"])
        self.spark.sql(
            f"MERGE INTO {self.sql} t USING came s ON {same} {gone} WHEN MATCHED THEN UPDATE SET * "
            "WHEN NOT MATCHED THEN INSERT *"
        )

    def nulls(self) -> None:
        key = list(self.rng.choice(self.pool))
        key[self.rng.randrange(len(key))] = None
        self.insert([tuple(key), tuple(key)])

    def compact(self) -> None:
        self.spark.sql(f"OPTIMIZE {self.sql}")

    def purge(self) -> None:
        self.spark.sql(f"REORG TABLE {self.sql} APPLY (PURGE)")

    def overwrite(self) -> None:
        frame = self.frame(self.rng.sample(self.pool, len(self.pool) // 2))
        options = {"overwriteSchema": self.rng.choice(["true", "false"])}
        frame.write.format("delta").mode("overwrite").options(**options).save(self.root)

    def anew(self) -> None:
        shutil.rmtree(self.root)
        self.spark._jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()  # type: ignore[union-attr]
        self.create()

    def restore(self) -> None:
        version = current_version(self.root)
        assert version is not None
        history = self.spark.sql(f"DESCRIBE HISTORY {self.sql}").where("operation = 'WRITE'").collect()
        same = [row["version"] for row in history if row["version"] > version.version - 4]
        columns = self.spark.read.format("delta").load(self.root).columns
        for older in same[-1:]:
            at = self.spark.read.format("delta").option("versionAsOf", older).load(self.root).columns
            if at == columns:
                self.spark.sql(f"RESTORE TABLE {self.sql} TO VERSION AS OF {older}")

    def switch_feed(self) -> None:
        value = self.rng.choice(["true", "false"])
        self.spark.sql(f"ALTER TABLE {self.sql} SET TBLPROPERTIES ('delta.enableChangeDataFeed' = '{value}')")

    def add_column(self) -> None:
        self.number += 1
        name, kind = f"new{self._space}{self.number}", self.rng.choice([*VALUE_TYPES])
        self.spark.sql(f"ALTER TABLE {self.sql} ADD COLUMNS (`{name}` {kind} AFTER `{next(iter(self.keys))}`)")
        self.values[name] = kind

    def drop_column(self) -> None:
        if len(self.values) > 1:
            name = self.rng.choice([*self.values])
            self.spark.sql(f"ALTER TABLE {self.sql} DROP COLUMN `{name}`")
            del self.values[name]

    def empty_column(self) -> None:
        """Another column of the same name and type."""
        if len(self.values) > 1:
            name, kind = self.rng.choice([*self.values.items()])
            self.spark.sql(f"ALTER TABLE {self.sql} DROP COLUMN `{name}`")
            self.spark.sql(f"ALTER TABLE {self.sql} ADD COLUMNS (`{name}` {kind})")
            del self.values[name]
            self.values[name] = kind

    def rename_column(self) -> None:
        names = [*self.values]
        name = self.rng.choice(names)
        self.number += 1
        self.spark.sql(f"ALTER TABLE {self.sql} RENAME COLUMN `{name}` TO `renamed{self._space}{self.number}`")
        self.values = {
            f"renamed{self._space}{self.number}" if old == name else old: kind for old, kind in self.values.items()
        }


def plain(value: Any) -> Any:
    return bytes(value) if isinstance(value, bytearray) else value


def plain_key(key: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(plain(value) for value in key)


def schema_of(columns: dict[str, str]) -> StructType:
    ddl = ", ".join(f"`{name}` {kind.replace('varchar(90)', 'string')}" for name, kind in columns.items())
    return cast("StructType", StructType.fromDDL(ddl))


def batch(dimension: Dimension) -> DataFrame:
    rng = dimension.rng
    kinds = {key: WIDER.get(kind, kind) if rng.random() < 0.3 else kind for key, kind in dimension.keys.items()}
    keys = [list(rng.choice(dimension.pool)) for _ in range(30)]
    for key in keys[:3]:
        key[rng.randrange(len(key))] = None
    rows = [(number, *key) for number, key in enumerate(keys)]
    frame = dimension.spark.createDataFrame(rows, schema_of({"row": "int", **kinds})).repartition(rng.randint(1, 3))
    return frame.selectExpr("*", *rng.sample(FURTHER, 2))


def said(frame: DataFrame) -> list[str]:
    return sorted(repr(row) for row in frame.collect())


def compare(dimension: Dimension, settings: Settings, joins: CachedJoins) -> None:
    version = current_version(dimension.root)
    assert version is not None
    pin = Pin(version.table_id, version.version)
    frame = batch(dimension)
    rng = dimension.rng
    columns = rng.choice([None, rng.sample([*dimension.values], rng.randint(1, len(dimension.values)))])
    picks = {"pick": "latest", "latest_by": "seq"} if dimension.latest else {}
    for how in rng.sample(HOWS, 2):
        step = {"table": TABLE, "on": [*dimension.keys], "how": how, "columns": columns, **picks}
        want = join(dimension.spark, settings, frame, Join.model_validate(step), pin, joins)
        got = join(dimension.spark, settings, frame, Join.model_validate({**step, "cached": True}), pin, joins)
        assert got.columns == want.columns
        types = [(f.name, f.dataType.simpleString()) for f in want.schema]
        assert [(f.name, f.dataType.simpleString()) for f in got.schema] == types
        assert said(got) == said(want), (how, columns)


def seeds(usual: str) -> list[int]:
    first, _, last = os.environ.get("SLUICE_CACHE_SEEDS", usual).partition("-")
    return list(range(int(first), int(last or first) + 1))


@pytest.mark.parametrize("seed", seeds("1"))
def test_cached_step_equals_the_uncached_one(spark: SparkSession, tmp_path: Path, seed: int) -> None:
    settings = load_settings({"SLUICE_HOME": str(tmp_path)}, tmp_path / "none.yaml")
    dimension = Dimension(spark, settings, random.Random(seed))
    log.info("%s %s latest=%s", dimension.columns, dimension.features, dimension.latest)
    for _ in range(2 if seeds("1") == [1] else 4):
        joins = CachedJoins(spark, settings, lambda: PLENTY)
        compare(dimension, settings, joins)
        figures = joins.figures()
        log.info("%s", [(f.refreshes, f.rebuild_reasons, f.fallback_reasons) for f in figures])
        joins.close()
        for _ in range(dimension.rng.randint(1, 3)):
            dimension.change()
