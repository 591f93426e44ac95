"""What many events of a document come to: its last state wins.

A pure fold over the events of one live query. Added and then modified is added with the
last state; added and then removed is nothing; removed and then added is modified. The
result is the difference between the query's results before and after. It depends on
these alone, not on what happened in between, so that it can be made again.
"""

from __future__ import annotations

from collections.abc import Iterable

from aurora_actors.messages.reactive import LiveEvent, LiveKind
from aurora_actors.schema.record import record_body

__all__ = ["Coalescer", "event_size"]


class Coalescer:
    """Gathers events of a query without positions, at most one for each document.

    Attributes:
        size: About how many bytes the gathered events have.
    """

    __slots__ = ("_events", "size")

    def __init__(self) -> None:
        self._events: dict[int, LiveEvent] = {}
        self.size = 0

    def __len__(self) -> int:
        return len(self._events)

    def extend(self, events: Iterable[LiveEvent]) -> None:
        """Take more events, in their order."""
        for event in events:
            self.add(event)

    def add(self, event: LiveEvent) -> None:
        """Take one more event."""
        before = self._events.pop(event.row, None)
        if before is not None:
            self.size -= event_size(before)
            joined = _join(before, event)
            if joined is None:
                return
            event = joined
        self._events[event.row] = event
        self.size += event_size(event)

    def take(self, lsn: int) -> list[LiveEvent]:
        """The gathered events, by row, as events of ``lsn``; begins anew."""
        events = [
            LiveEvent(event.kind, lsn, row, event.old, event.new)
            for row, event in sorted(self._events.items())
        ]
        self._events.clear()
        self.size = 0
        return events


def _join(first: LiveEvent, then: LiveEvent) -> LiveEvent | None:
    """Two events of one document as one; ``None`` when they come to nothing."""
    old = None if first.kind == LiveKind.ADDED else first.old
    new = None if then.kind == LiveKind.REMOVED else then.new
    if old is None:
        if new is None:
            return None
        return LiveEvent(LiveKind.ADDED, then.lsn, then.row, None, new)
    if new is None:
        return LiveEvent(LiveKind.REMOVED, then.lsn, then.row, old)
    if record_body(old) == record_body(new):
        return None
    return LiveEvent(LiveKind.MODIFIED, then.lsn, then.row, old, new)


def event_size(event: LiveEvent) -> int:
    """About how many bytes an event has on the wire."""
    old, new = event.old, event.new
    return 32 + (0 if old is None else len(old)) + (0 if new is None else len(new))
