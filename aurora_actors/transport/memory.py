"""Channels within one process, for a tree of actors in one trio loop.

A :class:`MemoryNetwork` carries encoded envelopes, so what travels is exactly what
would travel over nng. Its ``route`` decides, message by message, whether a message is
delivered, lost, delayed or repeated; the default delivers at once. With a virtual
clock and a seeded route whole histories of faults can be replayed.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import trio

from aurora_actors.errors import ProtocolError, UsageError
from aurora_actors.messages.base import (
    Letter,
    Mail,
    Message,
    decode_envelope,
    encode_envelope,
)
from aurora_actors.transport.channel import Outbox

__all__ = ["MemoryChannel", "MemoryNetwork", "Route"]

Route = Callable[[str, str], Sequence[float]]
"""Delays in seconds after which a message from one name to another arrives; one entry
delivers it once, none loses it, several repeat it."""

_AT_ONCE: Final[tuple[float, ...]] = (0.0,)
_INBOX_LIMIT: Final = 1024


def _deliver_at_once(_sender: str, _to: str) -> Sequence[float]:
    return _AT_ONCE


class MemoryNetwork:
    """Mailboxes by name, and the messages between them.

    ``run`` delivers delayed messages; a network whose route never delays does not
    need it.
    """

    def __init__(self, route: Route = _deliver_at_once) -> None:
        self.route = route
        self._boxes: dict[str, MemoryChannel] = {}
        self._delayed: list[tuple[float, str, str, bytes]] = []
        self._changed = trio.Event()

    def open(self, name: str) -> MemoryChannel:
        """Bind the mailbox ``name``; a new one takes the place of an old one."""
        channel = MemoryChannel(self, name)
        self.bind(channel)
        return channel

    def bind(self, channel: MemoryChannel) -> None:
        """Let ``channel`` receive what is sent to its name from now on."""
        self._boxes[channel.name] = channel
        self.has_room()

    def has_room(self) -> None:
        """A mailbox appeared or was read: senders that were refused may try again."""
        for channel in self._boxes.values():
            channel.try_again()

    def send(self, sender: str, to: str, data: bytes) -> bool:
        """Carry one envelope; false when the receiver's mailbox is full or absent."""
        box = self._boxes.get(to)
        if box is None or box.full:
            return False
        for delay_s in self.route(sender, to):
            if delay_s <= 0:
                box.put(data)
            else:
                due = trio.current_time() + delay_s
                self._delayed.append((due, sender, to, data))
                self._changed.set()
        return True

    def remove(self, channel: MemoryChannel) -> None:
        """Take a mailbox away; what it had not read is lost, as when a process dies."""
        if self._boxes.get(channel.name) is channel:
            del self._boxes[channel.name]

    async def run(self) -> None:
        """Deliver delayed messages when they are due."""
        while True:
            now = trio.current_time()
            due = sorted(item for item in self._delayed if item[0] <= now)
            self._delayed = [item for item in self._delayed if item[0] > now]
            for _when, _sender, to, data in due:
                if (box := self._boxes.get(to)) is not None:
                    box.put(data)
            self._changed = trio.Event()
            next_due = min((item[0] for item in self._delayed), default=math.inf)
            with trio.move_on_at(next_due):
                await self._changed.wait()


class MemoryChannel:
    """A channel on a :class:`MemoryNetwork`; see ``Channel`` for the contract."""

    def __init__(self, network: MemoryNetwork, name: str) -> None:
        self.name = name
        self._network = network
        self._waiting: deque[bytes] = deque()
        self._arrived = trio.Event()
        self._may_send = trio.Event()
        self._outboxes: dict[str, Outbox] = {}
        self._closed = False
        self._counts = dict.fromkeys(
            ("messages_in", "messages_out", "refused", "dropped"), 0
        )

    @property
    def full(self) -> bool:
        """Whether senders have to wait."""
        return len(self._waiting) >= _INBOX_LIMIT

    def put(self, data: bytes) -> None:
        """Let one message arrive."""
        self._waiting.append(data)
        self._arrived.set()

    async def receive(self) -> list[Mail]:
        """Wait for mail and return all that is there, oldest first; never empty."""
        while True:
            await trio.lowlevel.checkpoint()
            if self._closed:
                raise UsageError(f"mailbox {self.name} is closed")
            mails: list[Mail] = []
            while self._waiting:
                try:
                    mails.append(decode_envelope(self._waiting.popleft()))
                except ProtocolError:
                    self._counts["refused"] += 1
            if mails:
                self._counts["messages_in"] += len(mails)
                self._network.has_room()
                return mails
            self._arrived = trio.Event()
            await self._arrived.wait()

    def queue(self, to: str, request_id: int, body: Message) -> None:
        """Add a letter for the mailbox ``to``; it leaves with the next flush."""
        self.queue_all(to, (Letter(request_id, body),))

    def queue_all(self, to: str, letters: Sequence[tuple[int, Message]]) -> None:
        """Add letters for the mailbox ``to``: request ids and bodies."""
        box = self._outboxes.setdefault(to, Outbox())
        self._counts["dropped"] += box.add_all(letters)

    def flush(self) -> None:
        """Send what is queued as far as the receivers take it; never blocks."""
        for to, box in self._outboxes.items():
            if box.letters:
                data = encode_envelope(self.name, 0, box.letters)
                if self._network.send(self.name, to, data):
                    box.letters.clear()
                    self._counts["messages_out"] += 1

    def post(self, to: str, request_id: int, body: Message) -> None:
        """``queue`` and ``flush`` in one."""
        self.queue(to, request_id, body)
        self.flush()

    def look_for(self, seconds: float) -> None:
        """Nothing to do: within one process nobody sends while it looks."""

    async def run(self) -> None:
        """Send, for as long as it runs, what a flush had to leave behind."""
        while True:
            await self._may_send.wait()
            self._may_send = trio.Event()
            self.flush()

    def try_again(self) -> None:
        """Flush once more, in ``run``, if something was left behind."""
        if any(box.letters for box in self._outboxes.values()):
            self._may_send.set()

    def forget(self, to: str) -> None:
        """``to`` is gone, or another process now: drop what is queued for it."""
        self._outboxes.pop(to, None)

    def statistics(self) -> Mapping[str, int]:
        """Counters: messages in and out, refused and dropped ones."""
        return dict(self._counts)

    def close(self) -> None:
        """Take the mailbox off the network; idempotent."""
        self._closed = True
        self._network.remove(self)
        self._arrived.set()
