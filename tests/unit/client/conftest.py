"""A peer for the shells: it answers over real sockets, from a thread of the test."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Callable

import msgspec
import pytest

from aurora_actors.client.connection import SupervisorStream
from aurora_actors.client.launch import TreeConnection
from aurora_actors.client.link import Link
from aurora_actors.config import AuroraConfig
from aurora_actors.messages.base import (
    Letter,
    Message,
    decode_envelope,
    encode_envelope,
)
from aurora_actors.messages.framing import FrameReader, encode_frame
from aurora_actors.messages.query import RunQuery, decode_query_request
from aurora_actors.messages.storage import decode_storage_request
from aurora_actors.messages.supervision import (
    ApplicationRequest,
    Attached,
    Detach,
    ReadStatus,
    TreeStatus,
)
from aurora_actors.transport.sockets import Inbox, Outlet, mailbox_path

EXECUTOR = "query_executor-0"


class Peer:
    """Storage, one executor and the supervisor of a tree, as a script plays them.

    Attributes:
        answer: Called with (actor, request id, request); the messages that answer.
        envelopes: How many requests each received envelope had, in order.
        requests: What was received: (actor, request id, request).
    """

    def __init__(self, runtime_dir) -> None:
        self.runtime_dir = str(runtime_dir)
        self.answer: Callable[[str, int, Message], list[Message]] = lambda *_: []
        self.envelopes: list[int] = []
        self.requests: list[tuple[str, int, Message]] = []
        self.arrived = threading.Condition()
        self._inboxes = {
            name: Inbox(mailbox_path(self.runtime_dir, name))
            for name in ("storage", EXECUTOR)
        }
        self._outlets: dict[str, Outlet] = {}
        self._sockets: list[socket.socket] = []
        self._frames: dict[int, FrameReader] = {}
        self._wake_out, self._wake_in = socket.socketpair()
        self._stop = False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def link(self, name="c-0", number=0, others=()) -> Link:
        ours, theirs = socket.socketpair()
        self._frames[ours.fileno()] = FrameReader()
        self._sockets.append(ours)
        self._wake_in.send(b"x")
        connection = TreeConnection(theirs, self.runtime_dir)
        connection.attached = Attached(
            tree_id="t",
            supervisor_pid=1,
            runtime_dir=self.runtime_dir,
            config=msgspec.msgpack.encode(AuroraConfig(db_path="x")),
            incarnations=dict.fromkeys(("storage", EXECUTOR, *others), 1),
            number=number,
        )
        return Link(SupervisorStream(connection), name)

    def notify(self, message: Message) -> None:
        for each in self._sockets:
            each.sendall(encode_frame(message))

    def hang_up(self) -> None:
        for each in self._sockets:
            each.shutdown(socket.SHUT_RDWR)

    def wait_for(self, count: int) -> None:
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.requests) >= count, 60)

    def send(self, client: str, number: int, *messages: Message, sender="storage"):
        letters = [Letter(number, message) for message in messages]
        self._post(client, encode_envelope(sender, 0, letters))

    def close(self) -> None:
        self._stop = True
        self._wake_in.send(b"x")
        self._thread.join()
        for each in (*self._inboxes.values(), *self._outlets.values()):
            each.close()
        for end in (*self._sockets, self._wake_in, self._wake_out):
            end.close()

    def _outlet(self, client: str) -> Outlet:
        if client not in self._outlets:
            self._outlets[client] = Outlet(mailbox_path(self.runtime_dir, client))
        return self._outlets[client]

    def _post(self, client: str, data: bytes) -> None:
        outlet = self._outlet(client)
        while not outlet.send_nowait(data):
            select.select([outlet.send_fd], [], [], 1)

    def _run(self) -> None:
        while not self._stop:
            poll = select.poll()
            for inbox in self._inboxes.values():
                poll.register(inbox.fd, select.POLLIN)
            for each in (*self._sockets, self._wake_out):
                if each.fileno() >= 0:
                    poll.register(each, select.POLLIN)
            ready = {fd for fd, _ in poll.poll(1000)}
            if self._wake_out.fileno() in ready:
                self._wake_out.recv(100)
            for name, inbox in self._inboxes.items():
                while (data := inbox.receive_nowait()) is not None:
                    self._serve(name, data)
            for each in list(self._sockets):
                if each.fileno() in ready:
                    self._obey(each)

    def _serve(self, name: str, data: bytes) -> None:
        mail = decode_envelope(data)
        decode = decode_storage_request if name == "storage" else decode_query_request
        letters = []
        received = []
        for letter in mail.letters:
            request = decode(letter.body)
            received.append((name, letter.request_id, request))
            letters += [
                Letter(letter.request_id, reply)
                for reply in self.answer(name, letter.request_id, request)
            ]
        with self.arrived:
            self.envelopes.append(len(mail.letters))
            self.requests += received
            self.arrived.notify_all()
        if letters:
            self._post(mail.sender, encode_envelope(name, 0, letters))

    def _obey(self, each: socket.socket) -> None:
        try:
            data = each.recv(65536)
        except OSError:
            data = b""
        reader = self._frames[each.fileno()]
        reader.feed(data)
        while (body := reader.next_frame()) is not None:
            match msgspec.msgpack.decode(body, type=ApplicationRequest):
                case ReadStatus():
                    status = TreeStatus(
                        supervisor_pid=1,
                        tree_id="t",
                        lsn=1,
                        timeline=1,
                        clients=1,
                        actors=[],
                    )
                    each.sendall(encode_frame(status))
                case Detach():
                    data = b""
        if not data:
            self._sockets.remove(each)
            each.close()


@pytest.fixture
def peer(runtime_dir):
    it = Peer(runtime_dir)
    yield it
    it.close()


__all__ = ["EXECUTOR", "Peer", "RunQuery", "peer"]
