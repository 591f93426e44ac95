"""Compiled predicates and orders against a slow, obviously right reference."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta, timezone
from functools import cmp_to_key
from typing import cast, get_args
from uuid import UUID

from hypothesis import example, given, settings, strategies as st
from unit.query.library import compare, meets

from aurora_actors.errors import InvalidFilterError
from aurora_actors.messages.query import OrderKey
from aurora_actors.query.compile import compile_predicate
from aurora_actors.query.loops import UNBOUNDED, ColumnLoop, RecordLoop, Want
from aurora_actors.query.ordering import descending_key
from aurora_actors.query.predicate import (
    LIST_OPERATORS,
    TEXT_OPERATORS,
    And,
    Compare,
    Not,
    Operator,
    Or,
    Predicate,
    decode_predicate,
    encode_predicate,
)
from aurora_actors.query.projection import projection
from aurora_actors.query.sources import RowSource
from aurora_actors.schema.order import sort_key
from aurora_actors.schema.record import pack_record, record_body, record_id
from aurora_actors.schema.types import CollectionDefinition
from aurora_actors.schema.values import decode_document, encode_document
from aurora_actors.storage.reader import CollectionInfo

INFO = CollectionInfo(1, CollectionDefinition("c", {}, open=True), 1, 1, b"\0\0\0\1")

# Few and close values, so that documents and predicates meet.
TOKENS = [UUID(int=0), UUID(int=1), UUID("ffffffff-0000-7000-8000-00000000000f")]
TEXTS = ["", "a", "ab", "abc", "ba", "\0", "é", "\U0001f600", *map(str, TOKENS)]
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, 1, 2, -1, 2**53, 2**53 + 1, 2**63 - 1, -(2**63)]),
    st.sampled_from([0.0, -0.0, 1.0, 1.5, float(2**53), 1e300, -1e-300]),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(TEXTS),
    st.text(max_size=5),
    st.sampled_from(TOKENS),
    st.sampled_from([NOON, NOON + timedelta(microseconds=1), NOON - timedelta(1)]),
    st.sampled_from([date(2026, 1, 1), date(1969, 12, 31)]),
    st.sampled_from([time(0), time(12), time(12, 0, 0, 1)]),
    st.sampled_from([b"", b"a", b"a\0", b"\xff", b"a\xff"]),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["a", "b", "c"]), inner, max_size=3),
    ),
    max_leaves=6,
)
names = st.sampled_from(["a", "b", "c"])
bodies = st.dictionaries(names, values, max_size=3)
ids = st.one_of(st.sampled_from(["a", "ab", str(TOKENS[1])]), st.text("ab", min_size=1))
paths = st.one_of(
    names,
    st.just("id"),
    st.lists(names, min_size=2, max_size=5).map(".".join),
    st.just("id.a"),
)
PATTERNS = ["", "a", "^a", "b$", "^a.*c$", "[ab]+", "^.$", "(a|b)c?"]


@st.composite
def comparisons(draw: st.DrawFn) -> Compare:
    op = draw(st.sampled_from(get_args(Operator)))
    value: object
    if op == "matches":
        value = draw(st.sampled_from(PATTERNS))
    elif op in TEXT_OPERATORS:
        value = draw(st.sampled_from(TEXTS[:6]))
    elif op in LIST_OPERATORS:
        value = draw(st.lists(values, max_size=4))
    elif op == "size":
        bounds = st.one_of(st.none(), st.integers(-1, 4))
        value = [draw(bounds), draw(bounds)]
    elif op == "between":
        value = [draw(scalars), draw(scalars)]
    else:
        value = draw(values)
    return Compare(op, draw(paths), value)


predicates: st.SearchStrategy[Predicate] = st.recursive(
    comparisons(),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(And),
        st.lists(inner, max_size=3).map(Or),
        inner.map(Not),
    ),
    max_leaves=6,
)


def with_values_of(
    document: dict[str, object],
) -> st.SearchStrategy[tuple[dict[str, object], Predicate]]:
    """A predicate whose operands are often taken from the document."""
    own = [value for value in document.values() if value is not None]
    own += [part for value in own if isinstance(value, list) for part in value]
    if not own:
        return st.tuples(st.just(document), predicates)
    operand = st.sampled_from(own)
    simple = st.sampled_from(["eq", "ne", "gt", "gte", "lt", "lte", "contains"])
    listed = st.sampled_from(sorted(LIST_OPERATORS))
    near = st.one_of(
        st.builds(Compare, simple, names, operand),
        st.builds(Compare, listed, names, st.lists(operand, max_size=3)),
        st.builds(
            Compare,
            st.just("between"),
            names,
            st.lists(operand, min_size=2, max_size=2),
        ),
    )
    chosen = st.one_of(
        near, near.map(Not), st.tuples(near, predicates).map(_and), predicates
    )
    return st.tuples(st.just(document), chosen)


def _and(parts: tuple[Predicate, Predicate]) -> Predicate:
    return And([*parts])


@settings(max_examples=150, deadline=None)
@given(bodies.flatmap(with_values_of), ids)
@example(
    ({"a": NOON}, Compare("eq", "a", NOON.astimezone(timezone(timedelta(hours=2))))),
    "x",
)
@example(({"a": str(TOKENS[2])}, Compare("in", "a", [TOKENS[2]])), "x")
def test_all_back_ends_agree_with_the_reference(
    pair: tuple[dict[str, object], Predicate], id_: str
) -> None:
    fields, predicate = pair
    body = encode_document(fields)
    document = decode_document(body)
    predicate = decode_predicate(encode_predicate(predicate))
    expected = meets(predicate, document, id_)

    assert compile_predicate(predicate)(document, id_) is expected

    record = memoryview(pack_record(7, id_, body))
    found: list[object] = []
    order = [OrderKey("a"), OrderKey("b.c", False), OrderKey("id")]
    loop = RecordLoop(predicate, Want.KEYS, order)
    source = RowSource(INFO, [(5, record)])
    loop.run(source.take(1), source.key, found.append, bytes, UNBOUNDED)
    place = (5, record, document.get("a"), at(document, "b", "c"), id_)
    assert found == ([place] if expected else [])

    if not any(name.startswith("id") for name in paths_of(predicate)):
        found.clear()
        columns = ColumnLoop(predicate, Want.ROW)
        kept = [[document.get(name)] for name in columns.fields]
        columns.run([5], kept, found.append, UNBOUNDED)
        assert found == ([5] if expected else [])


def at(document: dict[str, object], first: str, second: str) -> object:
    value = document.get(first)
    return value.get(second) if isinstance(value, dict) else None


def paths_of(predicate: Predicate) -> list[str]:
    match predicate:
        case Compare(_, field):
            return [field]
        case Not(part):
            return paths_of(part)
        case And(parts) | Or(parts):
            return [path for part in parts for path in paths_of(part)]


@settings(max_examples=100, deadline=None)
@given(predicates)
def test_a_predicate_survives_the_wire(predicate: Predicate) -> None:
    encoded = encode_predicate(predicate)
    decoded = decode_predicate(encoded)
    assert encode_predicate(decoded) == encoded


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_a_predicate_or_refused(data: bytes) -> None:
    with suppress(InvalidFilterError):
        decode_predicate(data)


@settings(max_examples=100, deadline=None)
@given(st.lists(values, max_size=8))
def test_both_directions_order_like_the_reference(items: list[object]) -> None:
    expected = sorted(items, key=cmp_to_key(compare))
    assert same(sorted(items, key=sort_key), expected)
    assert same(sorted(items, key=descending_key), expected[::-1])


@settings(max_examples=100, deadline=None)
@given(values, values)
def test_a_descending_key_is_the_exact_opposite(a: object, b: object) -> None:
    up, down = (sort_key(a), sort_key(b)), (descending_key(a), descending_key(b))
    assert (up[0] < up[1], up[0] == up[1]) == (down[0] > down[1], down[0] == down[1])


def same(left: list[object], right: list[object]) -> bool:
    return all(compare(a, b) == 0 for a, b in zip(left, right, strict=True))


@settings(max_examples=100, deadline=None)
@given(bodies, st.lists(paths, max_size=4))
def test_a_selection_keeps_exactly_what_was_asked_for(
    fields: dict[str, object], wanted: list[str]
) -> None:
    record = pack_record(3, "id", encode_document(fields))
    selected = projection(wanted)(record)
    assert record_id(selected) == "id"
    document = decode_document(record_body(record))
    assert decode_document(record_body(selected)) == picked(document, wanted)


def picked(document: dict[str, object], wanted: list[str]) -> dict[str, object]:
    """The selection, by taking one path after the other."""
    out: dict[str, object] = {}
    for path in sorted(set(wanted) - {"id"}, key=lambda path: -path.count(".")):
        *parents, last = path.split(".")
        value: object = document
        for name in parents:
            value = value.get(name) if isinstance(value, dict) else None
        if not isinstance(value, dict) or last not in value:
            continue
        place = out
        for name in parents:
            place = cast("dict[str, object]", place.setdefault(name, {}))
        place[last] = value[last]
    return out
