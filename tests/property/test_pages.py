"""Pages put together are the result, forwards and backwards, whatever changes meanwhile."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from property.test_query_with_indexes import (
    CHANGES,
    FIELDS,
    PREDICATES,
    by_chance,
    follow,
    path_of,
    preference,
    shared,
)
from unit.query.library import everything, ids, spec

from aurora_actors.errors import InvalidFilterError, UsageError
from aurora_actors.indexing.reader import IndexReader
from aurora_actors.indexing.tables import SegmentTables
from aurora_actors.messages.storage import DropCollection
from aurora_actors.query.choose import Aids
from aurora_actors.query.execute import run_query
from aurora_actors.query.page import plan_page
from aurora_actors.schema.record import record_id
from aurora_actors.schema.types import CollectionDefinition
from examples import examples

__all__ = ["preference", "shared"]

ORDERS = st.lists(
    st.sampled_from(
        ["n", "-n", "i", "-i", "s", "-s", "d", "x", "-x", "o.p", "c", "-u", "-id", "t"]
    ),
    max_size=3,
    unique=True,
)


def page(library, query, *, helped, **bounds):
    tables = SegmentTables()
    with IndexReader.open(path_of(library)) as reader:
        index = reader.snapshot()
        with index, library.snapshot() as snapshot:
            info = snapshot.collection(query.collection)
            plan = plan_page(query, lambda key: snapshot.get(info, key), **bounds)
            aids = Aids(index=index, tables=tables) if helped else Aids()
            found = everything(run_query(snapshot, plan.query, aids=aids).steps())
            return plan.finish(found)


def walk(library, query, size, *, backwards, helped, between=lambda _number: None):
    """All pages one after the other; the ids in the order of the result."""
    found: list[str] = []
    at = None
    number = 0
    while True:
        if backwards:
            part = page(library, query, helped=helped, last=size, before=at)
            found[:0] = [record_id(record) for record in part.records]
            more = part.has_previous
            assert part.has_next == (at is not None)
        else:
            part = page(library, query, helped=helped, first=size, after=at)
            found += [record_id(record) for record in part.records]
            more = part.has_next
            assert part.has_previous == (at is not None)
        assert len(part.records) <= size
        if not more:
            return found
        at = part.cursors[0 if backwards else -1]
        between(number)
        number += 1


def filled(library, builder, seed):
    name = f"p{library.engine.lsn}"
    library.define(CollectionDefinition(name, FIELDS))
    documents = by_chance(seed)
    if documents:
        library.insert(name, documents)
    follow(library, builder, 1000, tidied=bool(seed % 2))
    return name, set(documents)


def result(library, query):
    order = list(query.order) or spec("c", order=["id"]).order
    whole = spec(query.collection)
    whole = type(whole)(
        collection=query.collection, predicate=query.predicate, order=order
    )
    with library.snapshot() as snapshot:
        return ids(everything(run_query(snapshot, whole).steps()))


@settings(
    max_examples=examples(15), deadline=None, suppress_health_check=list(HealthCheck)
)
@given(
    st.integers(0, 1000),
    st.one_of(st.none(), PREDICATES),
    ORDERS,
    st.integers(1, 7),
    st.booleans(),
    st.booleans(),
)
def test_pages_put_together_are_the_result(
    shared, preference, seed, predicate, order, size, backwards, helped
):
    library, builder = shared
    name, _ = filled(library, builder, seed)
    query = spec(name, predicate, order=order)
    found = walk(library, query, size, backwards=backwards, helped=helped)
    assert found == result(library, query)
    library.run(DropCollection(collection=name))
    follow(library, builder, 1000, tidied=False)


@settings(
    max_examples=examples(40), deadline=None, suppress_health_check=list(HealthCheck)
)
@given(
    st.integers(0, 1000),
    ORDERS,
    st.integers(1, 5),
    st.booleans(),
    st.lists(CHANGES, max_size=6),
)
def test_what_stays_where_it_is_comes_once_whatever_comes_and_goes(
    shared, seed, order, size, backwards, changes
):
    library, builder = shared
    name, present = filled(library, builder, seed)
    stable = set(present)

    def change(number: int) -> None:
        for key, fields in changes[number] if number < len(changes) else ():
            if fields is None:
                if key in present:
                    library.delete(name, key)
                    present.discard(key)
            elif key in present:
                library.replace(name, key, fields)
            else:
                library.insert(name, {key: fields})
                present.add(key)
            stable.discard(key)
        follow(library, builder, number, tidied=False)

    query = spec(name, None, order=order)
    found = walk(library, query, size, backwards=backwards, helped=True, between=change)
    untouched = [key for key in found if key in stable]
    assert len(untouched) == len(set(untouched)) == len(stable)
    assert untouched == [key for key in result(library, query) if key in stable]
    library.run(DropCollection(collection=name))
    follow(library, builder, 1000, tidied=False)


def test_an_id_is_good_as_a_cursor_and_cursors_of_another_order_are_refused(shared):
    library, builder = shared
    name, _ = filled(library, builder, 25)
    query = spec(name, order=["-i"])
    whole = result(library, query)
    part = page(library, query, helped=True, first=3, after=whole[4])
    assert [record_id(record) for record in part.records] == whole[5:8]
    between = page(library, query, helped=True, after=whole[4], before=whole[9])
    assert [record_id(record) for record in between.records] == whole[5:9]
    other = spec(name, order=["i"])
    with pytest.raises(InvalidFilterError, match="another order"):
        page(library, other, helped=True, first=3, after=part.cursors[0])
    for text in ("nobody", part.cursors[0][:-4], part.cursors[0] + "AAAA", "", "é"):
        with pytest.raises(InvalidFilterError):
            page(library, query, helped=True, first=3, after=text)
    for bounds in ({"first": 1, "last": 1}, {"first": -1}, {"last": True}):
        with pytest.raises(UsageError):
            page(library, query, helped=True, **bounds)
    library.run(DropCollection(collection=name))
