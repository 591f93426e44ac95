"""Values: literals and given objects as what the schema's fields hold."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, timezone
from uuid import UUID

import pytest

from aurora_actors.aql import tree
from aurora_actors.aql.parser import parse
from aurora_actors.aql.values import value_of
from aurora_actors.errors import QueryValidationError
from aurora_actors.schema.types import FieldDefinition, FieldType as T

ID = UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
ADDRESS = T.object({"city": FieldDefinition(T.STRING, nullable=False), "n": T.INT})


def literal(text: str) -> tree.Value:
    operation = parse(f"{{ a(b: {text}) }}").definitions[0]
    assert isinstance(operation, tree.Operation)
    field = operation.selection.items[0]
    assert isinstance(field, tree.Field)
    return field.arguments[0].value


@pytest.mark.parametrize(
    ("text", "field_type", "expected"),
    [
        ('"a"', T.STRING, "a"),
        ("5", T.INT, 5),
        ("5", T.FLOAT, 5),
        ("5.0", T.FLOAT, 5.0),
        ("true", T.BOOL, True),
        ("null", T.INT, None),
        (f'"{ID}"', T.UUID, ID),
        (f'"{str(ID).upper()}"', T.UUID, ID),
        (f'"{ID.hex}"', T.UUID, ID),
        ('"2027-01-31T12:00:00Z"', T.DATETIME, datetime(2027, 1, 31, 12, tzinfo=UTC)),
        ('"2027-01-31t12:00:00.25z"', T.DATETIME, datetime(2027, 1, 31, 12, 0, 0, 250_000, UTC)),
        ('"2027-01-31 12:00:00-05:00"', T.DATETIME, datetime(2027, 1, 31, 17, tzinfo=UTC)),
        ('"2027-01-31"', T.DATE, date(2027, 1, 31)),
        ('"12:30:00.5"', T.TIME, time(12, 30, 0, 500_000)),
        ('"aGVsbG8="', T.BYTES, b"hello"),
        ('["a", "b"]', T.array(T.STRING), ["a", "b"]),
        ("[1, [null, {a: 1}]]", T.ANY, [1, [None, {"a": 1}]]),
        ('{city: "x"}', ADDRESS, {"city": "x"}),
        ('{"any key": 1.5}', T.OBJECT, {"any key": 1.5}),
    ],
)  # fmt: skip
def test_a_literal_gives_the_value_of_its_type(text, field_type, expected):
    found = value_of(literal(text), field_type)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("text", "field_type", "message"),
    [
        ("5", T.STRING, "expected String, got Int 5"),
        ("true", T.INT, "expected Int, got Boolean true"),
        ("1.0", T.INT, "expected Int, got Float 1.0"),
        ("1", T.BOOL, "expected Boolean, got Int 1"),
        ("admin", T.STRING, 'write "admin"'),
        ("admin", T.ANY, 'for a text write "admin"'),
        ('"6ba7b810"', T.UUID, "expected Uuid"),
        ('"{6ba7b810-9dad-11d1-80b4-00c04fd430c8}"', T.UUID, "expected Uuid"),
        ('"2027-01-31T12:00:00"', T.DATETIME, "expected DateTime"),
        ('"2027-01-31T25:00:00Z"', T.DATETIME, "expected DateTime"),
        ('"0001-01-01T00:00:00+01:00"', T.DATETIME, "expected DateTime"),
        ('"20270131"', T.DATE, "expected Date"),
        ('"2027-02-29"', T.DATE, "expected Date"),
        ('"12:30"', T.TIME, "expected Time"),
        ('"12:30:00Z"', T.TIME, "expected Time"),
        ('"a b="', T.BYTES, "expected Bytes"),
        ('"é"', T.BYTES, "expected Bytes"),
        ('"a"', T.array(T.STRING), "expected a list"),
        ("[1]", T.array(T.STRING), "expected String, got Int 1"),
        ("[null]", T.array(T.STRING), "must not be null"),
        ("[1]", T.OBJECT, "expected Object, got a list"),
        ("{n: 1}", ADDRESS, 'needs the field "city"'),
        ('{city: "a" m: 1}', ADDRESS, 'no field "m"'),
        ('{city: "a" city: "b"}', ADDRESS, "stands twice"),
        ('{"a.b": 1}', T.OBJECT, 'has a "." in its name'),
        ('{"": 1}', T.OBJECT, "empty name"),
    ],
)
def test_a_literal_of_another_type_is_refused(text, field_type, message):
    with pytest.raises(QueryValidationError) as caught:
        value_of(literal(text), field_type)
    assert message in caught.value.message


def test_null_is_refused_where_it_must_not_be():
    with pytest.raises(QueryValidationError, match="must not be null"):
        value_of(tree.NullValue(), T.INT, nullable=False)


def test_containers_may_be_as_deep_as_documents():
    assert value_of(literal("[" * 32 + "1" + "]" * 32)) is not None


@pytest.mark.parametrize(
    ("given", "field_type", "message"),
    [
        (datetime(2027, 1, 1), T.DATETIME, "without a time zone"),  # noqa: DTZ001
        (time(1, tzinfo=timezone(timedelta(hours=1))), T.TIME, "no time zone"),
        (datetime(2027, 1, 1, tzinfo=UTC), T.DATE, "expected Date"),
        (ID, T.INT, "expected Int, got a UUID"),
    ],
)
def test_given_objects_of_another_type_are_refused(given, field_type, message):
    with pytest.raises(QueryValidationError, match=message):
        value_of(tree.GivenValue(given), field_type)


@pytest.mark.parametrize(
    ("given", "field_type"),
    [
        (ID, T.UUID),
        (datetime(2027, 1, 1, tzinfo=UTC), T.DATETIME),
        (date(2027, 1, 1), T.DATE),
        (time(1), T.TIME),
        (b"x", T.BYTES),
        (ID, T.ANY),
    ],
)
def test_given_objects_of_the_type_are_taken(given, field_type):
    assert value_of(tree.GivenValue(given), field_type) == given
