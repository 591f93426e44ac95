"""The parts of aggregates, one by one."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from random import Random

import pyarrow as pa
import pytest
from unit.query.library import Library, spec

from aurora_actors.errors import (
    InvalidFilterError,
    LimitExceededError,
    ProtocolError,
)
from aurora_actors.indexing.sums import bounds, extracted
from aurora_actors.messages.query import (
    AggregateFunction,
    AggregateSpec,
    GroupKey,
    GroupSpec,
    OrderKey,
)
from aurora_actors.query.aggregate import explain_aggregate, run_aggregate
from aurora_actors.query.aggregate_exact import ExactSum, Moments, condensed
from aurora_actors.query.aggregate_intervals import bucket_of, interval_seconds
from aurora_actors.query.aggregate_kernels import float_squares
from aurora_actors.query.aggregate_keys import Keys
from aurora_actors.query.aggregate_terms import Key
from aurora_actors.query.group_codec import (
    GroupRow,
    decode_group,
    encode_group,
    encode_groups,
)
from aurora_actors.query.predicate import Compare, encode_predicate
from aurora_actors.schema.types import Kind

A = AggregateFunction


# ------------------------------------------------------------------ sums
def test_a_sum_of_ints_does_not_overflow():
    sums = ExactSum()
    sums.take([2**63 - 1, 2**63 - 1, True, None, "1"])
    assert (sums.count, sums.total()) == (2, 2**64 - 2)


def test_a_sum_of_floats_is_rounded_once():
    values = [1e16, 1.0, -1e16, 1e-3] * 1000
    one, other = ExactSum(), ExactSum()
    one.take(values)
    for value in sorted(values):
        other.take([value])
    assert one.total() == other.total() == math.fsum(values)


def test_floats_too_large_to_be_summed_cancel():
    sums = ExactSum()
    sums.take([1.7e308, 1.7e308, -1.7e308, 1.5, -1.7e308])
    assert sums.total() == 1.5


def test_a_result_that_no_float_holds_is_refused():
    sums = ExactSum()
    sums.take([1.7e308, 1.7e308])
    with pytest.raises(LimitExceededError, match="larger than any Float"):
        sums.total()
    assert sums.mean() == 1.7e308


def test_a_condensed_sum_is_the_same_sum():
    chance = Random(1)
    values = [
        chance.uniform(-1, 1) * 10 ** chance.randrange(-30, 30) for _ in range(99)
    ]
    parts = condensed(values)
    assert sum(map(Fraction, parts)) == sum(map(Fraction, values))
    assert len(parts) < 10


def test_a_deviation_is_not_lost_to_cancellation():
    moments = Moments()
    moments.take([1e9 + 4, 1e9 + 7, 1e9 + 13, 1e9 + 16])
    assert moments.deviation() == math.sqrt(30)


@pytest.mark.parametrize("scale", [0, 10, 100])
def test_what_arrow_adds_up_is_exact(scale):
    chance = Random(scale)
    values = [
        None
        if number % 7 == 0
        else chance.gauss(0, 1) * 10 ** chance.uniform(-scale, scale)
        for number in range(5000)
    ]
    there = [value for value in values if value is not None]
    array = pa.array(values, pa.float64())
    low, high = bounds(array)
    assert (low, high) == (min(there), max(there))
    largest = max(-low, high)
    parts = extracted(array, largest)
    assert parts is not None
    found = sum((Fraction(pa.compute.sum(part).as_py()) for part in parts), Fraction(0))
    assert found == sum(map(Fraction, there))
    squares = float_squares(array, largest)
    assert squares is not None
    found = sum(
        (Fraction(pa.compute.sum(part).as_py()) for part in squares), Fraction(0)
    )
    assert found == sum(Fraction(value) ** 2 for value in there)


@pytest.mark.parametrize(
    "values", [[1.5, 2.5], [-1.5, -0.5], [-2.0, 0.0, 7.0], [-0.0], [0.0, -5e-324]]
)
def test_bounds_of_floats_are_their_least_and_greatest(values):
    assert bounds(pa.array([None, *values])) == (min(values), max(values))


# ------------------------------------------------------------------ intervals
def test_intervals_are_numbers_of_seconds():
    found = [interval_seconds(text) for text in ("1s", "15m", "1h", "2d", "1w")]
    assert found == [1, 900, 3600, 172_800, 604_800]


@pytest.mark.parametrize("text", ["", "h", "0h", "1.5h", "-1h", "1y", "1 h", 60])
def test_what_is_no_interval_is_refused(text):
    with pytest.raises(InvalidFilterError, match="is no interval"):
        interval_seconds(text)


def test_a_moment_belongs_to_the_interval_it_is_in():
    moment = datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert bucket_of(moment, 3600) == datetime(1969, 12, 31, 23, tzinfo=UTC)
    assert bucket_of(moment, 604_800) == datetime(1969, 12, 29, tzinfo=UTC)
    assert bucket_of(date(2024, 2, 29), 604_800) == date(2024, 2, 26)
    assert bucket_of(date(2024, 2, 29), 3600) is None
    assert bucket_of("2024-02-29", 3600) is None


def test_the_first_moments_there_are_have_an_interval_too():
    first = datetime.min.replace(tzinfo=UTC)
    assert bucket_of(first + timedelta(hours=1), 7 * 86_400) == first


# ------------------------------------------------------------------ keys
def test_many_keys_of_many_values_have_codes_of_their_own():
    size = 3000
    keys = [
        (Key(f"k{number}", Kind.INT, None), pa.array(range(number, number + size)))
        for number in range(7)
    ]
    found = Keys(keys)
    codes = found.codes.to_pylist()
    assert len({*codes}) == size
    assert found.shown([codes[5], codes[0]]) == [
        tuple(range(5, 12)),
        tuple(range(7)),
    ]


# ------------------------------------------------------------------ on the wire
def test_a_group_travels_as_it_is():
    row = GroupRow(
        [None, "é", datetime(2024, 1, 1, tzinfo=UTC), date(1, 1, 1)],
        [2**64, -(2**200), 1.5, 0, b"x"],
        [b"record"],
    )
    assert decode_group(encode_group(row)) == row


@pytest.mark.parametrize(
    "values",
    [[None, "é", 1.5, True], [1, -(2**63), 2**63 - 1], [2**63], [date(1, 1, 1), 0], []],
)
def test_many_groups_travel_as_each_of_them(values):
    rows = [GroupRow([each], [*values], []) for each in values] + [GroupRow((), (), ())]
    assert encode_groups(rows) == [*map(encode_group, rows)]


@pytest.mark.parametrize(
    "data", [b"", b"\x93\x90\x90", b"\xc0", b"\x93\x90\x90\x91\x01"]
)
def test_what_is_no_group_is_refused(data):
    with pytest.raises(ProtocolError):
        decode_group(data)


# ------------------------------------------------------------------ what is refused
def test_groups_that_make_no_sense_are_refused(library):
    count = AggregateSpec("n", A.COUNT)

    def refused(match, **parts):
        with (
            library.snapshot() as snapshot,
            pytest.raises(InvalidFilterError, match=match),
        ):
            run_aggregate(snapshot, spec("users"), GroupSpec(**parts))

    refused("did you mean age", aggregates=[AggregateSpec("s", A.SUM, "agee")])
    refused("has no sum", aggregates=[AggregateSpec("s", A.SUM, "name")])
    refused("has no max", aggregates=[AggregateSpec("s", A.MAX, "tags")])
    refused("max needs a field", aggregates=[AggregateSpec("s", A.MAX)])
    refused("cannot be called 'n'", aggregates=[count, count])
    refused("cannot be called 'a.b'", aggregates=[AggregateSpec("a.b", A.COUNT)])
    refused(
        "give the result another name",
        keys=[GroupKey("age")],
        aggregates=[AggregateSpec("age", A.COUNT)],
    )
    refused("by 'age' twice", keys=[GroupKey("age"), GroupKey("age")])
    refused(
        "not both",
        keys=[GroupKey("address"), GroupKey("address.city")],
        order=[OrderKey("address")],
    )
    refused("DateTime and Date", keys=[GroupKey("age", 60)])
    refused("whole days", keys=[GroupKey("born", 60)])
    refused("positive number", keys=[GroupKey("seen", 0)])
    refused("no such field", keys=[GroupKey("age")], order=[OrderKey("size")])
    refused("no id", keys=[GroupKey("age")], order=[OrderKey("id")])
    refused("a number from 0", nodes=-1)
    refused(
        "needs Int",
        keys=[GroupKey("age")],
        aggregates=[count],
        having=encode_predicate(Compare("gt", "n", "a")),
    )


# ------------------------------------------------------------------ running
def test_groups_that_take_too_much_memory_are_refused(library):
    fill(library, 500)
    group = GroupSpec(keys=[GroupKey("email")])
    with library.snapshot() as snapshot:
        aggregation = run_aggregate(snapshot, spec("users"), group, memory_limit=50_000)
        with pytest.raises(LimitExceededError, match="more than"):
            list(aggregation.steps())
        distinct = GroupSpec(aggregates=[AggregateSpec("d", A.COUNT_DISTINCT, "email")])
        aggregation = run_aggregate(
            snapshot, spec("users"), distinct, memory_limit=20_000
        )
        with pytest.raises(LimitExceededError, match="more than"):
            list(aggregation.steps())


def test_a_plan_tells_of_groups_and_documents(library):
    fill(library, 500)
    group = GroupSpec(keys=[GroupKey("age")], aggregates=[AggregateSpec("n", A.COUNT)])
    with library.snapshot() as snapshot:
        plan = explain_aggregate(snapshot, spec("users"), group)
        assert (plan.actual_rows, plan.rows_read) == (10, 500)
        assert [step.name for step in plan.steps] == [
            "document scan",
            "aggregate",
            "groups",
        ]
        counted = GroupSpec(aggregates=[AggregateSpec("n", A.COUNT)])
        plan = explain_aggregate(snapshot, spec("users"), counted)
        assert (plan.actual_rows, plan.rows_read) == (1, 0)


def test_giving_up_halfway_lets_go_of_the_snapshot(library):
    fill(library, 5000)
    group = GroupSpec(keys=[GroupKey("email")], nodes=1)
    with library.snapshot() as snapshot:
        steps = run_aggregate(snapshot, spec("users"), group).steps()
        next(steps)
        steps.close()


def test_large_results_come_in_several_chunks(library):
    fill(library, 5000)
    group = GroupSpec(keys=[GroupKey("email")], nodes=1)
    with library.snapshot() as snapshot:
        aggregation = run_aggregate(snapshot, spec("users"), group)
        chunks = [chunk for chunk in aggregation.steps() if chunk]
        assert len(chunks) > 1
        assert sum(map(len, chunks)) == aggregation.count == 5000
        keys = [decode_group(data).keys[0] for chunk in chunks for data in chunk]
        assert keys == sorted(f"u{n}@x.io" for n in range(5000))


def fill(library: Library, count: int) -> None:
    library.insert(
        "users",
        {
            f"u{n}": {"name": "A", "email": f"u{n}@x.io", "age": n % 10}
            for n in range(count)
        },
    )
