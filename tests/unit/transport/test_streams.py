"""Streams: what is sent arrives whole and in order, and nobody waits for the dead."""

from __future__ import annotations

import os
import random
import resource
import select
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from aurora_actors.errors import ConfigError, LimitExceededError, UsageError
from aurora_actors.messages.storage import SyncLog
from aurora_actors.transport.mailbox import Mailbox
from aurora_actors.transport.sockets import MAX_MESSAGE_BYTES
from aurora_actors.transport.streams import StreamInbox, StreamOutlet, stream_path


class Owner:
    """A receiving end and the epoll it registers with."""

    def __init__(self, path: str) -> None:
        self.epoll = select.epoll()
        self.inbox = StreamInbox(path, self.epoll)

    def receive(self, wait_s: float = 60.0) -> list[bytes]:
        events = self.epoll.poll(wait_s)
        return [data for fd, _ in events for data in self.inbox.receive(fd)]

    def receive_count(self, count: int) -> list[bytes]:
        found: list[bytes] = []
        while len(found) < count:
            assert self.epoll.poll(60.0)
            found += self.receive()
        return found

    def close(self) -> None:
        self.epoll.close()
        self.inbox.close()


@pytest.fixture
def path(runtime_dir: Path) -> str:
    return stream_path(str(runtime_dir), "box")


@pytest.fixture
def owner(path: str) -> Iterator[Owner]:
    owner = Owner(path)
    yield owner
    owner.close()


@pytest.fixture
def outlet(path: str) -> Iterator[StreamOutlet]:
    outlet = StreamOutlet(path)
    yield outlet
    outlet.close()


def test_messages_of_all_sizes_arrive_whole_and_in_order(
    owner: Owner, outlet: StreamOutlet
) -> None:
    rng = random.Random(7)
    sizes = [0, 1, 3, 4, 5, 65_531, 65_532, 65_533, 1 << 20, 3 << 20]
    sent = [os.urandom(rng.choice(sizes[:8])) for _ in range(200)]
    sent += [os.urandom(size) for size in sizes]
    got: list[bytes] = []
    for data in sent:
        while not outlet.send_nowait(data):
            got += owner.receive()
    while len(got) < len(sent):
        got += owner.receive()
    assert got == sent


def test_who_waits_for_room_is_woken_when_there_is_some(
    owner: Owner, outlet: StreamOutlet
) -> None:
    sent = 0
    while outlet.send_nowait(large := b"x" * 50_000):
        sent += 1
    assert sent > 0
    assert not select.select([outlet.send_fd], [], [], 0)[0]
    assert len(owner.receive_count(sent)) == sent
    while not outlet.send_nowait(large):
        owner.receive()
        assert select.select([outlet.send_fd], [], [], 60)[0]


def test_who_waits_for_room_is_woken_when_the_receiver_is_gone(
    path: str, outlet: StreamOutlet
) -> None:
    first = Owner(path)
    while outlet.send_nowait(large := b"x" * 50_000):
        pass
    assert not select.select([outlet.send_fd], [], [], 0)[0]
    first.receive()
    first.close()
    assert select.select([outlet.send_fd], [], [], 60)[0]
    second = Owner(path)
    try:
        while not outlet.send_nowait(large):
            pass  # from its beginning, to whoever listens now
        assert second.receive_count(1) == [large]
    finally:
        second.close()


def test_what_is_sent_to_nobody_is_dropped_and_the_next_receiver_is_found(
    path: str, outlet: StreamOutlet
) -> None:
    assert outlet.send_nowait(b"nobody hears this")
    for number in range(5):
        owner = Owner(path)
        try:
            data = str(number).encode()
            assert outlet.send_nowait(data)
            assert owner.receive_count(1) == [data]
        finally:
            owner.close()
        assert outlet.send_nowait(b"nor this")
    assert not Path(path).exists()


def test_a_stale_file_is_replaced(path: str, outlet: StreamOutlet) -> None:
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(path)
    dead.close()
    owner = Owner(path)
    try:
        assert outlet.send_nowait(b"hello")
        assert owner.receive_count(1) == [b"hello"]
    finally:
        owner.close()


def test_who_speaks_something_else_is_shown_the_door(
    path: str, owner: Owner, outlet: StreamOutlet
) -> None:
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.connect(path)
        stranger.sendall(b"\xff\xff\xff\xff" + b"garbage")
        while (found := owner.receive(0.05)) or owner.epoll.poll(0):
            assert not found
        stranger.settimeout(60)
        assert stranger.recv(1) == b""
    assert outlet.send_nowait(b"still here")
    assert owner.receive_count(1) == [b"still here"]


def test_without_a_free_descriptor_who_connects_is_turned_away(
    path: str, owner: Owner
) -> None:
    outlets = [StreamOutlet(path) for _ in range(3)]
    for outlet in outlets:
        assert outlet.send_nowait(b"hello")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket(socket.AF_UNIX) as lowest_free:
        lowest = lowest_free.fileno()
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        for _ in outlets:
            assert owner.receive() == []
        assert not owner.epoll.poll(0)  # nothing wakes us again and again
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    for outlet in outlets:
        assert outlet.send_nowait(b"again")
        assert owner.receive_count(1) == [b"again"]
        outlet.close()


def test_limits_and_closed_ends(path: str, runtime_dir: Path, owner: Owner) -> None:
    outlet = StreamOutlet(path)
    with pytest.raises(LimitExceededError, match="smaller chunks"):
        outlet.send_nowait(bytes(MAX_MESSAGE_BYTES + 1))
    outlet.close()
    outlet.close()
    with pytest.raises(UsageError, match="closed"):
        outlet.send_nowait(b"late")
    owner.inbox.close()
    owner.inbox.close()
    with pytest.raises(ConfigError, match="longer than"):
        stream_path(f"{runtime_dir}/{'x' * 100}", "box")


async def test_letters_take_the_door_where_there_is_one(runtime_dir: Path) -> None:
    directory = str(runtime_dir)
    plain = Mailbox(directory, "plain")
    streaming = Mailbox(directory, "streaming", has_stream=True, uses_streams=True)
    friend = Mailbox(directory, "friend", has_stream=True, uses_streams=True)
    boxes = (plain, streaming, friend)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for box in boxes:
                nursery.start_soon(box.run)
            await _exchange(plain, streaming, friend)
            nursery.cancel_scope.cancel()
    for box in boxes:
        box.close()
    assert not files_in(runtime_dir)


def files_in(directory: Path) -> list[Path]:
    return list(directory.iterdir())


async def _exchange(plain: Mailbox, streaming: Mailbox, friend: Mailbox) -> None:
    for number in range(1, 50):
        streaming.post("friend", number, SyncLog())  # by its stream
        streaming.post("plain", number, SyncLog())  # it has none
        plain.post("friend", number, SyncLog())  # it uses no streams
    for box, senders in ((friend, ("streaming", "plain")), (plain, ("streaming",))):
        found: dict[str, list[int]] = {name: [] for name in senders}
        while any(len(numbers) < 49 for numbers in found.values()):
            for mail in await box.receive():
                numbers = [letter.request_id for letter in mail.letters]
                found[mail.sender] += numbers
        assert all(numbers == list(range(1, 50)) for numbers in found.values())
