"""Whole queries over a real database against a list that is filtered and sorted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from property.test_query_properties import bodies, names, predicates
from unit.query.library import Library, everything, ids, meets, ordered, spec

from aurora_actors.config import EvictionPolicy
from aurora_actors.errors import InvalidFilterError
from aurora_actors.messages.query import QuerySpec, ResultMode
from aurora_actors.query.cache import DocumentCache
from aurora_actors.query.check import check_query
from aurora_actors.query.execute import matching_rows, run_query
from aurora_actors.query.predicate import Predicate
from aurora_actors.schema.record import record_id
from aurora_actors.schema.types import CollectionDefinition
from aurora_actors.schema.values import decode_document, encode_document
from aurora_actors.storage.reader import Snapshot

Model = dict[str, dict[str, object]]

keys = st.sampled_from(["d", "b", "a", "c", "é", "B", "aa"])
models = st.dictionaries(keys, bodies, max_size=7)
changes = st.lists(st.tuples(keys, st.one_of(st.none(), bodies)), max_size=4)
orders = st.lists(
    st.tuples(
        st.sampled_from(["", "-"]), st.one_of(names, st.sampled_from(["id", "a.b"]))
    ).map("".join),
    max_size=3,
)
counts = st.one_of(st.none(), st.integers(0, 8))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    path: Path = tmp_path_factory.mktemp("query")
    library = Library(path / "db")
    yield library
    library.close()


def apply(library: Library, name: str, model: Model, change: object) -> None:
    assert isinstance(change, tuple)
    id_, body = change
    if body is None:
        if model.pop(id_, None) is not None:
            library.delete(name, id_)
    elif id_ in model:
        model[id_] = body
        library.replace(name, id_, body)
    else:
        model[id_] = body
        library.insert(name, {id_: body})


def expected(model: Model, predicate: Predicate | None, order: list[str]) -> list[str]:
    stored = {i: decode_document(encode_document(body)) for i, body in model.items()}
    found = {
        i: body
        for i, body in stored.items()
        if predicate is None or meets(predicate, body, i)
    }
    return ordered(found, order)


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    models,
    st.lists(changes, min_size=3, max_size=3),
    st.one_of(st.none(), predicates),
    orders,
    counts,
    st.integers(0, 3),
)
def test_a_query_gives_what_the_list_gives(
    shared: Library,
    model: Model,
    rounds: list[list[object]],
    predicate: Predicate | None,
    order: list[str],
    limit: int | None,
    offset: int,
) -> None:
    name = f"c{shared.engine.lsn}"
    definition = CollectionDefinition(name, {}, open=True)
    shared.define(definition)
    if not makes_sense(definition, predicate):
        predicate = None
    model = dict(model)
    if model:
        shared.insert(name, model)
    cache = DocumentCache(1 << 20, EvictionPolicy.LRU)
    stop = None if limit is None else offset + limit
    for number, round_ in enumerate([[], *rounds]):
        for change in round_:
            apply(shared, name, model, change)
        result = expected(model, predicate, order)[offset:stop]
        query = spec(name, predicate, order=order, limit=limit, offset=offset)
        with shared.snapshot() as snapshot:
            used = cache if number else None
            found = run_query(snapshot, query, cache=used)
            assert ids(everything(found.steps())) == result
            assert rows(snapshot, name, query, used) == result
            for mode, answer in (
                (ResultMode.COUNT, len(result)),
                (ResultMode.EXISTS, int(bool(result))),
            ):
                counted = spec(name, predicate, limit=limit, offset=offset, mode=mode)
                found = run_query(snapshot, counted, cache=used)
                assert everything(found.steps()) == []
                assert found.count == answer


def makes_sense(definition: CollectionDefinition, predicate: Predicate | None) -> bool:
    try:
        check_query(definition, spec(definition.name), predicate)
    except InvalidFilterError:
        return False
    return True


def rows(
    snapshot: Snapshot, name: str, query: QuerySpec, cache: DocumentCache | None
) -> list[str]:
    info = snapshot.collection(name)
    found = []
    for part in matching_rows(snapshot, query, cache=cache):
        for row in part:
            record = snapshot.get_row(info, row)
            assert record is not None
            found.append(record_id(record))
    return found
