"""Predicates as data: form, codec, limits."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from uuid import UUID

import msgspec
import pytest

from aurora_actors.errors import InvalidFilterError
from aurora_actors.query.predicate import (
    MAX_DEPTH,
    And,
    Compare,
    Not,
    Or,
    Predicate,
    conjuncts,
    decode_predicate,
    encode_predicate,
    terms,
)

VALUES = [
    None,
    True,
    1,
    1.5,
    "text",
    b"bytes",
    datetime(2026, 1, 1, tzinfo=UTC),
    date(2026, 1, 1),
    time(12, 30),
    UUID(int=7),
    [1, UUID(int=8)],
    {"a": {"b": [None]}},
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_an_operand_of_any_kind_survives_the_wire(value: object) -> None:
    predicate = Compare("eq", "a.b", value)
    assert decode_predicate(encode_predicate(predicate)) == predicate


def test_connectives_survive_the_wire() -> None:
    predicate = And(
        [Or([]), Not(Compare("in", "a", [1, 2])), Or([Compare("is_null", "b")])]
    )
    assert decode_predicate(encode_predicate(predicate)) == predicate


def test_the_encoding_is_the_documented_one() -> None:
    encoded = encode_predicate(And([Compare("gt", "age", 25)]))
    assert msgspec.msgpack.decode(encoded) == ["and", [["compare", "gt", "age", 25]]]


def nested(depth: int) -> Predicate:
    predicate: Predicate = Compare("eq", "a", 1)
    for _ in range(depth):
        predicate = Not(predicate)
    return predicate


def test_depth_is_limited_on_both_sides() -> None:
    deepest = nested(MAX_DEPTH)
    assert decode_predicate(encode_predicate(deepest)) == deepest
    with pytest.raises(InvalidFilterError, match="nested 32 deep"):
        encode_predicate(nested(MAX_DEPTH + 1))
    wire: list[object] = ["compare", "eq", "a", 1]
    for _ in range(MAX_DEPTH + 1):
        wire = ["not", wire]
    with pytest.raises(InvalidFilterError, match="nested 32 deep"):
        decode_predicate(msgspec.msgpack.encode(wire))


def test_size_is_limited_on_both_sides() -> None:
    term = ["compare", "eq", "a", 1]
    with pytest.raises(InvalidFilterError, match="10000 terms"):
        encode_predicate(Or([Compare("eq", "a", 1)] * 10_000))
    with pytest.raises(InvalidFilterError, match="10000 terms"):
        decode_predicate(msgspec.msgpack.encode(["or", [term] * 10_000]))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\x01",
        b"\x91" * 5000,
        b"\x92\xa3not" * 2000 + b"\xc0",
        msgspec.msgpack.encode(["compare", "eq", "a"]),
        msgspec.msgpack.encode(["compare", "eq", "a", 1, 2]),
        msgspec.msgpack.encode(["compare", "near", "a", 1]),
        msgspec.msgpack.encode(["compare", "eq", "", 1]),
        msgspec.msgpack.encode(["compare", "eq", "a..b", 1]),
        msgspec.msgpack.encode(["compare", "eq", ".".join("a" * 40), 1]),
        msgspec.msgpack.encode(["compare", "in", "a", 1]),
        msgspec.msgpack.encode(["compare", "between", "a", [1]]),
        msgspec.msgpack.encode(["compare", "matches", "a", 1]),
        msgspec.msgpack.encode(["compare", "size", "a", 1]),
        msgspec.msgpack.encode(["compare", "size", "a", [1, 2.5]]),
        msgspec.msgpack.encode(["compare", "eq", "a", float("nan")]),
        msgspec.msgpack.encode(["compare", "eq", "a", 2**64 - 1]),
        b"\x94\xa7compare\xa2eq\xa1a\xc7\x00\x63",
        b"\x94\xa7compare\xa2eq\xa1\xff\x01",
        msgspec.msgpack.encode({"compare": 1}),
    ],
)
def test_bytes_that_are_no_predicate_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidFilterError):
        decode_predicate(data)


def test_an_operand_no_document_can_hold_is_refused_with_the_field() -> None:
    with pytest.raises(InvalidFilterError, match=r"field 'age'.*finite") as caught:
        encode_predicate(Compare("gt", "age", float("inf")))
    assert caught.value.context["field"] == "age"


def test_what_is_no_predicate_is_refused() -> None:
    with pytest.raises(InvalidFilterError, match="where a predicate must be"):
        encode_predicate(And(["age > 1"]))  # type: ignore[list-item]


def test_conjuncts_flatten_and_alone() -> None:
    a, b, c = (Compare("eq", name, 1) for name in "abc")
    assert list(conjuncts(And([a, And([Or([b, c])])]))) == [a, Or([b, c])]
    assert list(conjuncts(None)) == []
    assert list(terms(And([a, Not(Or([b, c]))]))) == [a, b, c]
