"""Index keys: their order is the order of values, and equal values have equal keys."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from uuid import UUID

from hypothesis import given, settings, strategies as st

from aurora_actors.indexing.keys import (
    LONGEST_KEY,
    compound_key,
    decode_key,
    is_truncated,
    value_key,
)
from aurora_actors.indexing.ranges import Bound, between, equal_to, starting_with
from aurora_actors.schema.order import sort_key, values_equal
from aurora_actors.schema.types import Kind

TEXTS = st.one_of(
    st.text(max_size=8),
    st.text(alphabet="\0\x01aé", max_size=6),
    st.builds(
        lambda text, times: text * times,
        st.text(alphabet="\0aé", min_size=1, max_size=3),
        st.sampled_from([80, 160, 244, 245, 246, 247, 400, 491, 492, 493, 900]),
    ),
)
NUMBERS = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0, -0.0, 1, 1.0, 2**53, 2**53 + 1, float(2**53), 2**63 - 1, 0.5]),
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    NUMBERS,
    TEXTS,
    st.uuids(),
    st.datetimes(timezones=st.just(UTC)),
    st.dates(),
    st.times(),
    st.binary(max_size=6),
    st.binary(min_size=480, max_size=520),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.text(min_size=1, max_size=3), inner, max_size=3),
    ),
    max_leaves=8,
)


def in_order(left, right):
    """-1, 0 or 1 as the schema orders two values."""
    a, b = sort_key(left), sort_key(right)
    return (a > b) - (a < b)


@given(VALUES, VALUES)
@settings(max_examples=600)
def test_keys_order_as_values_do_unless_they_are_truncated(left, right):
    a, b = value_key(left), value_key(right)
    order = (a > b) - (a < b)
    if order == 0 and is_truncated(a):
        return
    assert order == in_order(left, right)


@given(VALUES, VALUES)
def test_no_key_is_the_beginning_of_another(left, right):
    a, b = value_key(left), value_key(right)
    assert a == b or not (a.startswith(b) or b.startswith(a))
    assert max(len(a), len(b)) <= LONGEST_KEY + 1


@given(st.lists(SCALARS, min_size=2, max_size=2), st.lists(SCALARS, min_size=2))
@settings(max_examples=300)
def test_compound_keys_order_by_the_first_field_then_the_next(left, right):
    right = right[:2]
    a, b = compound_key(left), compound_key(right)
    if a == b and is_truncated(a):
        return
    assert (a > b) - (a < b) == in_order(left, right)


SCALAR_KINDS = {
    bool: Kind.BOOL,
    int: Kind.INT,
    float: Kind.FLOAT,
    str: Kind.STRING,
    UUID: Kind.UUID,
    datetime: Kind.DATETIME,
    date: Kind.DATE,
    time: Kind.TIME,
    bytes: Kind.BYTES,
}


@given(SCALARS, st.integers(0, 7))
def test_a_whole_key_decodes_to_the_value_it_was_made_of(value, zeros):
    key = value_key(value)
    if is_truncated(key):
        return
    kind = SCALAR_KINDS.get(type(value), Kind.ANY)
    found = decode_key(key + bytes(zeros), kind)
    assert type(found) is type(value)
    assert values_equal(found, value)


@given(VALUES, VALUES)
def test_equal_to_finds_exactly_the_equal_values(operand, value):
    keys = equal_to(operand)
    found = keys.low <= value_key(value) < keys.high
    if keys.exact:
        assert found == values_equal(operand, value)
    elif values_equal(operand, value):
        assert found


@given(SCALARS, st.booleans(), SCALARS, st.booleans(), SCALARS)
@settings(max_examples=400)
def test_between_finds_what_lies_in_the_interval(low, with_low, high, with_high, value):
    keys = between(Bound(low, with_low), Bound(high, with_high))
    ranks = {_range_kind(low), _range_kind(high), _range_kind(value)}
    expected = len(ranks) == 1 and None not in ranks
    if expected:
        above, below = in_order(value, low), in_order(value, high)
        expected = above + with_low > 0 and below - with_high < 0
    found = keys is not None and keys.low <= value_key(value) < keys.high
    if keys is None or keys.exact:
        assert found == expected
    elif expected:
        assert found


def _range_kind(value):
    if value is None or isinstance(value, (bool, bytes)):
        return None
    if isinstance(value, (int, float)):
        return "number"
    return "text" if isinstance(value, (str, UUID)) else type(value)


@given(TEXTS, TEXTS, st.booleans())
@settings(max_examples=300)
def test_starting_with_finds_the_texts_that_start_so(prefix, text, joined):
    if joined:
        text = prefix + text
    keys = starting_with(prefix)
    found = keys.low <= value_key(text) < keys.high
    if keys.exact:
        assert found == text.startswith(prefix)
    elif text.startswith(prefix):
        assert found
