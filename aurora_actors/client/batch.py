"""A chunk of events as the client keeps it: objects made once, for all who read it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeAlias, TypeVar

from aurora_actors.client.document import Document, document_of
from aurora_actors.client.updates import (
    Added,
    ChangeEvent,
    ChangeType,
    HistoryLost,
    InitialComplete,
    Modified,
    Removed,
    Tokens,
    Update,
)
from aurora_actors.errors import ProtocolError
from aurora_actors.messages.reactive import ChunkMode, LiveChunk, LiveEvent, LiveKind
from aurora_actors.reactive.tokens import Token

__all__ = ["Batch", "Convert", "changes_of", "items_after", "updates_of"]

E = TypeVar("E")
T = TypeVar("T")
Convert: TypeAlias = Callable[["Batch[E]"], list[E]]
"""Makes the public objects of a batch."""

_EVENT_BYTES = 64
# Looking up a member of an enumeration costs more than the rest of a comparison.
_INITIAL: Final = ChunkMode.INITIAL
_INITIAL_END: Final = ChunkMode.INITIAL_END
_ADDED: Final = int(LiveKind.ADDED)
_REMOVED: Final = int(LiveKind.REMOVED)


class _Places:
    """The places within a chunk; what is made of the chunk refers to them.

    It would be the batch itself, did the batch not refer to what is made of it: circles
    wait for the garbage collector, and documents are many.
    """

    __slots__ = ("chunk",)

    def __init__(self, chunk: LiveChunk) -> None:
        self.chunk = chunk

    def token(self, seen: int) -> str:
        """The place behind the first ``seen`` events."""
        return str(place_in(self.chunk, seen))


class Batch(Generic[E]):
    """A chunk, and what its consumers get of it.

    Attributes:
        chunk: The chunk.
        places: Makes the tokens.
        left: How many readers have still to pass it.
        size: About the bytes it holds.
    """

    __slots__ = ("_convert", "_items", "chunk", "left", "places", "size")

    def __init__(self, chunk: LiveChunk, convert: Convert[E], readers: int) -> None:
        self.chunk = chunk
        self.places = _Places(chunk)
        self.left = readers
        self._convert = convert
        self._items: list[E] | None = None
        size = _EVENT_BYTES * len(chunk.events)
        for event in chunk.events:
            old, new = event.old, event.new
            if new is not None:
                size += len(new)
            if old is not None:
                size += len(old)
        self.size = size

    def items(self) -> list[E]:
        """The public objects, made when they are first asked for."""
        if self._items is None:
            self._items = self._convert(self)
        return self._items

    @property
    def end(self) -> tuple[int, int, bool]:
        """The place behind all of it: what its token is made of."""
        chunk = self.chunk
        return (chunk.timeline, chunk.lsn, chunk.mode is _INITIAL)


def place_in(chunk: LiveChunk, seen: int) -> Token:
    """The place in the stream behind the first ``seen`` events of a chunk."""
    events, timeline = chunk.events, chunk.timeline
    if chunk.mode is ChunkMode.INITIAL:
        return Token(timeline, 0, partial=True)
    if chunk.mode is ChunkMode.INITIAL_END:
        # InitialComplete counts as one more event.
        if seen <= len(events):
            return Token(timeline, 0, partial=True)
        return Token(timeline, chunk.lsn)
    if seen >= len(events):
        return Token(timeline, chunk.lsn)
    if chunk.mode is ChunkMode.COALESCED:
        return Token(timeline, chunk.base, chunk.lsn, seen + chunk.skipped)
    return _within(chunk, seen)


def _within(chunk: LiveChunk, seen: int) -> Token:
    """The place among exact events, of which several may be of one change."""
    events, timeline = chunk.events, chunk.timeline
    lsn = events[seen - 1].lsn if seen else chunk.base
    if seen and events[seen].lsn != lsn:
        return Token(timeline, lsn)
    first = seen
    while first and events[first - 1].lsn == lsn:
        first -= 1
    if first:
        return Token(timeline, events[first - 1].lsn, 0, seen - first)
    return Token(timeline, chunk.base, 0, seen + chunk.skipped)


# ------------------------------------------------------------------ converting
def updates_of(
    convert: Callable[[bytes], T],
) -> Callable[[Batch[Update]], list[Update]]:
    """A function that makes a watcher's updates, with ``convert`` for its documents.

    Plain documents are decoded when they are looked at. What may not fit, as a model may
    not, is made with the update, so that the error is where the consumer waits.
    """
    is_plain = convert is document_of

    def make(batch: Batch[Update]) -> list[Update]:
        chunk, places = batch.chunk, batch.places
        updates: list[Update] = []
        if chunk.lost:
            updates.append(HistoryLost(chunk.lsn, places, 0))
        for seen, event in enumerate(chunk.events, 1):
            update = _update(event, convert, (event.lsn, places, seen))
            if not is_plain:
                update.decode()
            updates.append(update)
        if chunk.mode is _INITIAL_END:
            updates.append(InitialComplete(chunk.lsn, places, len(chunk.events) + 1))
        return updates

    return make


def _update(
    event: LiveEvent, convert: Callable[[bytes], T], place: tuple[int, Tokens, int]
) -> Added[T] | Modified[T] | Removed[T]:
    old, new = event.old, event.new
    if event.kind == _ADDED and new is not None:
        return Added(convert, new, event.row, event.position, place)
    if event.kind == _REMOVED and old is not None:
        return Removed(convert, old, event.row, place)
    if old is not None and new is not None:
        return Modified(convert, (old, new), event.row, event.position, place)
    raise ProtocolError(f"an event of kind {event.kind} lacks a document")


def changes_of(batch: Batch[ChangeEvent]) -> list[ChangeEvent]:
    """Make a listener's events."""
    return [
        ChangeEvent(
            ChangeType(event.kind),
            event.collection,
            (_document(event.old), _document(event.new)),
            (event.lsn, batch.places, seen),
        )
        for seen, event in enumerate(batch.chunk.events, 1)
    ]


def _document(record: bytes | None) -> Document | None:
    return None if record is None else document_of(record)


def items_after(batch: Batch[E], lsn: int) -> Sequence[E] | None:
    """Those of an exact batch's items that come after ``lsn``; ``None`` if unknown."""
    chunk = batch.chunk
    if chunk.base >= lsn:
        return batch.items()
    if chunk.lsn <= lsn:
        return []
    if chunk.mode is not ChunkMode.EXACT or chunk.lost:
        return None
    skipped = sum(event.lsn <= lsn for event in chunk.events)
    return batch.items()[skipped:]
