"""What a client has to send, by destination, until a shell takes it as envelopes.

All that is queued for one destination leaves in one envelope, up to about 8 MiB of it;
a larger request has an envelope to itself. No IO here, and no knowledge of replies.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from aurora_actors.messages.base import Letter, Message, encode_envelope

__all__ = ["Outbox"]

_ENVELOPE_BYTES: Final = 8 << 20
_NOT_ENCODABLE: Final = (TypeError, ValueError, OverflowError)

_Queue: TypeAlias = list[tuple[Letter, int]]


class Outbox:
    """Letters that wait to be sent.

    Args:
        sender: The mailbox name that goes on every envelope.

    Attributes:
        count: How many letters wait, at least while none was dropped.
    """

    def __init__(self, sender: str) -> None:
        self._sender = sender
        self._queues: dict[str, _Queue] = {}
        self.count = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self._queues

    def put(self, destination: str, number: int, body: Message, size: int) -> None:
        """Queue one letter of about ``size`` bytes."""
        letter = (Letter(number, body), size)
        self.count += 1
        queue = self._queues.get(destination)
        if queue is None:
            self._queues[destination] = [letter]
        else:
            queue.append(letter)

    def drop(self, destination: str) -> None:
        """Forget what waits for ``destination``."""
        self._queues.pop(destination, None)

    def rename(self, sender: str) -> None:
        """Put another name on every envelope from now on."""
        self._sender = sender

    def clear(self) -> None:
        """Forget everything."""
        self._queues.clear()

    def take(
        self, floor_of: Callable[[str], int]
    ) -> tuple[list[tuple[str, bytes]], list[tuple[int, Exception]]]:
        """Everything that waits, as envelopes to be sent in this order.

        Args:
            floor_of: Gives the floor for a destination.

        Returns:
            The envelopes, and the request ids of the letters that hold what the wire
            cannot, with the reasons.
        """
        queues, self._queues = self._queues, {}
        self.count = 0
        envelopes: list[tuple[str, bytes]] = []
        refused: list[tuple[int, Exception]] = []
        for destination, queue in queues.items():
            floor = floor_of(destination)
            for letters in _split(queue):
                data = self._encode(floor, letters, refused)
                if data is not None:
                    envelopes.append((destination, data))
        return envelopes, refused

    def _encode(
        self, floor: int, letters: list[Letter], refused: list[tuple[int, Exception]]
    ) -> bytes | None:
        try:
            return encode_envelope(self._sender, floor, letters)
        except _NOT_ENCODABLE:
            # One of them is to blame; the others must not suffer.
            good = [letter for letter in letters if self._is_good(letter, refused)]
            return encode_envelope(self._sender, floor, good) if good else None

    def _is_good(self, letter: Letter, refused: list[tuple[int, Exception]]) -> bool:
        try:
            encode_envelope(self._sender, 0, [letter])
        except _NOT_ENCODABLE as exc:
            refused.append((letter.request_id, exc))
            return False
        return True


def _split(queue: _Queue) -> list[list[Letter]]:
    """Cut a queue into envelopes of about 8 MiB."""
    if sum([size for _, size in queue]) <= _ENVELOPE_BYTES:
        return [[letter for letter, _ in queue]]
    parts: list[list[Letter]] = [[]]
    filled = 0
    for letter, size in queue:
        if filled and filled + size > _ENVELOPE_BYTES:
            parts.append([])
            filled = 0
        parts[-1].append(letter)
        filled += size
    return parts
