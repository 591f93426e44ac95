"""Who debounces is told at the end of an interval, whatever else happens."""

from __future__ import annotations

from pathlib import Path

from live_model import Consumer, World, world

from aurora_actors.messages.query import QuerySpec
from aurora_actors.messages.reactive import Watch
from aurora_actors.messages.storage import DropCollection, InsertDocuments
from aurora_actors.schema.values import encode_document


def insert(made: World, collection: str) -> None:
    body = encode_document({})
    made.must(InsertDocuments(collection=collection, ids=["a"], documents=[body]))


def test_another_collection_that_is_removed_hurries_nobody(tmp_path: Path):
    with world(tmp_path / "w.db") as made:
        made.define("c")
        made.define("d")
        consumer = Consumer(Watch(query=QuerySpec(collection="c"), debounce_s=0.5))
        made.subscribe(consumer)
        made.settle()
        insert(made, "c")
        made.hub.advance()
        made.do(DropCollection(collection="d"))
        made.hub.advance()
        assert not consumer.inbox
        assert made.hub.intervals == [0.5]
        made.hub.tick(0.5)
        assert consumer.inbox
        made.settle()
        assert consumer.result() == made.query(consumer.spec)


def test_who_follows_a_collection_that_is_removed_is_told_before_the_end(
    tmp_path: Path,
):
    with world(tmp_path / "w.db") as made:
        made.define("c")
        consumer = Consumer(Watch(query=QuerySpec(collection="c"), debounce_s=0.5))
        made.subscribe(consumer)
        made.settle()
        insert(made, "c")
        made.hub.advance()
        made.do(DropCollection(collection="c"))
        made.hub.advance()
        made.settle()
        assert len(consumer.events) == 1
        assert consumer.error is not None
