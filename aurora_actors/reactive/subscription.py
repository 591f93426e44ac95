"""What the dispatcher knows of one subscription.

State only; it is moved by ``reactive.hub`` and its jobs. Nothing is kept for a client
that does not read: a subscription without credit is just a place in the log.

What is under way is bounded in chunks (the credit that the client grants) and in bytes:
for all of a client together, and for each subscription on its way to the present, whose
chunks wait with the client until they are read. To a subscription that has little under
way small chunks may always be sent, and any while the client has no more than four times
its bound: so it waits for the consumers of others only beyond that. A client keeps less
than that little to itself before it grants (``client.live``), so nobody ever waits for
credit that is not due.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

from aurora_actors.messages.reactive import Listen, LiveEvent, Watch
from aurora_actors.reactive.coalesce import event_size
from aurora_actors.reactive.tokens import Token

__all__ = ["Client", "Place", "Subscription"]

_CLIENT_BYTES = 32 << 20
_LATE_BYTES = 2 << 20
_LITTLE_BYTES = 16 << 10


class Place(Protocol):
    """A feed, as far as a subscription knows it."""

    cursor: int

    def detach(self, subscription: Subscription) -> None:
        """Take the subscription out."""
        ...


class Client:
    """All subscriptions of one client.

    Attributes:
        name: Its mailbox.
        subscriptions: By their numbers.
        outstanding: The bytes of chunks that it has not yet granted again.
    """

    __slots__ = ("name", "outstanding", "subscriptions")

    def __init__(self, name: str) -> None:
        self.name = name
        self.subscriptions: dict[int, Subscription] = {}
        self.outstanding = 0

    @property
    def is_full(self) -> bool:
        """Whether it has more under way than a client may have."""
        return self.outstanding > _CLIENT_BYTES

    @property
    def is_overfull(self) -> bool:
        """Whether it has four times as much."""
        return self.outstanding > 4 * _CLIENT_BYTES


class Subscription:
    """One subscription.

    Attributes:
        client: Whose it is.
        number: The client's number for it.
        request: What was asked.
        collection: The collection's id; ``None`` for all.
        cursor: Everything up to this change has been told; while it takes part in a
            feed, the feed's cursor counts.
        feed: The feed it takes part in, if it does.
        is_live: The feed is at the present, or is the one of its debounce interval.
        coalesces: What it has missed is told in its final state.
        resumes: The place within a group of events at which it began, until the group
            has been told.
        lost: The next chunk says that history was lost.
        epoch: Counts what makes the work under way for it pointless.
        events: What is to be told next.
        size: The bytes of these.
        outstanding: The bytes of its chunks that were not granted again.
        waiting: It goes on when the client grants credit.
    """

    __slots__ = (
        "_sent",
        "client",
        "coalesces",
        "collection",
        "credit",
        "cursor",
        "epoch",
        "events",
        "feed",
        "is_live",
        "lost",
        "next_chunk",
        "number",
        "outstanding",
        "request",
        "resumes",
        "size",
        "waiting",
    )

    def __init__(
        self, client: Client, number: int, request: Watch | Listen, cursor: int
    ) -> None:
        self.client = client
        self.number = number
        self.request = request
        self.collection: int | None = None
        self.cursor = cursor
        self.credit = max(1, request.credit)
        self.next_chunk = 0
        self.feed: Place | None = None
        self.is_live = False
        self.coalesces = isinstance(request, Watch) and (
            request.coalesces or request.debounce_s > 0
        )
        self.resumes: Token | None = None
        self.lost = False
        self.epoch = 0
        self.events: list[LiveEvent] = []
        self.size = self.outstanding = 0
        self.waiting = False
        self._sent: deque[int] = deque()

    @property
    def debounce_s(self) -> float:
        """How often it is looked at; 0 at every change."""
        return self.request.debounce_s if isinstance(self.request, Watch) else 0.0

    @property
    def may_send(self) -> bool:
        """Whether a chunk of any size may be sent now."""
        if self.credit <= 0:
            return False
        own, client = self.outstanding, self.client
        if not client.is_full:
            return self.is_live or own < _LATE_BYTES
        return not (self.is_live or own > _LITTLE_BYTES or client.is_overfull)

    def may_send_little(self, size: int) -> bool:
        """Whether a chunk of ``size`` bytes may be sent even though the client is full."""
        return self.credit > 0 and self.outstanding + size <= _LITTLE_BYTES

    @property
    def is_open(self) -> bool:
        """Whether the client still wants it."""
        return self.client.subscriptions.get(self.number) is self

    def take(self, events: list[LiveEvent]) -> None:
        """Add events to what is told next."""
        self.events += events
        for event in events:
            self.size += event_size(event)

    def take_events(self) -> list[LiveEvent]:
        """Empty what is told next."""
        events = self.events
        if events:
            self.events, self.size = [], 0
        return events

    def note_sent(self, size: int) -> int:
        """A chunk of ``size`` bytes leaves; returns its number."""
        self.credit -= 1
        self.client.outstanding += size
        self.outstanding += size
        self._sent.append(size)
        number = self.next_chunk
        self.next_chunk += 1
        return number

    def note_granted(self, chunks: int) -> None:
        """The client has done with ``chunks`` more."""
        for _ in range(min(chunks, len(self._sent))):
            self.credit += 1
            size = self._sent.popleft()
            self.client.outstanding -= size
            self.outstanding -= size

    def close(self) -> None:
        """Nothing is under way any more."""
        self.client.outstanding -= self.outstanding
        self.outstanding = 0
        self._sent.clear()
