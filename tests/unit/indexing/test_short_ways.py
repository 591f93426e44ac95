"""Queries that need no plan: when the short way is taken, and when it gives up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from unit.query.library import Library, everything, ids, spec

from aurora_actors.client import lookup as looking
from aurora_actors.client.asked import Asked
from aurora_actors.client.lookup import Lookup
from aurora_actors.indexing.builder import IndexBuilder
from aurora_actors.indexing.reader import IndexReader
from aurora_actors.messages.query import OrderKey
from aurora_actors.query.choose import Aids
from aurora_actors.query.execute import run_query
from aurora_actors.query.predicate import And, Compare
from aurora_actors.schema.types import CollectionDefinition, FieldDefinition, FieldType

FIELDS = {
    "n": FieldDefinition(FieldType.INT, indexed=True),
    "s": FieldDefinition(FieldType.STRING, indexed=True),
}
OVER = Compare("gt", "n", 2)


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Library, Lookup]]:
    path: Path = tmp_path_factory.mktemp("short")
    library = Library(path)
    library.define(CollectionDefinition("things", FIELDS))
    documents = {f"k{n:02}": {"n": n % 5, "s": f"s{n}"} for n in range(20)}
    library.insert("things", documents)
    library.insert("things", {"a": {"n": 0}})
    library.define(CollectionDefinition("regular", FIELDS))
    library.insert("regular", documents)
    with library.snapshot() as snapshot, IndexBuilder.open(path, snapshot) as builder:
        while builder.step(snapshot):
            pass
        with IndexReader.open(path) as index:
            yield library, Lookup(library.reader, index)
    library.close()


def first(lookup, predicate, field, *, ascending=True, offset=0, most=3):
    order = (OrderKey(field, ascending),)
    asked = Asked("things", None, predicate, order, most, offset)
    found = lookup.find_first(asked, most, bytes)
    return None if found is None else ids(found)


def test_the_first_few_come_in_the_order_of_an_index_with_ties_by_id(ways):
    _, lookup = ways
    assert first(lookup, OVER, "n", ascending=False) == ["k04", "k09", "k14"]
    assert first(lookup, OVER, "n", offset=3) == ["k18", "k04", "k09"]
    assert first(lookup, Compare("eq", "n", 3.0), "n") == ["k03", "k08", "k13"]
    assert first(lookup, None, "s", ascending=False) == ["k09", "k08", "k07"]


def test_a_plan_is_left_what_needs_one(ways):
    _, lookup = ways
    # An id that does not ascend with the rows, among those of one value.
    assert first(lookup, None, "n") is None
    assert first(lookup, Compare("gt", "s", "s5"), "n") is None
    assert first(lookup, And([OVER, Compare("lt", "n", 4)]), "n") is None
    assert first(lookup, Compare("gt", "n", "2"), "n") is None
    assert first(lookup, Compare("gt", "n", True), "n") is None
    assert first(lookup, OVER, "id") is None
    assert first(lookup, OVER, "n", most=300) is None


def test_equality_with_an_indexed_field_gives_the_first_in_the_order_of_rows(ways):
    _, lookup = ways
    term = Compare("eq", "n", 3)
    assert ids(lookup.find_by_key("things", term, bytes, most=2)) == ["k03", "k08"]
    assert len(lookup.find_by_key("things", term, bytes)) == 4
    assert lookup.find_by_key("things", Compare("eq", "n", 77), bytes) is None


@pytest.mark.parametrize("name", ["regular", "things"])
def test_ids_that_ascend_with_the_rows_are_not_sorted(ways, name):
    library, lookup = ways
    query = spec(name, OVER, order=["id"])
    with lookup._index() as index, library.snapshot() as snapshot:
        plain = everything(run_query(snapshot, query).steps())
        execution = run_query(snapshot, query, aids=Aids(index=index))
        assert everything(execution.steps()) == plain
        assert execution.plan.order == "id ascending"
        sorts = "sort" in [step.name for step in execution.plan.steps]
        assert sorts is (name == "things")


def test_a_query_whose_plan_was_long_is_not_planned_again_at_once(ways, monkeypatch):
    library, lookup = ways
    library.define(CollectionDefinition("many", FIELDS))
    library.insert("many", {f"m{n}": {"s": "x"} for n in range(300)})
    term = Compare("ends_with", "s", "x")
    query = spec("many", term)
    assert lookup.find(term, query, bytes) is None
    short = spec("many", Compare("eq", "id", "m1"))
    assert lookup.find(Compare("eq", "id", "m1"), short, bytes) is not None

    def planned(*_args, **_more):
        raise LookupError

    monkeypatch.setattr(looking, "run_query", planned)
    assert lookup.find(term, query, bytes) is None
    assert lookup.count(term, query) is None
    monkeypatch.setattr(looking, "monotonic", lambda: float("inf"))
    with pytest.raises(LookupError):
        lookup.find(term, query, bytes)


def test_what_the_index_does_not_know_yet_takes_a_plan(ways):
    library, lookup = ways
    library.insert("things", {"z": {"n": 9}})
    assert first(lookup, OVER, "n") is None
    assert lookup.find_by_key("things", Compare("eq", "n", 3), bytes) is None
