"""When the first result of a live query is taken."""

from __future__ import annotations

from pathlib import Path

import pytest
from live_model import Consumer, World, world

from aurora_actors.messages.query import OrderKey, QuerySpec
from aurora_actors.messages.reactive import ChunkMode, LiveChunk, LiveKind, Watch
from aurora_actors.messages.storage import InsertDocuments
from aurora_actors.schema.values import encode_document


def insert(made: World, name: str) -> int:
    body = encode_document({"name": name})
    return made.must(InsertDocuments(collection="c", ids=[name], documents=[body]))


@pytest.mark.parametrize("order", [[], [OrderKey("name")]])
def test_a_small_result_is_that_of_the_moment_the_watch_began(
    tmp_path: Path, order: list[OrderKey]
):
    with world(tmp_path / "w.db") as made:
        made.define("c")
        first = insert(made, "a")
        consumer = Consumer(Watch(query=QuerySpec(collection="c", order=order)))
        made.subscribe(consumer)
        made.hub.begin_results()
        insert(made, "b")
        chunk = consumer.inbox.popleft()
        assert isinstance(chunk, LiveChunk)
        assert (chunk.mode, chunk.lsn) == (ChunkMode.INITIAL_END, first)
        consumer.inbox.appendleft(chunk)
        made.settle()
        assert [event.kind for event in consumer.events] == [LiveKind.ADDED] * 2
        assert [event.lsn for event in consumer.events][1] == first + 1
