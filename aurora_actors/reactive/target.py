"""What a subscription that catches up is to be told next, in the form it wants.

Exactly, event by event; or coalesced, as the difference between two places in the log:
because the consumer was too slow, or because it goes on within a coalesced batch. State
only; moved by ``reactive.catchup``.
"""

from __future__ import annotations

from collections.abc import Sequence

from aurora_actors.messages.reactive import ChunkMode, LiveEvent
from aurora_actors.reactive.coalesce import Coalescer
from aurora_actors.reactive.query import LiveQuery
from aurora_actors.reactive.subscription import Subscription
from aurora_actors.reactive.window import Entry, difference

__all__ = ["CHUNK_BYTES", "CHUNK_EVENTS", "Target"]

CHUNK_BYTES = 256 << 10
CHUNK_EVENTS = 512
# What is coalesced is the less the more of it is taken together.
_BATCH_BYTES = 4 << 20
_BATCH_EVENTS = 4096
# All of a group may have as much as one alone, but for a little each.
_LEAST_BYTES = 16 << 10
_LEAST_EVENTS = 16


class Target:
    """One subscription of a group that catches up.

    Args:
        subscription: The subscription.
        query: Its ordered query, if it is one.
        shown: The result of that which the client has been told.
        group: How many catch up together.

    Attributes:
        subscription: As given.
        ends_at: Where the batch ends within which it resumes; 0 when it is in none.
    """

    __slots__ = (
        "_before",
        "_coalescer",
        "_coalesces",
        "_most_bytes",
        "_most_events",
        "_query",
        "_skip",
        "_skipped",
        "ends_at",
        "subscription",
    )

    def __init__(
        self,
        subscription: Subscription,
        query: LiveQuery | None,
        shown: Sequence[Entry],
        group: int = 1,
    ) -> None:
        self.subscription = subscription
        self._most_bytes = max(_LEAST_BYTES, _BATCH_BYTES // group)
        self._most_events = max(_LEAST_EVENTS, _BATCH_EVENTS // group)
        self._query = query
        self._coalescer = Coalescer()
        self._before = shown
        resumes = subscription.resumes
        self.ends_at = 0 if resumes is None else resumes.upto
        self._skip = 0 if resumes is None else resumes.seen
        self._skipped = self._skip
        self._coalesces = bool(self.ends_at) or (
            subscription.coalesces and not self._skip
        )

    def take(self, events: list[LiveEvent]) -> None:
        """Events that come next."""
        if not events:
            return
        if not self._coalesces:
            if self._skip:
                events, self._skip = events[self._skip :], 0
            self.subscription.take(events)
        elif self._query is None:
            self._coalescer.extend(events)

    @property
    def least(self) -> int:
        """The earliest place in the log to which it can be brought."""
        return self.ends_at or self.subscription.cursor + (self._skip > 0)

    @property
    def is_large(self) -> bool:
        """Whether there is enough for a chunk."""
        if self._coalesces:
            found = self._coalescer
            return found.size >= self._most_bytes or len(found) >= self._most_events
        found_size, number = self.subscription.size, len(self.subscription.events)
        return found_size >= min(CHUNK_BYTES, self._most_bytes) or number >= min(
            CHUNK_EVENTS, self._most_events
        )

    @property
    def is_due(self) -> bool:
        """Whether to tell what there is at the end of a step."""
        if self.ends_at:
            return False
        return self.is_large if self._coalesces else bool(self.subscription.events)

    def give(self, lsn: int) -> tuple[ChunkMode, list[LiveEvent], int]:
        """What is to be told to bring the client to ``lsn``; begins anew.

        The last part says how many events of a group were left out at the beginning.
        """
        if not self._coalesces:
            return ChunkMode.EXACT, self.subscription.take_events(), self._skipped
        query = self._query
        if query is None or query.window is None:
            events = self._coalescer.take(lsn)
        else:
            after = query.window.visible()
            events = query.selected(difference(self._before, after, lsn))
        return ChunkMode.COALESCED, events[self._skip :], self._skip

    def given(self, lsn: int) -> None:
        """The client has been told up to ``lsn``."""
        subscription = self.subscription
        subscription.cursor = lsn
        subscription.resumes = None
        self.ends_at = self._skip = self._skipped = 0
        self._coalesces = subscription.coalesces
        if self._query is not None and self._query.window is not None:
            self._before = self._query.window.visible()
