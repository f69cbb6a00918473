"""Is each number of the demo's gold tables right? Another engine says: DuckDB, over the landing files, all at once.

    python -m tools.demo_check

It reads neither bronze nor silver, so a row that was lost, doubled or joined wrongly on the way shows here.
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import duckdb
from deltalake import DeltaTable
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from include.config.errors import SluiceError
from include.config.exit_codes import ExitCode
from include.config.settings import Settings, load_settings
from tools.demo_data import landing_folder

SHOWN = 5
# Sums of DOUBLE depend on the order of addition in their last bits.
ROUNDING = 1e-9

SILVER = """
CREATE TABLE landed AS SELECT * FROM read_json('{landing}/flights/*.json', format = 'newline_delimited', columns = {{
  time_hour: 'TIMESTAMPTZ', minute: 'BIGINT', origin: 'VARCHAR', dest: 'VARCHAR', carrier: 'VARCHAR', flight: 'BIGINT',
  tailnum: 'VARCHAR', distance: 'BIGINT', air_time: 'BIGINT', dep_time: 'BIGINT', dep_delay: 'BIGINT',
  arr_delay: 'BIGINT'}});
CREATE TABLE weather AS SELECT * FROM read_csv('{landing}/weather/*.csv', nullstr = 'NA');
CREATE TABLE flights AS
SELECT DISTINCT ON (carrier, flight, origin, dest, scheduled_at)
  time_hour, time_hour + to_minutes(minute) AS scheduled_at, landed.origin, dest, airports.name AS destination,
  carrier, airlines.name AS airline, flight, tailnum, year AS built, manufacturer, model, seats, distance, air_time,
  dep_delay, arr_delay, dep_time IS NULL AS cancelled, temp, wind_speed, precip, visib
FROM landed
LEFT JOIN read_csv('{landing}/airlines/*.csv', nullstr = 'NA') AS airlines USING (carrier)
LEFT JOIN read_csv('{landing}/airports/*.csv', nullstr = 'NA') AS airports ON landed.dest = airports.faa
LEFT JOIN read_csv('{landing}/planes/*.csv', nullstr = 'NA') AS planes USING (tailnum)
LEFT JOIN (SELECT origin, time_hour, temp, wind_speed, precip, visib FROM weather) AS weather
  USING (origin, time_hour)
WHERE carrier IS NOT NULL AND time_hour IS NOT NULL AND minute BETWEEN 0 AND 59
  AND coalesce(abs(dep_delay), 0) < 10000 AND coalesce(abs(arr_delay), 0) < 10000;
CREATE MACRO epoch() AS TIMESTAMPTZ '1970-01-01 00:00:00+00'
"""


@dataclass(frozen=True)
class Expected:
    """What a table must hold.

    `close` are columns of DOUBLE, compared to ROUNDING; `between` are estimates by a sketch: the query has the least
    and the greatest value that its error bound allows, as `<name>_least` and `<name>_most`. All others are equal.
    """

    query: str
    keys: tuple[str, ...]
    close: tuple[str, ...] = ()
    between: tuple[str, ...] = ()


EXPECTED: Mapping[str, Expected] = {
    "silver.flights": Expected(
        "SELECT * FROM flights",
        ("carrier", "flight", "origin", "dest", "scheduled_at"),
    ),
    "gold.departures_hourly": Expected(
        """
        SELECT time_hour AS window_start, time_hour + INTERVAL 1 hour AS window_end, origin, count(*) AS flights,
          count_if(cancelled) AS cancelled, sum(dep_delay) / count(dep_delay) AS mean_delay,
          stddev(dep_delay) AS delay_spread, max(dep_delay) AS worst_delay,
          quantile_disc(dep_delay, 0.87) AS p90_delay_least, quantile_disc(dep_delay, 0.93) AS p90_delay_most,
          floor(count(DISTINCT tailnum) * 0.95) AS aircraft_least,
          ceil(count(DISTINCT tailnum) * 1.05) AS aircraft_most,
          max({'delay': dep_delay, 'flight': flight}) FILTER (WHERE dep_delay IS NOT NULL).flight AS worst_flight
        FROM flights GROUP BY time_hour, origin""",
        ("window_start", "origin"),
        close=("mean_delay", "delay_spread"),
        between=("p90_delay", "aircraft"),
    ),
    "gold.departures_sliding": Expected(
        """
        SELECT time_bucket(INTERVAL 2 hours, time_hour, epoch()) - to_hours(2 * back) AS window_start,
          window_start + INTERVAL 6 hours AS window_end, origin, count(*) AS flights,
          sum(dep_delay) / count(dep_delay) AS mean_delay, sum(seats) AS seats
        FROM flights, range(3) AS backs(back) WHERE NOT cancelled GROUP BY ALL""",
        ("window_start", "origin"),
        close=("mean_delay",),
    ),
    "gold.aircraft_sessions": Expected(
        """
        WITH begun AS (
          SELECT *, coalesce(scheduled_at - lag(scheduled_at) OVER (PARTITION BY tailnum ORDER BY scheduled_at)
                    > INTERVAL 12 hours, true) AS first
          FROM flights WHERE tailnum IS NOT NULL AND NOT cancelled),
        numbered AS (
          SELECT *, sum(first::INT) OVER (PARTITION BY tailnum ORDER BY scheduled_at) AS number FROM begun)
        SELECT min(scheduled_at) AS window_start, max(scheduled_at) + INTERVAL 12 hours AS window_end, tailnum,
          count(*) AS flights, sum(distance) AS miles, min({'at': scheduled_at, 'value': origin}).value AS first_from,
          max({'at': scheduled_at, 'value': dest}).value AS last_to
        FROM numbered GROUP BY tailnum, number""",
        ("window_start", "tailnum"),
    ),
    "gold.aircraft_features": Expected(
        """
        SELECT epoch() AS window_start, epoch() + to_days(36525) AS window_end, tailnum, count(*) AS flights,
          count_if(cancelled) AS cancelled, count(*) FILTER (dep_delay > 15) AS late, sum(distance) AS miles,
          sum(air_time) AS minutes_in_air, count(DISTINCT dest) AS destinations, count(DISTINCT carrier) AS carriers,
          sum(dep_delay) / count(dep_delay) AS mean_delay, stddev(dep_delay) AS delay_spread,
          median(dep_delay) AS median_delay, max(dep_delay) AS worst_delay,
          sum(dep_delay) FILTER (WHERE precip > 0) / count(dep_delay) FILTER (WHERE precip > 0) AS mean_delay_in_rain,
          min(scheduled_at) AS first_seen, max(scheduled_at) AS last_seen,
          max({'at': scheduled_at, 'value': dest}).value AS last_seen_going_to, max(seats) AS seats,
          max(built) AS built
        FROM flights WHERE tailnum IS NOT NULL GROUP BY tailnum""",
        ("window_start", "tailnum"),
        close=("mean_delay", "delay_spread", "median_delay", "mean_delay_in_rain"),
    ),
    # A flight without weather is there once later weather is: before that it may still come.
    "gold.late_departures": Expected(
        """
        SELECT scheduled_at, flights.origin, dest, carrier, flight, tailnum, dep_delay, humid, wind_gust, pressure,
          weather.visib
        FROM flights LEFT JOIN weather ON weather.origin = flights.origin
          AND weather.time_hour BETWEEN scheduled_at - INTERVAL 59 minutes AND scheduled_at
        WHERE dep_delay >= 60
          AND (weather.origin IS NOT NULL OR scheduled_at < (SELECT max(time_hour) FROM weather))""",
        ("carrier", "flight", "origin", "dest", "scheduled_at"),
    ),
}


@dataclass(frozen=True)
class Checked:
    """A table and what was compared. `wrong` names cells, and rows that are in one of the two only."""

    table: str
    rows: int
    equal: int
    close: int
    estimates: int
    wrong: int
    examples: tuple[str, ...] = field(default=())


class Differs(SluiceError):
    """Raised when a table does not hold what DuckDB finds in the landing files."""

    exit_code = ExitCode.DEFECT


def check_tables(settings: Settings) -> list[Checked]:
    """Compare each table."""
    with duckdb.connect() as engine:
        engine.execute("SET TimeZone = 'UTC'").fetchall()
        for statement in SILVER.format(landing=landing_folder(settings)).split(";"):
            engine.execute(statement).fetchall()
        return [_check(engine, settings, table, expected) for table, expected in EXPECTED.items()]


def _check(engine: duckdb.DuckDBPyConnection, settings: Settings, table: str, expected: Expected) -> Checked:
    engine.register("stored", DeltaTable(settings.table_root(table)).to_pyarrow_table())
    engine.execute("CREATE OR REPLACE TABLE found AS SELECT *, true AS is_found FROM stored").fetchall()
    engine.execute(f"CREATE OR REPLACE TABLE wanted AS SELECT *, true AS is_wanted FROM ({expected.query})").fetchall()
    columns = _columns(engine, expected)
    same = " AND ".join(f"f.{key} IS NOT DISTINCT FROM w.{key}" for key in expected.keys)
    engine.execute(f"CREATE OR REPLACE TABLE pairs AS SELECT f, w FROM found f FULL JOIN wanted w ON {same}").fetchall()
    rows = _one(engine, "SELECT count(*) FROM found")
    both = _one(engine, "SELECT count(*) FROM pairs WHERE f.is_found AND w.is_wanted")
    examples = list(_unpaired(engine, expected))
    wrong = _one(engine, "SELECT count(*) FROM pairs WHERE f.is_found IS NULL OR w.is_wanted IS NULL")
    counts = {"equal": 0, "close": 0, "between": 0}
    for name, kind in columns.items():
        fails = f"f.is_found AND w.is_wanted AND NOT coalesce({_holds(name, kind)}, false)"
        failing = _one(engine, f"SELECT count(*) FROM pairs WHERE {fails}")
        counts[kind] += both - failing
        wrong += failing
        examples += _cells(engine, expected, name, kind, fails) if failing else []
    return Checked(table, rows, counts["equal"], counts["close"], counts["between"], wrong, tuple(examples[:SHOWN]))


def _columns(engine: duckdb.DuckDBPyConnection, expected: Expected) -> dict[str, str]:
    """How each column is compared."""
    names = [row[0] for row in engine.execute("DESCRIBE wanted").fetchall() if row[0] != "is_wanted"]
    plain = [name for name in names if name.rpartition("_")[0] not in expected.between]
    kinds = {name: "close" if name in expected.close else "equal" for name in plain}
    return kinds | dict.fromkeys(expected.between, "between")


def _holds(name: str, kind: str) -> str:
    """The SQL condition that the column is right in a pair."""
    if kind == "between":
        return f"f.{name} BETWEEN w.{name}_least AND w.{name}_most OR (f.{name} IS NULL AND w.{name}_least IS NULL)"
    equal = f"f.{name} IS NOT DISTINCT FROM w.{name}"
    if kind == "equal":
        return equal
    return f"{equal} OR abs(f.{name} - w.{name}) <= {ROUNDING} * greatest(1, abs(w.{name}))"


def _unpaired(engine: duckdb.DuckDBPyConnection, expected: Expected) -> Iterator[str]:
    for one, other, what in (("f.is_found", "w.is_wanted", "too many"), ("w.is_wanted", "f.is_found", "missing")):
        keys = ", ".join(f"{one[0]}.{key}" for key in expected.keys)
        query = f"SELECT {keys} FROM pairs WHERE {one} AND {other} IS NULL LIMIT {SHOWN}"
        for row in engine.execute(query).fetchall():
            yield f"{what}: {', '.join(map(str, row))}"


def _cells(engine: duckdb.DuckDBPyConnection, expected: Expected, name: str, kind: str, fails: str) -> Iterator[str]:
    keys = ", ".join(f"f.{key}" for key in expected.keys)
    wanted = f"w.{name}_least" if kind == "between" else f"w.{name}"
    query = f"SELECT {keys}, f.{name}, {wanted} FROM pairs WHERE {fails} LIMIT {SHOWN}"
    for *row, found, due in engine.execute(query).fetchall():
        yield f"{', '.join(map(str, row))}: {name} is {found}, not {due}"


def _one(engine: duckdb.DuckDBPyConnection, query: str) -> int:
    return int(engine.execute(query).fetchall()[0][0])


def print_checks(console: Console, checks: list[Checked]) -> None:
    """A line for each table.

    Raises:
        Differs: a table is wrong; with examples.
    """
    table = Table(title="The same by DuckDB over the landing files", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("table", no_wrap=True)
    for heading in ("rows", "numbers equal", "to 9 digits", "estimates in bounds", "wrong"):
        table.add_column(heading, justify="right")
    for check in checks:
        figures = (check.rows, check.equal, check.close, check.estimates, check.wrong)
        table.add_row(check.table, *(f"{figure:,}" for figure in figures))
    console.print(table)
    if wrong := [check for check in checks if check.wrong]:
        examples = "\n".join(f"  {check.table}: {example}" for check in wrong for example in check.examples)
        count = sum(check.wrong for check in wrong)
        raise Differs(
            f"{count:,} rows or numbers differ from what the landing files say:\n{examples}",
            remedy="Files that were changed or removed after they were loaded are in the tables as they were; "
            "otherwise please report this.",
        )


def main() -> int:
    """Check what stands there; ends with the error's exit code."""
    try:
        print_checks(Console(), check_tables(load_settings()))
    except SluiceError as error:
        print(error, file=sys.stderr)
        return int(error.exit_code)
    return 0


if __name__ == "__main__":
    sys.exit(main())
