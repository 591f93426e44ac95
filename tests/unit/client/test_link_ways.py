"""Which way requests take to an actor that has a stream socket, and that none overtakes another."""

from __future__ import annotations

import select
import time
from collections.abc import Iterator

import pytest

from aurora_actors.client.link import Link
from aurora_actors.messages.base import Letter, decode_envelope, encode_envelope
from aurora_actors.messages.storage import InsertDocuments, Written
from aurora_actors.transport.streams import StreamInbox, stream_path

SMALL, LARGE = b"x", b"x" * 200_000
REPLY = Written(lsn=1, synced=False, affected=1)


class Sender:
    """A link, and what has come through the stream socket of its storage."""

    def __init__(self, peer) -> None:
        self.peer = peer
        self.epoll = select.epoll()
        self.inbox = StreamInbox(stream_path(peer.runtime_dir, "storage"), self.epoll)
        self.link: Link = peer.link()
        self.numbers: list[int] = []

    def ask(self, document: bytes) -> int:
        request = InsertDocuments(collection="c", ids=["a"], documents=[document])
        call = self.link.core.submit("storage", request)
        self.link.flush()
        return call.number

    def answer(self, *numbers: int) -> None:
        letters = [Letter(number, REPLY) for number in numbers]
        self.link.core.on_mail(encode_envelope("storage", 0, letters))

    def through_the_door(self, count: int) -> list[int]:
        while len(self.numbers) < count:
            events = self.epoll.poll(5)
            assert events
            for fd, _ in events:
                for data in self.inbox.receive(fd):
                    letters = decode_envelope(data).letters
                    self.numbers += [letter.request_id for letter in letters]
            self.link.pump()
        return self.numbers

    def by_nng(self, count: int) -> list[int]:
        deadline = time.monotonic() + 10
        while len(self.peer.requests) < count:
            assert time.monotonic() < deadline
            self.link.wait(0.05)
            self.link.pump()
        return [number for _, number, _ in self.peer.requests]

    def close(self) -> None:
        self.link.shut()
        self.link.leave(0)
        self.epoll.close()
        self.inbox.close()


@pytest.fixture
def sender(peer) -> Iterator[Sender]:
    sender = Sender(peer)
    yield sender
    sender.close()


def test_small_requests_take_the_door_and_large_ones_nng(sender: Sender) -> None:
    first = sender.ask(SMALL)
    assert sender.through_the_door(1) == [first]
    sender.answer(first)
    second = sender.ask(LARGE)
    assert sender.by_nng(1) == [second]
    sender.answer(second)
    third = sender.ask(SMALL)
    assert sender.through_the_door(2) == [first, third]


def test_the_way_changes_only_when_everything_was_answered(sender: Sender) -> None:
    first, second = sender.ask(SMALL), sender.ask(LARGE)
    assert sender.through_the_door(2) == [first, second]
    sender.answer(second)
    third = sender.ask(LARGE)
    assert sender.through_the_door(3) == [first, second, third]
    sender.answer(first, third)
    fourth, fifth = sender.ask(LARGE), sender.ask(SMALL)
    assert sender.by_nng(2) == [fourth, fifth]
    sender.answer(fourth)
    sixth = sender.ask(SMALL)
    assert sender.by_nng(3) == [fourth, fifth, sixth]
    sender.answer(fifth, sixth)
    seventh = sender.ask(SMALL)
    assert sender.through_the_door(4)[-1] == seventh
