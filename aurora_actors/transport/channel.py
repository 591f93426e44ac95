"""How an actor speaks with the others: the ``Channel`` interface.

An actor has one channel. It receives all mail that waits in one turn (that is what
makes group commit possible) and queues letters for others; letters queued for one
mailbox within a turn travel in one envelope. Two implementations keep this contract:
:class:`~aurora_actors.transport.mailbox.Mailbox` over nng, and
:class:`~aurora_actors.transport.memory.MemoryChannel` within one process.

Guarantees of both: letters from one sender to one receiver are not reordered while
neither restarts; a letter may be lost or repeated when either does, so requests carry
ids and are repeated by the asker; nothing blocks on a receiver that does not read, and
what is queued for it is bounded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from aurora_actors.messages.base import Mail, Message

__all__ = ["MAX_QUEUED_LETTERS", "Channel", "Outbox"]

MAX_QUEUED_LETTERS: Final = 200_000


class Channel(Protocol):
    """One actor's mailbox and its ways to the others'."""

    name: str

    async def receive(self) -> list[Mail]:
        """Wait for mail and return all that is there, oldest first; never empty."""
        ...

    def queue(self, to: str, request_id: int, body: Message) -> None:
        """Add a letter for the mailbox ``to``; it leaves with the next flush."""
        ...

    def queue_all(self, to: str, letters: Sequence[tuple[int, Message]]) -> None:
        """Add letters for the mailbox ``to``: request ids and bodies."""
        ...

    def flush(self) -> None:
        """Send what is queued as far as the receivers take it; never blocks."""
        ...

    def post(self, to: str, request_id: int, body: Message) -> None:
        """``queue`` and ``flush`` in one."""
        ...

    def look_for(self, seconds: float) -> None:
        """How long to look for mail before sleeping; see ``transport.busypoll``."""
        ...

    async def run(self) -> None:
        """Send, for as long as it runs, what a flush had to leave behind."""
        ...

    def forget(self, to: str) -> None:
        """``to`` is gone, or another process now: drop what is queued for it."""
        ...

    def statistics(self) -> Mapping[str, int]:
        """Counters: messages and letters in and out, refused and dropped ones."""
        ...

    def close(self) -> None:
        """Close the mailbox and remove its file."""
        ...


class Outbox:
    """Letters waiting for one receiver, bounded.

    ``overflowed`` is set, and the letters dropped, when more than
    ``MAX_QUEUED_LETTERS`` wait: the receiver is alive but has stopped reading.
    """

    __slots__ = ("letters", "overflowed")

    def __init__(self) -> None:
        self.letters: list[tuple[int, Message]] = []
        self.overflowed = False

    def add(self, letter: tuple[int, Message]) -> int:
        """Add a letter; returns how many were dropped because of it."""
        self.letters.append(letter)
        return self._bound()

    def add_all(self, letters: Sequence[tuple[int, Message]]) -> int:
        """Add letters; returns how many were dropped because of them."""
        self.letters += letters
        return self._bound()

    def _bound(self) -> int:
        if len(self.letters) <= MAX_QUEUED_LETTERS:
            return 0
        dropped = len(self.letters)
        self.letters.clear()
        self.overflowed = True
        return dropped
