"""What is known of a segment's columns says no more of its rows than is true."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from itertools import product
from uuid import UUID

import pyarrow as pa
import pytest

from aurora_actors.indexing.arrow import column_array, column_facts, segment_table
from aurora_actors.indexing.segments import Segment, decode_segment, encode_segment
from aurora_actors.query.compile import compile_predicate
from aurora_actors.query.predicate import And, Compare, Not, Or
from aurora_actors.query.skipping import left_of
from aurora_actors.schema.types import Kind

MOMENT = datetime(2024, 2, 29, 12, tzinfo=UTC)
COLUMNS = [
    (Kind.INT, [1, 2, 3]),
    (Kind.INT, [2, None, 2]),
    (Kind.INT, [2, 2]),
    (Kind.INT, [None, None]),
    (Kind.INT, [2**63 - 1, 2**63 - 1]),
    (Kind.FLOAT, [-0.0, 0.0]),
    (Kind.FLOAT, [1.5, 2.0, None]),
    (Kind.FLOAT, [1.5, 2.0]),
    (Kind.STRING, ["a", "b"]),
    (Kind.STRING, ["b", "b"]),
    (Kind.BOOL, [True, True]),
    (Kind.BOOL, [True, False]),
    (Kind.UUID, [UUID(int=1), UUID(int=2)]),
    (Kind.BYTES, [b"a", b"b"]),
    (Kind.DATE, [date(2024, 2, 29)] * 2),
    (Kind.DATETIME, [MOMENT, MOMENT]),
    (Kind.TIME, [time(1), time(2)]),
]
OPERANDS = [0, 1, 2, 3, 1.5, 2.5, 2**63 - 1, 2.0**63, True, False, "a", "b", "c"]
OPERANDS += [str(UUID(int=1)), UUID(int=1), b"a", date(2024, 2, 29), MOMENT, time(1)]
OPERANDS += [None]
RANGES = ["eq", "ne", "gt", "gte", "lt", "lte"]


def segment_of(kind: Kind, values) -> Segment:
    array, opaque = column_array(kind, values)
    assert not opaque
    facts = column_facts(segment_table(range(len(values)), {"v": array}))
    segment = Segment(
        part=1,
        number=1,
        rows=len(values),
        first=0,
        last=len(values) - 1,
        size=0,
        crc=0,
        columns=facts,
    )
    return decode_segment(encode_segment(segment))


def check(predicate, segment: Segment, values) -> None:
    left = left_of(predicate, segment)
    matches = compile_predicate(predicate)
    expected = [matches({"v": value}, "") for value in values]
    if isinstance(left, bool):
        assert expected == [left] * len(values), predicate
    else:
        found = compile_predicate(left)
        assert [found({"v": value}, "") for value in values] == expected


@pytest.mark.parametrize(("kind", "values"), COLUMNS)
def test_a_predicate_with_less_in_it_means_the_same(kind, values):
    segment = segment_of(kind, values)
    terms = [Compare(op, "v", value) for op, value in product(RANGES, OPERANDS)]
    terms += [Compare("is_null", "v", None), Compare("is_not_null", "v", None)]
    terms += [Compare("between", "v", list(p)) for p in product(OPERANDS[:8], repeat=2)]
    for term in terms:
        check(term, segment, values)
        check(Not(term), segment, values)
    for one, other in zip(terms, terms[7:] + terms[:7], strict=True):
        check(And([one, other]), segment, values)
        check(Or([one, other]), segment, values)


def test_terms_that_all_rows_fulfil_are_left_out():
    segment = segment_of(Kind.FLOAT, [1.5, 2.0])
    sure, open_ = Compare("gt", "v", 1), Compare("lt", "v", 2)
    assert left_of(And([sure, open_]), segment) == open_
    assert left_of(Or([Not(sure), open_]), segment) == open_
    assert left_of(And([]), segment) is True
    assert left_of(Or([]), segment) is False
    assert left_of(None, segment) is True
    assert left_of(Compare("gt", "w", 1), segment) == Compare("gt", "w", 1)


# ------------------------------------------------------------------ sums
@pytest.mark.parametrize(
    "values",
    [
        [],
        [None, None],
        [1, -5, None],
        [2**63 - 1] * 5,
        [-(2**63)] * 5,
        [2**62, -(2**62), -1],
    ],
)
def test_the_sum_of_integers_is_kept_however_large(values):
    values = [*values, 0]
    facts = segment_of(Kind.INT, values).columns[0]
    assert facts.total == sum(value for value in values if value is not None)


def test_no_sum_is_kept_of_huge_floats_or_of_what_is_no_number():
    assert segment_of(Kind.FLOAT, [1.0, 2.0**480]).columns[0].parts is None
    assert segment_of(Kind.FLOAT, [0.5, None]).columns[0].parts == (0.5,)
    assert segment_of(Kind.FLOAT, [None]).columns[0].parts == ()
    facts = segment_of(Kind.STRING, ["a"]).columns[0]
    assert facts.total is None
    assert facts.parts is None


def test_columns_in_several_chunks_have_facts_too():
    column = pa.chunked_array([[0.1, 0.2], [None, 0.3]])
    (facts,) = column_facts(pa.table({"v": column}))
    assert (facts.nulls, facts.low, facts.high) == (1, 0.1, 0.3)
    assert facts.parts is not None
    assert sum(facts.parts) == pytest.approx(0.6)
