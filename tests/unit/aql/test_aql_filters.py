"""Filters: their predicates, and what these find."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from aurora_actors.aql import tree
from aurora_actors.aql.filters import build_filter
from aurora_actors.aql.parser import parse
from aurora_actors.aql.scope import Scope, Session
from aurora_actors.aql.values import lift
from aurora_actors.errors import QueryValidationError
from aurora_actors.query.compile import compile_predicate
from aurora_actors.query.predicate import (
    And,
    Compare,
    Not,
    Or,
    decode_predicate,
    encode_predicate,
)


def where(text: str) -> tree.Value:
    operation = parse(f"{{ a(where: {text}) }}").definitions[0]
    assert isinstance(operation, tree.Operation)
    field = operation.selection.items[0]
    assert isinstance(field, tree.Field)
    return field.arguments[0].value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", None),
        ("null", None),
        ("{and: [], or: [{}, {age: 1}]}", None),
        ("{age: 5}", Compare("eq", "age", 5)),
        ("{age: null}", Compare("eq", "age", None)),
        ('{tags: ["a"]}', Compare("eq", "tags", ["a"])),
        ("{age: {gt: 1, lte: 9}}", And([Compare("gt", "age", 1), Compare("lte", "age", 9)])),
        ("{age: {}}", None),
        (
            '{age: 1, "address.city": {ne: "x"}}',
            And([Compare("eq", "age", 1), Compare("ne", "address.city", "x")]),
        ),
        (
            "{or: [{age: 1}, {age: 2}]}",
            Or([Compare("eq", "age", 1), Compare("eq", "age", 2)]),
        ),
        ("{or: []}", Or([])),
        ("{or: {age: 1}}", Compare("eq", "age", 1)),
        ("{not: {age: 1}}", Not(Compare("eq", "age", 1))),
        ("{not: {}}", Or([])),
        ("{age: {in: [1, null]}}", Compare("in", "age", [1, None])),
        ("{age: {notIn: [1]}}", Compare("nin", "age", [1])),
        ("{age: {nin: [1]}}", Compare("nin", "age", [1])),
        ("{age: {between: [1, 2]}}", Compare("between", "age", [1, 2])),
        ("{age: {isNull: true}}", Compare("is_null", "age")),
        ("{age: {isNull: false}}", Compare("is_not_null", "age")),
        ("{age: {isNotNull: true}}", Compare("is_not_null", "age")),
        ("{age: {isNotNull: false}}", Compare("is_null", "age")),
        ('{name: {contains: "a"}}', Compare("contains", "name", "a")),
        ('{tags: {contains: "a"}}', Compare("contains", "tags", "a")),
        ('{tags: {containsAny: ["a"]}}', Compare("contains_any", "tags", ["a"])),
        ('{tags: {containsAll: ["a"]}}', Compare("contains_all", "tags", ["a"])),
        ("{tags: {isEmpty: true}}", Compare("eq", "tags", [])),
        ("{tags: {size: 2}}", Compare("size", "tags", [2, 2])),
        ("{tags: {size: {gt: 2}}}", Compare("size", "tags", [3, None])),
        ("{tags: {size: {ne: 2}}}", Not(Compare("size", "tags", [2, 2]))),
        ("{tags: {size: {between: [1, 2]}}}", Compare("size", "tags", [1, 2])),
        ("{tags: {size: {in: [1, 3]}}}",
         Or([Compare("size", "tags", [1, 1]), Compare("size", "tags", [3, 3])])),
        ('{name: {startsWith: "a"}}', Compare("starts_with", "name", "a")),
        ('{name: {endsWith: "a"}}', Compare("ends_with", "name", "a")),
        ('{name: {matches: "^a"}}', Compare("matches", "name", "^a")),
        ('{name: {containsIgnoreCase: "a.b"}}', Compare("matches", "name", r"(?i)a\.b")),
        ('{id: "x"}', Compare("eq", "id", "x")),
        ('{born: {gt: "2027-01-02"}}', Compare("gt", "born", date(2027, 1, 2))),
        ('{seen: "2027-01-02T01:00:00+01:00"}',
         Compare("eq", "seen", datetime(2027, 1, 2, tzinfo=UTC))),
        ('{extra: {gt: "2027-01-02"}}', Compare("gt", "extra", "2027-01-02")),
        ('{"extra.deep.er": {eq: {a: [1]}}}', Compare("eq", "extra.deep.er", {"a": [1]})),
    ],
)  # fmt: skip
def test_a_filter_has_the_expected_predicate(text, expected, definitions):
    predicate = build_filter(where(text), definitions["users"])
    assert predicate == expected
    if predicate is not None:
        assert decode_predicate(encode_predicate(predicate)) == expected


DOCUMENTS: dict[str, dict[str, object]] = {
    "a": {"name": "Ärger (1)", "tags": ["x", "y"], "age": 1},
    "b": {"name": "ÄRGER [1]", "tags": [], "age": 2},
    "c": {"name": None, "age": None},
}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{name: {containsIgnoreCase: "ärger"}}', "ab"),
        ('{name: {containsIgnoreCase: "er (1)"}}', "a"),
        ("{tags: {isEmpty: true}}", "b"),
        ("{tags: {isEmpty: false}}", "a"),
        ("{tags: {size: {gte: 0}}}", "ab"),
        ("{tags: {size: {lt: 2}}}", "b"),
        ("{tags: {size: {ne: 2}}}", "bc"),
        ("{tags: {size: {gt: 0, lt: 9}}}", "a"),
        ("{tags: {size: {nin: [0]}}}", "ac"),
        ("{age: {in: [null, 2]}}", "bc"),
        ("{not: {age: {gt: 1}}}", "ac"),
        ("{or: []}", ""),
    ],
)
def test_a_filter_finds_the_expected_documents(text, found, definitions):
    predicate = build_filter(where(text), definitions["users"])
    assert predicate is not None
    matches = compile_predicate(predicate)
    assert "".join(key for key, doc in DOCUMENTS.items() if matches(doc, key)) == found


def test_variables_stand_for_values_and_for_whole_filters(definitions):
    scope = Scope(Session("", {}, {}, {}))
    given = {
        "n": lift(scope, 5, tree.NOWHERE),
        "f": lift(scope, {"age": {"in": [1, 2]}}, tree.NOWHERE),
        "l": lift(scope, [1, None], tree.NOWHERE),
    }
    users = definitions["users"]
    assert build_filter(where("{age: $n}"), users, given) == Compare("eq", "age", 5)
    assert build_filter(where("$f"), users, given) == Compare("in", "age", [1, 2])
    assert build_filter(where("{age: {nin: $l}}"), users, given) == Compare(
        "nin", "age", [1, None]
    )
    with pytest.raises(QueryValidationError, match=r"\$x has no value"):
        build_filter(where("{age: $x}"), users, given)
    with pytest.raises(QueryValidationError, match="expected String, got Int 5"):
        build_filter(where("{name: $n}"), users, given)


def test_connectives_may_be_as_deep_as_predicates_travel(definitions):
    with pytest.raises(QueryValidationError, match="levels deep"):
        build_filter(
            where("{age: 1 not: " * 20 + "{age: 2}" + "}" * 20), definitions["users"]
        )
