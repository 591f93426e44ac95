"""Catching up with an ordered query whose window runs short on the way."""

from __future__ import annotations

from pathlib import Path

import pytest
from live_model import Consumer, World, world

from aurora_actors.messages.query import QuerySpec
from aurora_actors.messages.reactive import Watch
from aurora_actors.messages.storage import DeleteDocument, InsertDocuments
from aurora_actors.schema.values import encode_document

MANY = 120


def emptying(made: World, limit: int) -> Consumer:
    """A consumer that has slept while most of what it watches was removed."""
    made.define("c")
    ids = [f"d{number:03}" for number in range(MANY)]
    body = encode_document({"n": 1})
    made.must(InsertDocuments(collection="c", ids=ids, documents=[body] * MANY))
    query = QuerySpec(collection="c", limit=limit)
    consumer = Consumer(Watch(query=query, credit=1))
    made.subscribe(consumer)
    made.settle()
    for name in ids[:-5]:
        made.must(DeleteDocument(collection="c", id=name))
    return consumer


@pytest.mark.parametrize("limit", [1, 4, 20])
def test_without_credit_nothing_is_left_out(tmp_path: Path, limit: int):
    with world(tmp_path / "w.db") as made:
        consumer = emptying(made, limit)
        consumer.reconnect(made)
        made.settle()
        assert consumer.result() == made.query(consumer.spec)


def test_no_chunk_says_that_it_has_what_is_held_back(tmp_path: Path):
    with world(tmp_path / "w.db") as made:
        consumer = emptying(made, 1)
        while consumer.lsn < made.lsn():
            consumer.reconnect(made)  # from the token behind the last chunk
            while not consumer.inbox:
                made.hub.work()
            consumer.read(made, 1)
        assert consumer.result() == made.query(consumer.spec)
