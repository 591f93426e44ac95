"""What is known of whole segments is what their columns add up to, less what is gone."""

from __future__ import annotations

import pyarrow as pa
import pytest
from pyroaring import BitMap64
from unit.query.test_skipping import segment_of

from aurora_actors.messages.query import AggregateFunction, AggregateSpec, GroupSpec
from aurora_actors.query import segment_match
from aurora_actors.query.aggregate_facts import known_increments
from aurora_actors.query.aggregate_states import Budget
from aurora_actors.query.aggregate_terms import Terms
from aurora_actors.query.segment_match import match_table
from aurora_actors.schema.types import (
    CollectionDefinition,
    FieldDefinition,
    FieldType,
    Kind,
)

A = AggregateFunction
FUNCTIONS = [A.COUNT, A.SUM, A.AVG, A.MIN, A.MAX]


def results(kind: Kind, values, gone, functions=FUNCTIONS):
    """The results that are known of a column without some places, or ``None``."""
    field = FieldDefinition(FieldType(kind))
    definition = CollectionDefinition("c", {"v": field})
    specs = [AggregateSpec(each.value, each, "v") for each in functions]
    terms = Terms(
        definition, GroupSpec(aggregates=[AggregateSpec("n", A.COUNT), *specs])
    )
    segment = segment_of(kind, values)
    known = known_increments(
        segment, terms, len(gone), lambda _field: [values[at] for at in gone]
    )
    if known is None:
        return None
    states = [make() for make in terms.makers(Budget(1 << 20))]
    for state, increment in zip(states, known, strict=True):
        state.absorb(increment)
    return terms.results(states)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (Kind.INT, [1, 5, None, 3, 2**61, 2**61, 2**62]),
        (Kind.FLOAT, [0.1, 0.2, None, 1e16, 0.3, -1e16, 5e-324, -7.5, 1e17]),
    ],
)
def test_what_is_gone_is_taken_off_again(kind, values):
    low, high = (0, 6) if kind is Kind.INT else (5, 8)
    for gone in (
        [],
        [2],
        [1, 3],
        [at for at in range(len(values)) if at not in {low, high}],
    ):
        left = [v for at, v in enumerate(values) if at not in gone]
        assert results(kind, values, gone) == results(kind, left, [])
        assert results(kind, values, gone) is not None


def test_an_extreme_that_is_gone_is_not_known():
    assert results(Kind.INT, [1, 2, 3], [0]) is None
    assert results(Kind.INT, [1, 2, 3], [0], [A.SUM, A.MAX]) == [2, 5, 3]
    assert results(Kind.FLOAT, [0.0, 1.0, 1.0], [1], [A.MAX]) is None
    assert results(Kind.INT, [1, None], [0]) == [1, 0, 0, None, None, None]
    assert results(Kind.INT, [1, 2], [0, 1]) == [0, 0, 0, None, None, None]


def test_other_functions_are_not_known():
    for function in (A.STDDEV, A.COUNT_DISTINCT, A.FIRST, A.LAST):
        assert results(Kind.INT, [1, 2], [], [function]) is None
    assert results(Kind.FLOAT, [1.0, 2.0**480], [], [A.SUM]) is None


@pytest.mark.parametrize("few", [0, 2000])
def test_rows_that_are_gone_are_left_out(monkeypatch, few):
    monkeypatch.setattr(segment_match, "FEW_GONE", few)
    rows = [2, 3, 5, 8, 13, 21, 34, 55, 89, 144]
    table = pa.table({"#row": pa.array(rows, pa.uint64())})
    segment = segment_of(Kind.INT, rows)
    for gone in ([2], [144], [3, 8, 55], rows, [1, 4, 200]):
        matched = match_table(table, segment, True, {}, BitMap64(gone))
        assert [*matched.rows()] == [row for row in rows if row not in gone]
        assert matched.count == len(matched.rows())
