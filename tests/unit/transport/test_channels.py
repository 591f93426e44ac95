"""One suite over both implementations of ``Channel``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from aurora_actors.messages.base import PROTOCOL_VERSION, Failure
from aurora_actors.messages.storage import (
    DeleteDocument,
    SyncLog,
    decode_storage_request,
)
from aurora_actors.transport.channel import MAX_QUEUED_LETTERS, Channel, Outbox
from aurora_actors.transport.mailbox import Mailbox
from aurora_actors.transport.memory import MemoryNetwork
from aurora_actors.transport.sockets import Outlet, mailbox_path

Opener = Callable[[str], Channel]


@pytest.fixture(params=["nng", "streams", "memory"])
def opener(request: pytest.FixtureRequest, runtime_dir: Path) -> Opener:
    if request.param == "memory":
        network = MemoryNetwork()
        return network.open
    streams = request.param == "streams"
    return lambda name: Mailbox(
        str(runtime_dir), name, has_stream=streams, uses_streams=streams
    )


@asynccontextmanager
async def running(*channels: Channel) -> AsyncIterator[None]:
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for channel in channels:
                nursery.start_soon(channel.run)
            try:
                yield
            finally:
                nursery.cancel_scope.cancel()
                for channel in channels:
                    channel.close()


async def letters(channel: Channel, count: int) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    while len(found) < count:
        for mail in await channel.receive():
            found.extend((mail.sender, letter.request_id) for letter in mail.letters)
    return found


async def test_letters_arrive_in_order_with_their_sender(opener: Opener) -> None:
    a, b = opener("a"), opener("b")
    async with running(a, b):
        for number in range(1, 1001):
            a.queue("b", number, SyncLog())
            if number % 7 == 0:
                a.flush()
        a.flush()
        assert await letters(b, 1000) == [("a", n) for n in range(1, 1001)]


async def test_letters_queued_in_one_turn_travel_in_one_message(opener: Opener) -> None:
    a, b = opener("a"), opener("b")
    async with running(a, b):
        for number in range(64):
            a.queue("b", number, SyncLog())
        a.flush()
        await letters(b, 64)
        assert b.statistics()["messages_in"] == 1


async def test_a_body_arrives_as_it_was_sent(opener: Opener) -> None:
    a, b = opener("a"), opener("b")
    async with running(a, b):
        sent = DeleteDocument(collection="users", id="é" * 100)
        a.post("b", 5, sent)
        [mail] = await b.receive()
        assert decode_storage_request(mail.letters[0].body) == sent


async def test_a_receiver_that_reads_late_gets_everything(opener: Opener) -> None:
    a, b = opener("a"), opener("b")
    async with running(a, b):
        for number in range(5000):
            a.post("b", number, SyncLog())
        assert [n for _, n in await letters(b, 5000)] == list(range(5000))


async def test_forgetting_a_receiver_drops_what_waits_for_it(opener: Opener) -> None:
    a = opener("a")
    async with running(a):
        a.post("nobody", 1, SyncLog())
        a.forget("nobody")
        a.forget("nobody")
        b = opener("b")
        a.post("b", 2, SyncLog())
        assert await letters(b, 1) == [("a", 2)]
        b.close()


async def test_what_waits_for_one_receiver_is_bounded() -> None:
    box = Outbox()
    from aurora_actors.messages.base import Letter

    letter = Letter(1, SyncLog())
    dropped = sum(box.add(letter) for _ in range(MAX_QUEUED_LETTERS + 1))
    assert dropped == MAX_QUEUED_LETTERS + 1
    assert box.overflowed
    assert not box.letters


@pytest.mark.parametrize(
    "garbage",
    [b"", b"\xc1", b"\x00" * 50, b"\x94\x01\xa1a\x00\x90"[:-1], bytes(range(256))],
    ids=["empty", "never-used byte", "zeros", "cut", "all bytes"],
)
async def test_garbage_is_counted_and_harms_nothing(
    runtime_dir: Path, garbage: bytes
) -> None:
    box = Mailbox(str(runtime_dir), "box")
    stranger = Outlet(mailbox_path(str(runtime_dir), "box"))
    friend = Mailbox(str(runtime_dir), "friend")
    async with running(box, friend):
        while not stranger.send_nowait(garbage):
            await trio.lowlevel.wait_readable(stranger.send_fd)
        async with trio.open_nursery() as nursery:

            async def until_refused() -> None:
                while not box.statistics()["refused"]:
                    await trio.lowlevel.checkpoint()
                friend.post("box", 1, SyncLog())

            nursery.start_soon(until_refused)
            assert await letters(box, 1) == [("friend", 1)]
        stranger.close()


async def test_a_large_turn_is_split_into_envelopes(runtime_dir: Path) -> None:
    a = Mailbox(str(runtime_dir), "a")
    b = Mailbox(str(runtime_dir), "b")
    async with running(a, b):
        for number in range(12):
            a.queue("b", number, Failure(code="x", message="y" * (4 << 20)))
        a.flush()
        assert [n for _, n in await letters(b, 12)] == list(range(12))
        assert b.statistics()["messages_in"] > 1


async def test_delays_losses_and_repeats_of_the_memory_network(
    autojump_clock: trio.testing.MockClock,
) -> None:
    plan = iter([(0.0,), (), (5.0,), (0.0, 1.0)])
    network = MemoryNetwork(lambda _sender, _to: next(plan))
    a, b = network.open("a"), network.open("b")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(network.run)
        for number in range(4):
            a.post("b", number, SyncLog())
        assert [n for _, n in await letters(b, 4)] == [0, 3, 3, 2]
        assert trio.current_time() >= 5.0
        nursery.cancel_scope.cancel()
    assert PROTOCOL_VERSION == 1
