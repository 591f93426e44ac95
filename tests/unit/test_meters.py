"""Histograms of durations, and what the gateway makes of them."""

from __future__ import annotations

import math

from hypothesis import given, strategies as st

from aurora_actors.meters import BOUNDS, SIZES, Histogram, quantile


def test_nothing_is_listed_before_the_first_duration():
    assert Histogram("x_seconds").statistics() == {}


@given(st.lists(st.floats(0, 100), min_size=1, max_size=50))
def test_buckets_are_cumulative_and_the_sum_is_right(durations: list[float]):
    histogram = Histogram("x_seconds")
    for seconds in durations:
        histogram.record(seconds)
    values = histogram.statistics()
    for bound in BOUNDS:
        expected = sum(seconds <= bound for seconds in durations)
        assert values[f"x_seconds_bucket:{bound:g}"] == expected
    assert values["x_seconds_bucket:+Inf"] == values["x_seconds_count"]
    assert values["x_seconds_count"] == len(durations)
    assert math.isclose(values["x_seconds_sum"], sum(durations), abs_tol=1e-9)
    half = quantile(values, "x_seconds", 0.5)
    assert half is not None
    assert sum(seconds <= half for seconds in durations) * 2 >= len(durations)


def test_there_is_no_quantile_of_nothing():
    assert quantile({}, "x_seconds", 0.5) is None


def test_sizes_have_bounds_of_their_own():
    histogram = Histogram("x", SIZES)
    for size in (1, 3, 5_000):
        histogram.record(size)
    values = histogram.statistics()
    assert [values[f"x_bucket:{bound}"] for bound in (1, 2, 4, 4096, "+Inf")] == [
        1, 1, 2, 2, 3,
    ]  # fmt: skip
    assert (values["x_sum"], values["x_count"]) == (5_004, 3)
