"""One subscription at the dispatcher, and the consumers that read it.

State for :mod:`aurora_actors.client.live`. A :class:`Feed` receives chunks of events; a
:class:`Reader` is one consumer's place among them. Any number of readers share a feed,
and a chunk is kept once until all have passed it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from typing import Any, Final, TypeAlias

import msgspec

from aurora_actors.client.batch import Batch, Convert
from aurora_actors.client.requests import NO_DEADLINE, Call, Pending
from aurora_actors.messages.reactive import (
    ChunkMode,
    Listen,
    LiveChunk,
    Subscribed,
    Watch,
)
from aurora_actors.reactive.tokens import Token

__all__ = ["DISPATCHER", "Feed", "Place", "Reader", "Request", "text_of"]

DISPATCHER: Final = "reactive_dispatcher"
_KEPT_EVENTS: Final = 4096
_KEPT_BYTES: Final = 16 << 20
# Looking up a member of an enumeration costs more than the rest of a comparison.
_INITIAL: Final = ChunkMode.INITIAL
_INITIAL_END: Final = ChunkMode.INITIAL_END

Request: TypeAlias = Watch | Listen
Place: TypeAlias = tuple[int, int, bool]
"""What a token is made of: the timeline, the LSN, whether it is within a first result."""


def text_of(place: str | Place | None) -> str | None:
    """The token of a place."""
    if not isinstance(place, tuple):
        return place
    timeline, lsn, is_part = place
    return str(Token(timeline, lsn, partial=is_part))


class Reader(Pending):
    """One consumer's place in a stream of events.

    Attributes:
        request: What it asked for.
        convert: Makes the objects it gets.
        key: What readers have in common that may share a feed.
        raises_on_lag: Falling behind is an error, not a reason to resume.
        wants_beats: Heartbeats are news.
        feed: What it reads; ``None`` while it is cut off, and when it has left.
        own: What it has to read before that.
        next_batch: The number of the feed's batch that comes next.
        behind: Of that, only what comes after this change.
        place: The end of the batch taken last, behind which it resumes. Not the batch:
            one kept for each reader is freed when nothing of it is in a cache any more.
        lagged: It was cut off.
        beat: The LSN of a heartbeat not yet taken, or 0.
        timed_out: Its deadline has passed.
    """

    __slots__ = (
        "beat",
        "behind",
        "convert",
        "feed",
        "key",
        "lagged",
        "next_batch",
        "own",
        "place",
        "raises_on_lag",
        "request",
        "timed_out",
        "wants_beats",
    )

    def __init__(
        self,
        request: Request,
        convert: Convert[Any],
        key: Hashable,
        *,
        raises_on_lag: bool,
        wants_beats: bool = False,
    ) -> None:
        super().__init__(0, DISPATCHER, request, NO_DEADLINE, 512)
        self.request = request
        self.convert = convert
        self.key = key
        self.raises_on_lag = raises_on_lag
        self.wants_beats = wants_beats
        self.feed: Feed | None = None
        self.own: deque[Batch[Any]] = deque()
        self.next_batch = 0
        self.behind = 0
        self.place: Place | None = None
        self.lagged = False
        self.beat = 0
        self.timed_out = False

    @property
    def has_news(self) -> bool:
        """Whether the one that waits can go on."""
        feed = self.feed
        if feed is not None and self.next_batch < feed.next_batch:
            return True
        waiting = self.own or self.lagged or self.beat
        return bool(waiting or self.done or self.timed_out)

    @property
    def newest(self) -> str | None:
        """The place up to which it has taken everything, if nothing waits for it."""
        feed = self.feed
        if feed is None or self.own or self.next_batch < feed.next_batch:
            return None
        return feed.since if feed.is_live and feed.lsn >= self.behind else None

    @property
    def since(self) -> str | None:
        """Where it resumes."""
        return self.request.since if self.place is None else text_of(self.place)


class Feed:
    """One subscription, and the newest of its events.

    Attributes:
        number: The subscription's number.
        request: What was asked.
        key: See :class:`Reader`.
        call: The request under way, until it has been answered.
        expected: The number of the next chunk.
        lsn: Everything up to this change has been received.
        timeline: The history this number belongs to.
        is_live: It has reached the present.
        was_live: It had, before it fell behind or was interrupted.
        is_settled: It had, and is the one that is shared from then on.
        is_lost: What was received so far must be forgotten: the next chunk says so.
        ungranted: Chunks done with for which no credit was given back yet.
        ungranted_bytes: About their bytes.
        readers: Those who read it.
        parked: Those of them who wait.
        first_batch: The number of the oldest batch kept.
        next_batch: The number the next batch gets.
    """

    # One for each watcher: without them it takes twice the memory, and with thousands
    # of watchers nothing of it is in a cache when its next chunk comes.
    __slots__ = (
        "_batches",
        "_convert",
        "_events",
        "_place",
        "_size",
        "call",
        "expected",
        "first_batch",
        "is_live",
        "is_lost",
        "is_settled",
        "key",
        "lsn",
        "next_batch",
        "number",
        "parked",
        "readers",
        "request",
        "timeline",
        "ungranted",
        "ungranted_bytes",
        "was_live",
    )

    def __init__(self, reader: Reader, request: Request, number: int) -> None:
        self.number = number
        self.request = request
        self.key = reader.key
        self.call: Call | None = None
        self.expected = 0
        self.lsn = self.timeline = 0
        self.is_live = self.was_live = self.is_settled = self.is_lost = False
        self.ungranted = self.ungranted_bytes = 0
        self.readers: dict[Reader, None] = {}
        self.parked: dict[Reader, None] = {}
        self.first_batch = self.next_batch = 0
        self._convert = reader.convert
        self._place: str | Place | None = request.since
        self._batches: deque[Batch[Any]] = deque()
        self._size = self._events = 0

    @property
    def since(self) -> str | None:
        """The place behind everything received; ``None`` if there is none."""
        return text_of(self._place)  # a token is made when it is asked for

    @property
    def is_shared(self) -> bool:
        """Whether several read it."""
        return len(self.readers) > 1

    # -------------------------------------------------------------- receiving
    def begin(self, reply: Subscribed) -> str | None:
        """The subscription exists; returns the place where it begins, if it has one."""
        request = self.request
        if request.since is None and (
            isinstance(request, Listen) or not request.include_initial
        ):
            self._place = (reply.timeline, reply.lsn, False)
        return self.since

    def receive(self, chunk: LiveChunk) -> bool:
        """Take the next chunk; false when it has nothing for the readers."""
        self.expected += 1
        if self.is_lost:
            self.is_lost = False
            chunk = msgspec.structs.replace(chunk, lost=True)
        self.lsn, self.timeline = chunk.lsn, chunk.timeline
        self.is_live = chunk.live
        self._place = (chunk.timeline, chunk.lsn, chunk.mode is _INITIAL)
        if not (chunk.events or chunk.lost or chunk.mode is _INITIAL_END):
            return False
        batch: Batch[Any] = Batch(chunk, self._convert, len(self.readers))
        self._batches.append(batch)
        self.next_batch += 1
        self._size += batch.size
        self._events += len(chunk.events)
        return True

    def progress(self, lsn: int) -> None:
        """There is nothing up to ``lsn`` that was not received."""
        if self.is_live and lsn > self.lsn:
            self.lsn = lsn
            self._place = (self.timeline, lsn, False)

    def again(self, number: int) -> Request:
        """The request that goes on behind what was received, with a new number."""
        self.number = number
        self.call = None
        self.expected = self.ungranted = self.ungranted_bytes = 0
        self.is_live = False
        since = self.since
        if since is not None and since.endswith("s"):
            # Within the first result: it begins anew, and readers must know.
            self.is_lost = True
            self._place = None
        request = msgspec.structs.replace(self.request, since=self.since)
        if isinstance(request, Watch):
            request = msgspec.structs.replace(
                request,
                include_initial=request.include_initial or self.is_lost,
                coalesces=request.coalesces and not self.was_live,
            )
        return request

    # -------------------------------------------------------------- reading
    def get(self, number: int) -> Batch[Any]:
        """The batch with this number."""
        return self._batches[number - self.first_batch]

    @property
    def kept_bytes(self) -> int:
        """About how much the batches hold that are kept."""
        return self._size

    @property
    def newest_bytes(self) -> int:
        """About how much the newest of them holds."""
        return self._batches[-1].size if self._batches else 0

    def rest(self, number: int) -> list[Batch[Any]]:
        """The batches from this number on."""
        return list(self._batches)[max(0, number - self.first_batch) :]

    def drop_read(self) -> tuple[int, int]:
        """Let go of what all have passed; returns how many batches, and their bytes."""
        count, before = 0, self._size
        while self._batches and self._batches[0].left <= 0:
            self._drop_oldest()
            count += 1
        return count, before - self._size

    def drop_excess(self) -> list[Reader]:
        """Let go of what is too much to keep; returns the readers left behind."""
        if self._events <= _KEPT_EVENTS and self._size <= _KEPT_BYTES:
            return []
        while len(self._batches) > 1 and (
            self._events > _KEPT_EVENTS or self._size > _KEPT_BYTES
        ):
            self._drop_oldest()
        first = self.first_batch
        return [reader for reader in self.readers if reader.next_batch < first]

    def _drop_oldest(self) -> None:
        batch = self._batches.popleft()
        self.first_batch += 1
        self._size -= batch.size
        self._events -= len(batch.chunk.events)

    def remove(self, reader: Reader) -> None:
        """A reader leaves."""
        self.parked.pop(reader, None)
        del self.readers[reader]
        for batch in self.rest(reader.next_batch):
            batch.left -= 1
