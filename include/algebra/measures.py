"""The algebra of measures: what is kept of each (its state), how two states become one, what the state shows. Pure.

A state is a value, or several, that can be merged in any order and grouping with the same result. A measure that is
its own state (count, sum, min, max) is kept in its own column; the states of the others stand in the column `_state`.

Equal to the batch query, bit for bit: counts, sums of whole and decimal numbers, min, max, averages and variances of
them, exact percentiles, first, last, min_by, max_by. Sums of DOUBLE depend on the order of addition in their last bits.
Of rows that are equal in time (or in the second argument of min_by and max_by) the least value is first and the
greatest is last.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from include.algebra.calls import Call, parse_call

STATE = "_state"
TIME = "__sluice_time"
Merge = Callable[[str, str], str]
Result = Callable[[Mapping[str, str]], str]

# Whole numbers whose squares and their sums are added exactly; wider decimals are taken as DOUBLE.
EXACT_DIGITS = {"tinyint": 3, "smallint": 5, "int": 10, "bigint": 19}
_SQUARE_DIGITS = 19
_HLL_TYPES = ("int", "bigint", "string", "binary")


@dataclass(frozen=True)
class Field:
    """A part of a state: the aggregate over rows, the aggregate over states (`{}` is the state), and the merge of two.

    All are SQL; `name` is unique among the fields of its measure.
    """

    name: str
    of_rows: str
    of_states: str
    merge: Merge


@dataclass(frozen=True)
class Measure:
    """A column of a window table. `result` takes the SQL of each field, by name, and gives that of the value."""

    name: str
    fields: tuple[Field, ...]
    result: Result
    plain: bool = False

    def column(self, field: Field, row: str) -> str:
        """Where the field stands in a row of the table, as SQL; `row` is the table's alias."""
        return f"{row}.{quoted(self.name)}" if self.plain else f"{row}.{STATE}.{quoted(self.key(field))}"

    def key(self, field: Field) -> str:
        """The field's name among all fields of the table's `_state`."""
        return self.name if self.plain else f"{self.name}__{field.name}"


def measure(name: str, text: str, type_of: Callable[[str], str]) -> Measure:
    """The measure that `text` describes; `type_of` gives the SQL type of an expression over the rows.

    Raises:
        ValueError: it is no aggregate that can be merged.
    """
    call = parse_call(text)
    build = _BUILDERS.get("count_distinct" if call.distinct and call.function == "count" else call.function)
    if build is None:
        raise ValueError(f"{call.function} cannot be merged; known: {', '.join(FUNCTIONS)}")
    if call.distinct and call.function != "count":
        raise ValueError(f"DISTINCT goes with count only, not with {call.function}")
    return build(name, call, type_of)


def quoted(name: str) -> str:
    """A column name as SQL."""
    return "`" + name.replace("`", "``") + "`"


def _where(call: Call, aggregate: str) -> str:
    return aggregate if call.where is None else f"{aggregate} FILTER (WHERE {call.where})"


def _arity(call: Call, count: int) -> tuple[str, ...]:
    if len(call.arguments) != count:
        raise ValueError(f"{call.function} takes {count} argument{'s' * (count != 1)}, not {len(call.arguments)}")
    return call.arguments


def _add(one: str, other: str) -> str:
    return f"coalesce({one} + {other}, {one}, {other})"


def _least(one: str, other: str) -> str:
    return f"least({one}, {other})"


def _greatest(one: str, other: str) -> str:
    return f"greatest({one}, {other})"


def _own(name: str, of_rows: str, of_states: str, merge: Merge) -> Measure:
    """A measure that is its own state."""
    return Measure(name, (Field("value", of_rows, of_states, merge),), lambda fields: fields["value"], plain=True)


def _sum_field(name: str, of_rows: str) -> Field:
    return Field(name, of_rows, "sum({})", _add)


def _count(name: str, call: Call, _type_of: Callable[[str], str]) -> Measure:
    argument = ", ".join(call.arguments)
    if not argument:
        raise ValueError("count takes an argument: count(*)")
    return _own(name, _where(call, f"count({argument})"), "sum({})", _add)


def _count_if(name: str, call: Call, _type_of: Callable[[str], str]) -> Measure:
    return _own(name, _where(call, f"count_if({_arity(call, 1)[0]})"), "sum({})", _add)


def _count_distinct(name: str, call: Call, _type_of: Callable[[str], str]) -> Measure:
    """Exact: the state holds each value."""
    of_rows = _where(call, f"collect_set({_arity(call, 1)[0]})")
    field = Field("set", of_rows, "array_distinct(flatten(collect_list({})))", lambda t, s: f"array_union({t}, {s})")
    return Measure(name, (field,), lambda fields: f"CAST(size({fields['set']}) AS BIGINT)")


def _approx_count_distinct(name: str, call: Call, type_of: Callable[[str], str]) -> Measure:
    argument = _arity(call, 1)[0]
    if type_of(argument) not in _HLL_TYPES:
        argument = f"CAST({argument} AS STRING)"
    field = Field(
        "hll", _where(call, f"hll_sketch_agg({argument})"), "hll_union_agg({})", lambda t, s: f"hll_union({t}, {s})"
    )
    return Measure(name, (field,), lambda fields: f"hll_sketch_estimate({fields['hll']})")


def _sum(name: str, call: Call, _type_of: Callable[[str], str]) -> Measure:
    return _own(name, _where(call, f"sum({_arity(call, 1)[0]})"), "sum({})", _add)


def _extreme(aggregate: str, merge: Merge) -> "Builder":
    def build(name: str, call: Call, _type_of: Callable[[str], str]) -> Measure:
        return _own(name, _where(call, f"{aggregate}({_arity(call, 1)[0]})"), f"{aggregate}({{}})", merge)

    return build


def _avg(name: str, call: Call, _type_of: Callable[[str], str]) -> Measure:
    argument = _arity(call, 1)[0]
    fields = (
        _sum_field("sum", _where(call, f"sum({argument})")),
        _sum_field("count", _where(call, f"count({argument})")),
    )
    return Measure(name, fields, lambda of: f"{of['sum']} / nullif({of['count']}, 0)")


def _variance(degrees: int, *, root: bool) -> "Builder":
    """`degrees` are taken from the number of values: 1 for a sample, 0 for a population."""

    def build(name: str, call: Call, type_of: Callable[[str], str]) -> Measure:
        argument = _arity(call, 1)[0]
        digits = EXACT_DIGITS.get(type_of(argument))
        fields, squares = _exact_squares(call, argument) if digits is not None else _float_squares(call, argument)

        def result(of: Mapping[str, str]) -> str:
            value = f"{squares(of)} / nullif({of['count']} - {degrees}, 0)"
            return f"sqrt({value})" if root else value

        return Measure(name, fields, result)

    return build


def _exact_squares(call: Call, argument: str) -> tuple[tuple[Field, ...], Result]:
    """Count, sum and sum of squares of whole numbers, added without rounding; then the sum of squared differences."""
    exact = f"CAST({argument} AS DECIMAL({_SQUARE_DIGITS}, 0))"
    fields = (
        _sum_field("count", _where(call, f"count({argument})")),
        _sum_field("sum", f"CAST({_where(call, f'sum({exact})')} AS DECIMAL(38, 0))"),
        _sum_field("squares", f"CAST({_where(call, f'sum({exact} * {exact})')} AS DECIMAL(38, 0))"),
    )

    def squares(of: Mapping[str, str]) -> str:
        count, total, square = f"CAST({of['count']} AS DECIMAL(19, 0))", of["sum"], of["squares"]
        exactly = f"try_subtract(try_multiply({square}, {count}), try_multiply({total}, {total}))"
        nearly = f"(CAST({square} AS DOUBLE) * {of['count']} - CAST({total} AS DOUBLE) * CAST({total} AS DOUBLE))"
        return f"(greatest(CAST(coalesce({exactly}, {nearly}) AS DOUBLE), 0D) / nullif({of['count']}, 0))"

    return fields, squares


def _float_squares(call: Call, argument: str) -> tuple[tuple[Field, ...], Result]:
    """Count, mean and sum of squared differences of DOUBLE, merged as Chan, Golub and LeVeque do: with its rounding."""
    value = f"CAST({argument} AS DOUBLE)"
    count = _where(call, f"count({value})")
    spread = f"{_where(call, f'var_pop({value})')} * {count}"
    of_rows = f"named_struct('n', {count}, 'mean', {_where(call, f'avg({value})')}, 'm2', {spread})"
    nothing = "CAST(NULL AS STRUCT<n: BIGINT, mean: DOUBLE, m2: DOUBLE>)"
    folded = f"aggregate(collect_list({{}}), {nothing}, (t, s) -> {_merge_moments('t', 's')})"
    fields = (Field("moments", of_rows, folded, _merge_moments), _sum_field("count", count))
    return fields, lambda of: f"({of['moments']}).m2"


def _merge_moments(t: str, s: str) -> str:
    total, apart = f"({t}.n + {s}.n)", f"({s}.mean - {t}.mean)"
    mean = f"{t}.mean + {apart} * {s}.n / {total}"
    m2 = f"{t}.m2 + {s}.m2 + {apart} * {apart} * {t}.n * {s}.n / {total}"
    return (
        f"CASE WHEN {t} IS NULL OR {t}.n = 0 THEN {s} WHEN {s} IS NULL OR {s}.n = 0 THEN {t} "
        f"ELSE named_struct('n', {total}, 'mean', {mean}, 'm2', {m2}) END"
    )


def _exact_percentile(name: str, call: Call, _type_of: Callable[[str], str]) -> Measure:
    """Exact, between the two nearest values: the state holds all of them, sorted."""
    argument, share = (*_arity(call, 1), "0.5") if call.function == "median" else _arity(call, 2)
    of_rows = f"array_sort({_where(call, f'collect_list(CAST({argument} AS DOUBLE))')})"
    field = Field(
        "values", of_rows, "array_sort(flatten(collect_list({})))", lambda t, s: f"array_sort(concat({t}, {s}))"
    )

    def result(of: Mapping[str, str]) -> str:
        values = of["values"]
        place = f"(CAST({share} AS DOUBLE) * (size({values}) - 1))"
        low = f"get({values}, CAST(floor({place}) AS INT))"
        high = f"get({values}, CAST(ceil({place}) AS INT))"
        return f"{low} + ({high} - {low}) * ({place} - floor({place}))"

    return Measure(name, (field,), result)


def _approx_percentile(name: str, call: Call, type_of: Callable[[str], str]) -> Measure:
    argument, share = _arity(call, 2)
    kind = "bigint" if type_of(argument) in EXACT_DIGITS else "double"
    of_rows = _where(call, f"kll_sketch_agg_{kind}(CAST({argument} AS {kind.upper()}))")
    field = Field("kll", of_rows, f"kll_merge_agg_{kind}({{}})", lambda t, s: f"kll_sketch_merge_{kind}({t}, {s})")

    def result(of: Mapping[str, str]) -> str:
        sketch = of["kll"]
        return (
            f"CASE WHEN kll_sketch_get_n_{kind}({sketch}) > 0 "
            f"THEN kll_sketch_get_quantile_{kind}({sketch}, CAST({share} AS DOUBLE)) END"
        )

    return Measure(name, (field,), result)


def _by(aggregate: str, merge: Merge, order: str | None) -> "Builder":
    """The value of the row that comes first or last by `order` (None: the second argument)."""

    def build(name: str, call: Call, _type_of: Callable[[str], str]) -> Measure:
        value, by = (*_arity(call, 1), order) if order is not None else _arity(call, 2)
        pair = f"CASE WHEN ({by}) IS NOT NULL THEN named_struct('by', {by}, 'value', {value}) END"
        field = Field("row", _where(call, f"{aggregate}({pair})"), f"{aggregate}({{}})", merge)
        return Measure(name, (field,), lambda fields: f"({fields['row']}).value")

    return build


Builder = Callable[[str, Call, Callable[[str], str]], Measure]
_BUILDERS: Mapping[str, Builder] = {
    "count": _count,
    "count_if": _count_if,
    "count_distinct": _count_distinct,
    "approx_count_distinct": _approx_count_distinct,
    "sum": _sum,
    "min": _extreme("min", _least),
    "max": _extreme("max", _greatest),
    "bool_and": _extreme("min", _least),
    "every": _extreme("min", _least),
    "bool_or": _extreme("max", _greatest),
    "some": _extreme("max", _greatest),
    "avg": _avg,
    "mean": _avg,
    "stddev": _variance(1, root=True),
    "stddev_samp": _variance(1, root=True),
    "stddev_pop": _variance(0, root=True),
    "variance": _variance(1, root=False),
    "var_samp": _variance(1, root=False),
    "var_pop": _variance(0, root=False),
    "median": _exact_percentile,
    "percentile": _exact_percentile,
    "approx_percentile": _approx_percentile,
    "percentile_approx": _approx_percentile,
    "first": _by("min", _least, TIME),
    "last": _by("max", _greatest, TIME),
    "min_by": _by("min", _least, None),
    "max_by": _by("max", _greatest, None),
}
FUNCTIONS = tuple(name for name in _BUILDERS if name != "count_distinct")
