"""A heartbeat says of nobody that everything was told who has not been told it."""

from __future__ import annotations

from pathlib import Path

from live_model import Consumer, World

from aurora_actors.messages.base import Message
from aurora_actors.messages.query import OrderKey, QuerySpec
from aurora_actors.messages.reactive import LiveProgress, Watch
from aurora_actors.messages.storage import (
    DeleteDocument,
    InsertDocuments,
    ReplaceDocument,
)
from aurora_actors.schema.values import encode_document


class Listening(World):
    """A world that keeps the heartbeats."""

    def __init__(self, path: Path) -> None:
        self.beats: list[LiveProgress] = []
        super().__init__(path, retention=100_000)

    def deliver(self, client: str, number: int, message: Message) -> None:
        if isinstance(message, LiveProgress):
            self.beats.append(message)
        super().deliver(client, number, message)


def test_who_is_told_more_when_a_window_has_been_filled_is_behind(tmp_path: Path):
    made = Listening(tmp_path / "w.db")
    try:
        made.define("c")
        names = [f"d{number:03}" for number in range(300)]
        bodies = [encode_document({"n": number}) for number in range(300)]
        made.must(InsertDocuments(collection="c", ids=names, documents=bodies))
        query = QuerySpec(collection="c", order=[OrderKey("n")], limit=2)
        consumer = Consumer(Watch(query=query, credit=1))
        made.subscribe(consumer)
        made.settle()
        # The window is short with the last change, or with one before.
        for count in range(30, 36):
            fall_behind(made, names[0])
            for name in names[:count]:
                made.must(DeleteDocument(collection="c", id=name))
            del names[:count]
            look_at_beats(made, consumer)
            assert consumer.result() == made.query(query)
    finally:
        made.close()


def fall_behind(made: Listening, name: str) -> None:
    """Change the first of the result twice, once more than there is credit for."""
    for number in (-1, -2):
        body = encode_document({"n": number})
        made.must(ReplaceDocument(collection="c", id=name, document=body))
        made.hub.advance()


def look_at_beats(made: Listening, consumer: Consumer) -> None:
    """Bring it to the present, with a heartbeat at each step."""
    while consumer.read(made) or made.hub.has_work:
        if made.hub.has_work:
            made.hub.work()
        made.hub.beat()
        told = consumer.inbox[-1].lsn if consumer.inbox else consumer.lsn
        beat = made.beats[-1]
        assert consumer.number in beat.behind or told == beat.lsn
