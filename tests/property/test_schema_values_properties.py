from __future__ import annotations

from datetime import UTC, date, datetime, time
from functools import cmp_to_key
from uuid import UUID

from hypothesis import given, strategies as st

from aurora_actors.schema.record import pack_record, unpack_record
from aurora_actors.schema.types import INT_MAX, INT_MIN
from aurora_actors.schema.values import (
    decode_document,
    decode_value,
    encode_document,
    encode_value,
    kind_rank,
    sort_key,
    values_equal,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NAMES = TEXT.filter(lambda name: name and "." not in name)
NUMBERS = st.one_of(
    st.integers(INT_MIN, INT_MAX),
    st.integers(-3, 3),
    st.sampled_from([2**53, 2**53 + 1, float(2**53), -0.0, 0.0, 1.0, 2.0**62]),
    st.floats(allow_nan=False, allow_infinity=False),
)
SMALL_UUIDS = st.integers(0, 3).map(lambda number: UUID(int=number))
MOMENTS = st.one_of(
    st.dates(),
    st.times(),
    st.datetimes(timezones=st.just(UTC)),
    st.datetimes(
        min_value=datetime(1900, 1, 1),  # noqa: DTZ001 - hypothesis adds the zone
        max_value=datetime(2100, 1, 1),  # noqa: DTZ001
        timezones=st.timezones(),
        allow_imaginary=False,
    ),
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    NUMBERS,
    TEXT,
    st.uuids(),
    SMALL_UUIDS,
    SMALL_UUIDS.map(str),
    MOMENTS,
    st.binary(max_size=4),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(NAMES, inner, max_size=4)
    ),
    max_leaves=12,
)
DOCUMENTS = st.dictionaries(NAMES.filter(lambda name: name != "id"), VALUES)


def exactly_equal(left, right):
    """Equality that tells types apart, as a round trip has to keep them."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return list(left) == list(right) and all(
            exactly_equal(left[name], right[name]) for name in left
        )
    if isinstance(left, list):
        return len(left) == len(right) and all(map(exactly_equal, left, right))
    if isinstance(left, datetime):
        # By instant: a reading in another zone may be ambiguous, and equals none then.
        return left.astimezone(UTC) == right.astimezone(UTC)
    if isinstance(left, time):
        return left == right  # a fold means nothing in a naive time
    return repr(left) == repr(right)


@given(DOCUMENTS)
def test_a_document_comes_back_with_types_and_order(fields):
    assert exactly_equal(decode_document(encode_document(fields)), fields)


@given(VALUES)
def test_a_value_comes_back_with_its_type(value):
    assert exactly_equal(decode_value(encode_value(value)), value)


@given(DOCUMENTS)
def test_encoding_what_was_decoded_gives_the_same_bytes(fields):
    body = encode_document(fields)

    assert encode_document(decode_document(body)) == body


@given(DOCUMENTS, st.integers(0, 2**64 - 1), TEXT.filter(bool))
def test_a_record_comes_back(fields, lsn, document_id):
    body = encode_document(fields)

    assert unpack_record(pack_record(lsn, document_id, body)) == (
        lsn,
        document_id,
        body,
    )


def compare(left, right):
    """The documented order, written out without keys."""
    if kind_rank(left) != kind_rank(right):
        return kind_rank(left) - kind_rank(right)
    if isinstance(left, (list, tuple)):
        for a, b in zip(left, right, strict=False):
            if result := compare(a, b):
                return result
        return len(left) - len(right)
    if isinstance(left, dict):
        pairs = zip(sorted(left.items()), sorted(right.items()), strict=False)
        for (name, a), (other, b) in pairs:
            if result := (name > other) - (name < other) or compare(a, b):
                return result
        return len(left) - len(right)
    return compare_scalars(left, right)


def compare_scalars(left, right):
    if left is None:
        return 0
    if isinstance(left, (str, UUID)):
        left, right = str(left), str(right)
    if isinstance(left, (date, time)):
        places = [
            2 if isinstance(moment, datetime) else int(isinstance(moment, time))
            for moment in (left, right)
        ]
        if places[0] != places[1]:
            return places[0] - places[1]
        if isinstance(left, datetime):
            left, right = left.astimezone(UTC), right.astimezone(UTC)
    return (left > right) - (left < right)


@given(VALUES, VALUES)
def test_sort_keys_agree_with_the_order_written_out(left, right):
    expected = compare(left, right)
    a, b = sort_key(left), sort_key(right)

    assert (a > b) - (a < b) == (expected > 0) - (expected < 0)


@given(VALUES, VALUES)
def test_equality_is_that_of_the_order_and_symmetric(left, right):
    equal = compare(left, right) == 0

    assert values_equal(left, right) is equal
    assert values_equal(right, left) is equal


@given(st.lists(VALUES, max_size=8))
def test_the_order_is_total(values):
    by_key = sorted(values, key=sort_key)
    by_comparison = sorted(values, key=cmp_to_key(compare))

    assert list(map(sort_key, by_key)) == list(map(sort_key, by_comparison))
    for i, lower in enumerate(by_key):
        for higher in by_key[i:]:
            assert compare(lower, higher) <= 0


@given(VALUES)
def test_a_value_equals_what_it_comes_back_as(value):
    back = decode_value(encode_value(value))

    assert values_equal(value, back)
    assert sort_key(value) == sort_key(back)
    assert kind_rank(value) == kind_rank(back)


@given(NUMBERS, NUMBERS)
def test_numbers_compare_by_value_whatever_their_type(left, right):
    assert values_equal(left, right) == (left == right)
    assert (sort_key(left) < sort_key(right)) == (left < right)
