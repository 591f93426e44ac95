"""Who debounces is told at the end of an interval, whatever else happens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from live_model import Consumer, World, world

from aurora_actors.messages.query import QuerySpec
from aurora_actors.messages.reactive import Watch
from aurora_actors.messages.storage import DropCollection, InsertDocuments
from aurora_actors.schema.values import encode_document


def insert(made: World, collection: str) -> None:
    body = encode_document({})
    made.must(InsertDocuments(collection=collection, ids=["a"], documents=[body]))


@contextmanager
def with_news(path: Path, *collections: str) -> Iterator[tuple[World, Consumer]]:
    """A debounced watch of the collection c, which has had an insert it waits to tell."""
    with world(path) as made:
        for name in ("c", *collections):
            made.define(name)
        consumer = Consumer(Watch(query=QuerySpec(collection="c"), debounce_s=0.5))
        made.subscribe(consumer)
        made.settle()
        insert(made, "c")
        made.hub.advance()
        yield made, consumer


def test_another_collection_that_is_removed_hurries_nobody(tmp_path: Path):
    with with_news(tmp_path / "w.db", "d") as (made, consumer):
        made.do(DropCollection(collection="d"))
        made.hub.advance()
        assert not consumer.inbox
        assert made.hub.intervals == [0.5]
        made.tick()
        assert consumer.inbox
        made.settle()
        assert consumer.result() == made.query(consumer.spec)


def test_who_follows_a_collection_that_is_removed_is_told_before_the_end(
    tmp_path: Path,
):
    with with_news(tmp_path / "w.db") as (made, consumer):
        made.do(DropCollection(collection="c"))
        made.hub.advance()
        made.settle()
        assert len(consumer.events) == 1
        assert consumer.error is not None


@pytest.mark.parametrize("limit", [None, 3])
def test_who_joins_after_the_removal_was_handed_out_gets_the_error_too(
    tmp_path: Path, limit: int | None
):
    with world(tmp_path / "w.db") as made:
        made.define("c")
        spec = QuerySpec(collection="c", limit=limit)
        consumer = Consumer(Watch(query=spec, debounce_s=0.5))
        made.subscribe(consumer)
        made.hub.begin_results()
        insert(made, "c")
        made.do(DropCollection(collection="c"))
        while made.hub.advance():
            pass
        made.settle()
        assert consumer.error is not None
        assert made.hub.statistics()["subscriptions"] == 0
        assert made.hub.statistics()["live_queries"] == 0
