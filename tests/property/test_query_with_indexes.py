"""A query's answer is the same whatever the indexes and columns know, or lag behind."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from pathlib import Path
from random import Random
from uuid import UUID

import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st
from unit.query.library import Library, everything, spec

from aurora_actors.client.asked import Asked
from aurora_actors.client.lookup import Lookup
from aurora_actors.errors import InvalidFilterError
from aurora_actors.indexing.builder import IndexBuilder
from aurora_actors.indexing.reader import IndexReader
from aurora_actors.indexing.store import Limits, Settings
from aurora_actors.indexing.tables import SegmentTables
from aurora_actors.messages.query import ResultMode
from aurora_actors.messages.storage import DropCollection
from aurora_actors.query import choose as choosing
from aurora_actors.query.check import check_query
from aurora_actors.query.choose import Aids
from aurora_actors.query.execute import run_query
from aurora_actors.query.predicate import And, Compare, Not, Or, Predicate
from aurora_actors.schema.types import CollectionDefinition, FieldDefinition, FieldType
from examples import examples

F = FieldDefinition
FIELDS = {
    "n": F(FieldType.FLOAT, indexed=True),
    "i": F(FieldType.INT, indexed=True),
    "s": F(FieldType.STRING, indexed=True),
    "d": F(FieldType.DATETIME, indexed=True),
    "t": F(FieldType.array(FieldType.INT), indexed=True),
    "x": F(FieldType.ANY, indexed=True),
    "o": F(FieldType.object({"p": F(FieldType.INT, indexed=True)})),
    "b": F(FieldType.BOOL),
    "u": F(FieldType.UUID),
    "c": F(FieldType.STRING),
    "m": F(FieldType.INT),
    "e": F(FieldType.DATE),
    "h": F(FieldType.TIME),
    "r": F(FieldType.BYTES),
}
UUIDS = [UUID(int=0), UUID(int=1), UUID("ab" * 16)]
LONG = "x" * 600
VALUES = {
    "n": [0, 1, 1.5, -0.0, 2**53 + 1, float(2**53), -3, 1e300],
    "i": [0, 1, 2, -1, 2**53 + 1, 2**63 - 1],
    "s": ["", "a", "ab", "b", "é", "a\0b", LONG, LONG + "y", LONG + "z"],
    "d": [datetime(2024, 1, day, tzinfo=UTC) for day in (1, 2, 3)],
    "t": [[], [1], [1, 2], [2, 2], [3]],
    "x": [True, 1, 1.0, "a", "ab", UUIDS[0], str(UUIDS[0]), [1], {"a": 1}, b"a"],
    "o": [{}, {"p": 1}, {"p": 2}, {"p": None}],
    "b": [True, False],
    "u": UUIDS,
    "c": ["red", "green", "blue", "é" * 1100],
    "m": [0, 1, 2, 3, 2**53 + 1],
    "e": [date(2024, 1, 1), date(1969, 1, 1)],
    "h": [time(1), time(23, 59, 59, 999999)],
    "r": [b"", b"a", b"b"],
}
DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={
        name: st.sampled_from([*values, None]) for name, values in VALUES.items()
    },
)
IDS = st.sampled_from([f"k{number}" for number in range(90)])
OPERANDS = {name: st.sampled_from(values) for name, values in VALUES.items()}
OPERANDS["o.p"] = st.sampled_from([1, 2, 1.0, 1.5])
OPERANDS["t"] = st.sampled_from([1, 2, 3])
OPERANDS["i"] = OPERANDS["m"] = st.sampled_from([0, 1, 1.5, 2.0, 2**53 + 1, 1e300, -1])
OPERANDS["u"] = st.sampled_from([*UUIDS, str(UUIDS[2]), "zz"])
OPERANDS["c"] = st.sampled_from(["red", "green", "r", "e", str(UUIDS[0])])


SINGLE = ["eq", "ne", "gt", "gte", "lt", "lte", "contains", "starts_with"]
SEVERAL = ["in", "nin", "contains_any", "contains_all"]
SHORT = [("gt", "n"), ("lte", "i"), ("gte", "s"), ("eq", "i"), ("lt", "d")]
PLACES = ["above", "not_above", "below", "not_below"]
DEFINITION = CollectionDefinition("c", FIELDS)


@st.composite
def terms(draw) -> Predicate:
    name = draw(st.sampled_from(sorted(OPERANDS)))
    operator = draw(
        st.sampled_from([*SINGLE, *SINGLE, *SEVERAL, *PLACES, "between", "is_null"])
    )
    one = OPERANDS[name]
    if operator in SINGLE or operator in PLACES:
        operand = draw(st.one_of(one, one, one, st.none()))
    else:
        operand = draw(st.lists(one, min_size=2, max_size=2))
    try:
        term = Compare(operator, name, operand)
        check_query(DEFINITION, spec("c"), term)
    except InvalidFilterError:
        return Compare(draw(st.sampled_from(["eq", "is_not_null"])), name, None)
    return term


PREDICATES = st.recursive(
    terms(),
    lambda inner: st.one_of(
        st.builds(And, st.lists(inner, max_size=3)),
        st.builds(And, st.lists(inner, max_size=3)),
        st.builds(Or, st.lists(inner, max_size=3)),
        st.builds(Not, inner),
    ),
    max_leaves=5,
)
ORDERS = st.lists(
    st.sampled_from(
        [
            "n",
            "-n",
            "i",
            "-i",
            "s",
            "-s",
            "d",
            "x",
            "-x",
            "o.p",
            "m",
            "-m",
            "c",
            "-u",
            "id",
            "-id",
        ]
    ),
    max_size=2,
)
CHANGES = st.lists(st.tuples(IDS, st.one_of(st.none(), DOCUMENTS)), max_size=12)
QUERIES = st.tuples(
    st.one_of(st.none(), PREDICATES, PREDICATES, PREDICATES),
    ORDERS,
    st.one_of(st.none(), st.integers(0, 6)),
    st.integers(0, 2),
)
LIMITS = Limits(
    changes=7,
    documents=5,
    waiting_rows=8,
    idle_rows=2,
    segment_rows=10,
    bitmaps=4,
    fan_in=3,
)


@pytest.fixture(scope="module")
def shared(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Library, IndexBuilder]]:
    path: Path = tmp_path_factory.mktemp("indexed")
    library = Library(path / "db")
    with library.snapshot() as snapshot:
        options = Settings(map_size=256 << 20, limits=LIMITS)
        builder = IndexBuilder.open(path_of(library), snapshot, options)
    yield library, builder
    builder.abandon()
    library.close()


@pytest.fixture(params=["indexes", "columns", "as it comes"])
def preference(request, monkeypatch):
    """Make the planner use what it would not for so few documents."""
    if request.param != "as it comes":
        monkeypatch.setattr(choosing, "_FEW", 1)
        share = 1 if request.param == "indexes" else 1 << 40
        monkeypatch.setattr(choosing, "_COLUMN_SHARE", share)


CONTRADICTION = And([Compare(op, "i", 1) for op in ("gt", "lt", "gte", "lte")])


@settings(
    max_examples=examples(60),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(
    st.integers(0, 1000),
    st.lists(st.tuples(IDS, DOCUMENTS), max_size=10, unique_by=lambda pair: pair[0]),
    CHANGES,
    st.integers(0, 12),
    st.booleans(),
    st.lists(QUERIES, min_size=1, max_size=6),
)
@example(84, [], [], 0, False, [(CONTRADICTION, [], None, 0)])
def test_indexes_and_columns_change_no_answer(
    shared, preference, seed, documents, changes, steps, tidied, queries
):
    library, builder = shared
    name = f"c{library.engine.lsn}"
    library.define(CollectionDefinition(name, FIELDS))
    many = by_chance(seed)
    if many:
        library.insert(name, many)
    present = set(many)
    documents = [pair for pair in documents if pair[0] not in present]
    for key, fields in documents:
        library.insert(name, {key: fields})
        present.add(key)
    follow(library, builder, 1000, tidied=tidied)
    for key, fields in changes:
        if fields is None:
            if key in present:
                library.delete(name, key)
                present.discard(key)
        elif key in present:
            library.replace(name, key, fields)
        else:
            library.insert(name, {key: fields})
            present.add(key)
    follow(library, builder, steps, tidied=False)
    compare(library, name, queries)
    library.run(DropCollection(collection=name))
    follow(library, builder, 1000, tidied=False)


def by_chance(seed):
    """More documents than hypothesis would care to draw one by one."""
    chance = Random(seed)
    return {
        f"k{number}": {
            field: chance.choice(values)
            for field, values in VALUES.items()
            if chance.random() < 0.8
        }
        for number in range(seed % 90)
    }


def path_of(library):
    return Path(library.engine._store.path)


def follow(library, builder, steps, *, tidied):
    with library.snapshot() as snapshot:
        for _ in range(steps):
            if not builder.step(snapshot):
                break
        while tidied and builder.tidy(snapshot):
            pass


def compare(library, name, queries):
    tables = SegmentTables()
    with IndexReader.open(path_of(library)) as reader:
        compare_short_ways(library, reader, name, queries)
        for predicate, order, limit, offset in queries:
            for mode in ResultMode:
                query = spec(
                    name, predicate, order=order, limit=limit, offset=offset, mode=mode
                )
                index = reader.snapshot()
                assert index is not None
                with index, library.snapshot() as snapshot:
                    plain = run_query(snapshot, query)
                    expected = everything(plain.steps())
                    aids = Aids(index=index, tables=tables)
                    helped = run_query(snapshot, query, aids=aids)
                    found = everything(helped.steps())
                    plan = helped.plan
                    assert found == expected, plan
                    assert helped.count == plain.count, plan
                    rows = [r for p in run_query(snapshot, query).rows() for r in p]
                    again = run_query(snapshot, query, aids=aids).rows()
                    assert [r for p in again for r in p] == rows, plan


def compare_short_ways(library, reader, name, queries):
    """What needs no plan, and is not asked of one, gives what a plan gives."""
    lookup = Lookup(library.reader, reader)
    asked = [(*query[:2], query[2] or 1, query[3]) for query in queries]
    asked += [(Compare(op, f, VALUES[f][1]), [f], 3, 1) for op, f in SHORT]
    asked += [(Compare(op, f, VALUES[f][2]), [f"-{f}"], 2, 0) for op, f in SHORT]
    asked += [(None, [order], 3, 0) for order in ("n", "-i", "s", "-d", "o.p")]
    asked += [(Compare("eq", f, VALUES[f][0]), [], 2, 0) for _, f in SHORT]
    for predicate, order, limit, offset in asked:
        query = spec(name, predicate, order=order, limit=limit, offset=offset)
        found = None
        if len(order) == 1:
            simple = Asked(name, None, predicate, (query.order[0],), limit, offset)
            found = lookup.find_first(simple, limit, bytes)
        elif not order and not offset and isinstance(predicate, Compare):
            found = lookup.find_by_key(name, predicate, bytes, most=limit)
        if found is not None:
            with library.snapshot() as snapshot:
                assert found == everything(run_query(snapshot, query).steps())
