"""An actor's mailbox over nng, for trio; with a Unix stream for what is urgent.

Invariant: all that one mailbox sends to another goes the same way, by nng or by the
other's stream socket (see ``transport.streams``), until it is told to forget the other.
"""

from __future__ import annotations

import logging
import select
from collections.abc import Mapping, Sequence
from typing import Final

import trio

from aurora_actors.errors import ProtocolError
from aurora_actors.messages.base import (
    Mail,
    Message,
    decode_envelope,
    encode_envelope,
)
from aurora_actors.transport.busypoll import BusyPoll
from aurora_actors.transport.channel import Outbox
from aurora_actors.transport.sockets import Inbox, Outlet, mailbox_path
from aurora_actors.transport.streams import (
    StreamInbox,
    StreamOutlet,
    outlet_to,
    stream_path,
)

__all__ = ["Mailbox"]

logger = logging.getLogger(__name__)

_MAX_MAILS_PER_TURN: Final = 256
_MAX_BYTES_PER_TURN: Final = 32 << 20
_TURN_S: Final = 0.01
_ENVELOPE_BYTES: Final = 16 << 20


class _Peer(Outbox):
    """What is under way to one receiver: letters, then encoded envelopes."""

    __slots__ = ("closed", "envelopes", "outlet", "waiting")

    def __init__(self, outlet: Outlet | StreamOutlet) -> None:
        super().__init__()
        self.outlet = outlet
        self.envelopes: list[bytes] = []
        self.waiting = False
        self.closed = False


class Mailbox:
    """The channel of an actor process; see :class:`Channel` for the contract.

    Args:
        runtime_dir: The tree's runtime directory.
        name: Its name.
        has_stream: Others may send to it through a stream socket.
        uses_streams: It sends to the stream sockets of those that have one.
        busy_poll_s: How long it looks for more before it sleeps, if it has a stream
            socket; see ``transport.busypoll``.
    """

    def __init__(
        self,
        runtime_dir: str,
        name: str,
        *,
        has_stream: bool = False,
        uses_streams: bool = False,
        busy_poll_s: float = 0.0,
    ) -> None:
        self.name = name
        self._runtime_dir = runtime_dir
        self._uses_streams = uses_streams
        self._inbox = Inbox(mailbox_path(runtime_dir, name))
        self._fd = self._inbox.fd
        self._stream: StreamInbox | None = None
        if has_stream:
            self._epoll = select.epoll()
            self._epoll.register(self._inbox.fd, select.EPOLLIN)
            self._stream = StreamInbox(stream_path(runtime_dir, name), self._epoll)
            self._busy_poll = BusyPoll(self._epoll, busy_poll_s)
            self._fd = self._epoll.fileno()
        self._peers: dict[str, _Peer] = {}
        self._dirty: dict[str, _Peer] = {}
        self._blocked: dict[str, _Peer] = {}
        self._wake_runner = trio.Event()
        self._yielded_at = 0.0
        self._counts = dict.fromkeys(
            (
                "messages_in",
                "letters_in",
                "messages_out",
                "letters_out",
                "refused",
                "dropped",
            ),
            0,
        )

    # -------------------------------------------------------------- receiving
    async def receive(self) -> list[Mail]:
        """Wait for mail and return all that is there, oldest first; never empty."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if trio.current_time() - self._yielded_at > _TURN_S:
            # Under steady load nothing else would let the other tasks run.
            await trio.lowlevel.checkpoint()
            self._yielded_at = trio.current_time()
        while not (mails := self._drain()):
            await trio.lowlevel.wait_readable(self._fd)
            self._yielded_at = trio.current_time()
        return mails

    def look_for(self, seconds: float) -> None:
        """How long to look for mail before sleeping; see ``transport.busypoll``."""
        if self._stream is not None:
            self._busy_poll.look_for(seconds)

    def _drain(self) -> list[Mail]:
        if self._stream is None:
            return self._drain_inbox()
        mails: list[Mail] = []
        for fd, _ in self._busy_poll.poll():
            if fd == self._inbox.fd:
                mails += self._drain_inbox()
                continue
            for data in self._stream.receive(fd):
                self._take(data, mails)
        return mails

    def _drain_inbox(self) -> list[Mail]:
        mails: list[Mail] = []
        size = 0
        receive = self._inbox.receive_nowait
        while len(mails) < _MAX_MAILS_PER_TURN and size < _MAX_BYTES_PER_TURN:
            data = receive()
            if data is None:
                break
            size += len(data)
            self._take(data, mails)
        return mails

    def _take(self, data: bytes, mails: list[Mail]) -> None:
        try:
            mail = decode_envelope(data)
        except ProtocolError as exc:
            self._counts["refused"] += 1
            logger.warning("refused a message", extra={"reason": exc.message})
            return
        self._counts["letters_in"] += len(mail.letters)
        self._counts["messages_in"] += 1
        mails.append(mail)

    # -------------------------------------------------------------- sending
    def queue(self, to: str, request_id: int, body: Message) -> None:
        """Add a letter for the mailbox ``to``; it leaves with the next flush."""
        peer = self._dirty.get(to) or self._dirty_peer(to)
        if dropped := peer.add((request_id, body)):
            self._counts["dropped"] += dropped

    def queue_all(self, to: str, letters: Sequence[tuple[int, Message]]) -> None:
        """Add letters for the mailbox ``to``: request ids and bodies."""
        self._counts["dropped"] += self._dirty_peer(to).add_all(letters)

    def _dirty_peer(self, to: str) -> _Peer:
        """The peer, among those that have something to be sent."""
        peer = self._peers.get(to)
        if peer is None:
            peer = self._peers[to] = _Peer(self._outlet_to(to))
        self._dirty[to] = peer
        return peer

    def _outlet_to(self, to: str) -> Outlet | StreamOutlet:
        if self._uses_streams:
            return outlet_to(self._runtime_dir, to)
        return Outlet(mailbox_path(self._runtime_dir, to))

    def flush(self) -> None:
        """Send what is queued as far as the receivers take it; never blocks."""
        for to, peer in self._dirty.items():
            if not peer.waiting and not self._send(peer):
                peer.waiting = True
                self._blocked[to] = peer
                self._wake_runner.set()
        self._dirty.clear()

    def post(self, to: str, request_id: int, body: Message) -> None:
        """``queue`` and ``flush`` in one."""
        self.queue(to, request_id, body)
        self.flush()

    def _send(self, peer: _Peer) -> bool:
        """Send all that ``peer`` has; false when its socket takes no more now."""
        if peer.letters:
            self._pack(peer)
        envelopes = peer.envelopes
        while envelopes:
            if not peer.outlet.send_nowait(envelopes[0]):
                return False
            del envelopes[0]
            self._counts["messages_out"] += 1
        return True

    def _pack(self, peer: _Peer) -> None:
        letters, peer.letters = peer.letters, []
        self._counts["letters_out"] += len(letters)
        data = encode_envelope(self.name, 0, letters)
        if len(data) <= _ENVELOPE_BYTES or len(letters) == 1:
            peer.envelopes.append(data)
            return
        middle = len(letters) // 2
        for half in (letters[:middle], letters[middle:]):
            peer.letters = half
            self._pack(peer)

    async def run(self) -> None:
        """Send, for as long as it runs, what a flush had to leave behind."""
        async with trio.open_nursery() as nursery:
            while True:
                await self._wake_runner.wait()
                self._wake_runner = trio.Event()
                blocked, self._blocked = self._blocked, {}
                for peer in blocked.values():
                    nursery.start_soon(self._send_when_possible, peer)

    async def _send_when_possible(self, peer: _Peer) -> None:
        while not peer.closed:
            try:
                await trio.lowlevel.wait_readable(peer.outlet.send_fd)
            except trio.ClosedResourceError:
                return
            if peer.closed or self._send(peer):
                break
        peer.waiting = False

    def forget(self, to: str) -> None:
        """``to`` is gone, or another process now: drop what is queued for it."""
        self._dirty.pop(to, None)
        self._blocked.pop(to, None)
        peer = self._peers.pop(to, None)
        if peer is not None:
            self._close_peer(peer)

    @staticmethod
    def _close_peer(peer: _Peer) -> None:
        peer.closed = True
        trio.lowlevel.notify_closing(peer.outlet.send_fd)
        peer.outlet.close()

    # -------------------------------------------------------------- life
    def statistics(self) -> Mapping[str, int]:
        """Counters: messages and letters in and out, refused and dropped ones."""
        return dict(self._counts)

    def close(self) -> None:
        """Close the mailbox and remove its file; idempotent."""
        for to in list(self._peers):
            self.forget(to)
        trio.lowlevel.notify_closing(self._fd)
        if self._stream is not None:
            self._epoll.close()
            self._stream.close()
        self._inbox.close()
