"""Changes that come with a wake-up: used when they follow on what is known."""

from __future__ import annotations

from pathlib import Path

from live_model import Consumer, World, world

from aurora_actors.messages.query import QuerySpec
from aurora_actors.messages.reactive import Watch
from aurora_actors.messages.storage import InsertDocuments, LogAdvanced
from aurora_actors.schema.values import encode_document


def insert(made: World, name: str) -> int:
    body = encode_document({"name": name})
    return made.must(InsertDocuments(collection="c", ids=[name], documents=[body]))


def watched(made: World) -> Consumer:
    made.define("c")
    consumer = Consumer(Watch(query=QuerySpec(collection="c")))
    made.subscribe(consumer)
    made.settle()
    return consumer


def test_what_follows_directly_is_told_without_the_log(tmp_path: Path):
    with world(tmp_path / "w.db") as made:
        consumer = watched(made)
        made.reader.close()  # nothing can be read any more
        for name in "ab":
            insert(made, name)
            made.wake()
        while consumer.read(made):
            pass
        assert [event.lsn for event in consumer.events] == [2, 3]
        assert made.told == 2


def test_what_leaves_something_out_is_read_in_the_log(tmp_path: Path):
    with world(tmp_path / "w.db") as made:
        consumer = watched(made)
        insert(made, "a")
        insert(made, "b")
        made.wake()
        made.settle()
        assert [event.lsn for event in consumer.events] == [2, 3]
        assert made.told == 0


def test_what_is_told_twice_or_of_another_history_changes_nothing(tmp_path: Path):
    with world(tmp_path / "w.db") as made:
        consumer = watched(made)
        lsn = insert(made, "a")
        changes = made.engine.take_newest()
        news = LogAdvanced(lsn=lsn, timeline=made.engine.timeline, changes=changes)
        made.hub.take(LogAdvanced(lsn=lsn, timeline=9, changes=[b"nothing"]))
        made.hub.take(news)
        made.hub.take(news)
        made.settle()
        assert [event.lsn for event in consumer.events] == [lsn]
