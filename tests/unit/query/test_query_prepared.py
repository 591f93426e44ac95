"""Queries that are asked again, over the same collection and over another."""

from __future__ import annotations

import pytest
from unit.query.library import Library, spec

from aurora_actors.errors import CollectionNotFoundError, InvalidFilterError
from aurora_actors.messages.query import (
    AggregateFunction,
    AggregateSpec,
    GroupSpec,
    ResultMode,
)
from aurora_actors.messages.storage import DropCollection
from aurora_actors.query.choose import Aids
from aurora_actors.query.filters import field
from aurora_actors.query.group_codec import decode_group
from aurora_actors.query.prepared import Prepared
from aurora_actors.schema.types import CollectionDefinition, FieldDefinition, FieldType

SUM = GroupSpec(aggregates=[AggregateSpec("s", AggregateFunction.SUM, "n")])
MANY = field("n") > 1


def numbers(kind: FieldType) -> CollectionDefinition:
    return CollectionDefinition("numbers", {"n": FieldDefinition(kind)})


def add(library: Library, *values: object) -> None:
    library.insert("numbers", {f"d{value}": {"n": value} for value in values})


def outcome(library: Library, prepared: Prepared) -> object:
    with library.snapshot() as snapshot:
        begun = prepared.begin(snapshot, Aids())
        records = [record for step in begun.steps() for record in step]
        return [decode_group(r).results for r in records] or begun.count


@pytest.mark.parametrize(
    ("prepared", "before", "behind"),
    [
        (Prepared(spec("numbers", MANY, mode=ResultMode.COUNT)), 2, 3),
        (Prepared(spec("numbers", MANY), SUM), [[5]], [[9]]),
    ],
)
def test_a_query_that_is_asked_again_sees_what_is_new(
    library, prepared, before, behind
):
    library.define(numbers(FieldType.INT))
    add(library, 1, 2, 3)
    assert outcome(library, prepared) == outcome(library, prepared) == before
    add(library, 4)
    assert outcome(library, prepared) == behind


@pytest.mark.parametrize("group", [None, SUM])
def test_a_query_that_is_asked_again_is_checked_against_the_collection_there_is(
    library, group
):
    prepared = Prepared(spec("numbers", MANY, mode=ResultMode.COUNT), group)
    with pytest.raises(CollectionNotFoundError):
        outcome(library, prepared)
    library.define(numbers(FieldType.INT))
    add(library, 1, 2)
    outcome(library, prepared)
    library.run(DropCollection(collection="numbers"))
    with pytest.raises(CollectionNotFoundError):
        outcome(library, prepared)
    library.define(numbers(FieldType.STRING))
    with pytest.raises(InvalidFilterError):
        outcome(library, prepared)
    library.run(DropCollection(collection="numbers"))
    library.define(numbers(FieldType.FLOAT))
    add(library, 1.5)
    assert outcome(library, prepared) == (1 if group is None else [[1.5]])
