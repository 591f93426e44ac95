"""Reductions by group are the same whether rows are sorted or hashed."""

from __future__ import annotations

from random import Random

import pyarrow as pa
import pytest

from aurora_actors.messages.query import AggregateFunction
from aurora_actors.query import aggregate_reduce
from aurora_actors.query.aggregate_increments import Sums
from aurora_actors.query.aggregate_reduce import Reduction
from aurora_actors.query.aggregate_states import SumState
from aurora_actors.schema.types import Kind

ROWS = 500


def results(codes, most: int, columns) -> dict[int, list[object]]:
    """What each group has of each column, after all that can be asked."""
    reduction = Reduction(len(codes), codes, most)
    asked = [reduction.count_all()]
    for column in columns:
        asked.append(reduction.count(column))
        if not pa.types.is_timestamp(column.type):
            asked.append(reduction.sum(column))
        asked += [reduction.least(column), reduction.greatest(column)]
    found = reduction.run()
    assert reduction.groups == len(found)
    return dict(
        zip(found, zip(*[answer() for answer in asked], strict=True), strict=True)
    )


@pytest.mark.parametrize("code_type", [pa.int32(), pa.int64(), pa.int8()])
@pytest.mark.parametrize("groups", [1, 2, 7, 100])
def test_sorting_rows_by_group_changes_no_result(monkeypatch, code_type, groups):
    chance = Random(groups)
    # Not every code occurs.
    codes = pa.array([chance.randrange(groups) | 1 for _ in range(ROWS)], code_type)
    integers = [chance.choice([None, 1, -7, 2**40]) for _ in range(ROWS)]
    floats = [chance.choice([None, 0.5, -0.25, 8.0]) for _ in range(ROWS)]
    columns = [
        pa.array(integers, pa.int64()),
        pa.array(floats, pa.float64()),
        pa.array([None] * ROWS, pa.int64()),
        pa.array(integers, pa.timestamp("us", "UTC")),
        pa.array([None, *integers], pa.int64())[1:],
    ]
    monkeypatch.setattr(aggregate_reduce, "_SORTED_ROWS", 0)
    by_sorting = results(codes, groups + 2, columns)
    monkeypatch.setattr(aggregate_reduce, "_SORTED_ROWS", ROWS)
    assert results(codes, groups + 2, columns) == by_sorting
    assert sum(found[0] for found in by_sorting.values()) == ROWS  # type: ignore[misc]  # a count


@pytest.mark.parametrize(
    ("wholes", "parts", "totals"),
    [
        ([3, -(2**70)], None, [3, -(2**70)]),
        ((), [], [0.0, 0.0]),
        ((), [[-0.0, 1.5]], [0.0, 1.5]),
        ((), [[1.0, -0.0], [1e-17, -0.0]], [1.0, 0.0]),
        ((), [[1e16, 1.0], [1.0, 1.0], [1e-9, 1.0]], [1e16 + 2, 3.0]),
    ],
)
def test_sums_of_many_groups_are_those_of_each(wholes, parts, totals):
    counts = [2, 3]
    sums = Sums(counts, wholes=wholes, parts=parts)
    assert [*map(repr, sums.totals())] == [*map(repr, totals)]
    assert len(sums) == 2
    for at, increment in enumerate(sums):
        for each in (increment, sums[at]):
            state = SumState(Kind.INT if parts is None else Kind.FLOAT)
            state.absorb(each)
            assert repr(state.result(AggregateFunction.SUM)) == repr(totals[at])
            assert state.result(AggregateFunction.AVG) == totals[at] / counts[at]
