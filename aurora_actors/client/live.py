"""The client's side of live queries as a pure state machine.

Part of :class:`~aurora_actors.client.protocol.ClientProtocol` and, like it, without
loop, socket or clock. Readers that ask the same share one subscription: each begins
with one of its own, and as soon as that has reached the present, moves to the one that
is there already. So a change travels once for a process, however many watch it, and
costs each of them a look at a shared list.

Invariants:

* A feed keeps a bounded number of events. A reader that has not taken what must go has
  lagged: it is cut off, and costs nothing, until it reads again and resumes.
* A feed that has lost a chunk, or its dispatcher, subscribes again behind what it has
  received; its readers do not notice.
* Until a feed has reached the present it gets credit as its reader reads, from then on
  as chunks arrive. It goes back in halves of the window, or of what the dispatcher lets
  be under way for a subscription in any case: fewer messages, no stall.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Final

import msgspec

from aurora_actors.client.batch import items_after
from aurora_actors.client.feeds import DISPATCHER, Feed, Reader
from aurora_actors.client.requests import NO_DEADLINE, Call, Pending
from aurora_actors.client.updates import Heartbeat
from aurora_actors.errors import (
    AuroraError,
    InternalError,
    LaggedError,
    TimeoutError_,
)
from aurora_actors.messages.base import Message
from aurora_actors.messages.reactive import (
    GrantEvents,
    LiveChunk,
    LiveProgress,
    Subscribed,
    Unsubscribe,
    Watch,
)
from aurora_actors.reactive.tokens import Token

__all__ = ["LiveFeeds"]

_SMALL: Final = 512
_RESUME_CREDIT: Final = 16
_GRANT_BYTES: Final = 8 << 10
_CHUNK_BYTES: Final = 64  # at least what a chunk takes besides its events


class LiveFeeds:
    """All feeds of a client.

    Args:
        number: Gives the next request number.
        put: Queues (destination, number, message, size) to be sent.
        tell: Notes that a reader has news.
        hurry: Notes that something is due at a time.
    """

    def __init__(
        self,
        number: Callable[[], int],
        put: Callable[[str, int, Message, int], None],
        tell: Callable[[Pending], None],
        hurry: Callable[[float], None],
    ) -> None:
        self._new_number = number
        self._put = put
        self._tell = tell
        self._hurry = hurry
        self._timed: dict[Reader, None] = {}
        self._feeds: dict[int, Feed] = {}
        self._shared: dict[Hashable, Feed] = {}
        self._has_failed = False

    def __len__(self) -> int:
        return len(self._feeds)

    def _send(self, number: int, message: Message) -> None:
        if not self._has_failed:
            self._put(DISPATCHER, number, message, _SMALL)

    # -------------------------------------------------------------- coming, going
    def open(self, reader: Reader, call: Call) -> None:
        """Let ``reader`` follow what ``call`` asks for."""
        self._begin(reader, Feed(reader, reader.request, call.number)).call = call

    def confirm(self, number: int, reply: Subscribed) -> None:
        """A subscription exists; without a first result it begins at ``reply.lsn``."""
        feed = self._feeds.get(number)
        if feed is not None and feed.call is not None:
            since = feed.begin(reply)
            for reader in feed.readers:
                reader.request = msgspec.structs.replace(reader.request, since=since)

    def _begin(self, reader: Reader, feed: Feed) -> Feed:
        self._feeds[feed.number] = feed
        feed.readers[reader] = None
        reader.feed = feed
        reader.next_batch = reader.behind = 0
        return feed

    def leave(self, reader: Reader) -> None:
        """The consumer is done; a subscription ends with its last reader."""
        reader.done = True
        reader.own.clear()
        self._part(reader)
        self._tell(reader)

    def _part(self, reader: Reader) -> None:
        feed, reader.feed = reader.feed, None
        if feed is not None:
            feed.remove(reader)
            if feed.readers:
                self._used(feed, *feed.drop_read())
            else:
                self._close(feed)

    def _close(self, feed: Feed) -> None:
        if self._feeds.pop(feed.number, None) is not None:
            self._send(0, Unsubscribe(subscription=feed.number))
        if self._shared.get(feed.key) is feed:
            del self._shared[feed.key]

    # -------------------------------------------------------------- reading
    def take(self, reader: Reader) -> Sequence[Any] | None:
        """What comes next for a reader; ``None`` when it has to wait.

        Raises:
            LaggedError: it has fallen behind, and wants to know.
            AuroraError: the subscription has ended with it.
        """
        while True:
            if reader.own:
                batch = reader.own.popleft()
                reader.place = batch.end
                return batch.items()
            if reader.done:
                raise reader.error or InternalError("this watch is closed")
            feed = reader.feed
            if feed is None:
                self._resume(reader)
            elif reader.next_batch < feed.next_batch:
                items = self._next_items(reader, feed)
                if items:
                    return items
            elif reader.beat:
                lsn, reader.beat = reader.beat, 0
                return [Heartbeat(lsn, _Here(feed.timeline, lsn), 0)]
            else:
                feed.parked[reader] = None
                return None

    def _next_items(self, reader: Reader, feed: Feed) -> Sequence[Any]:
        batch = feed.get(reader.next_batch)
        items = items_after(batch, reader.behind) if reader.behind else batch.items()
        if items is None:
            # A coalesced batch that tells again what was told: not for this reader.
            self._part(reader)
            return ()
        reader.next_batch += 1
        reader.beat = 0
        reader.place = batch.end
        batch.left -= 1
        if batch.left <= 0:
            self._used(feed, *feed.drop_read())
        return items

    def _used(self, feed: Feed, chunks: int, size: int) -> None:
        if not feed.was_live:
            self._grant(feed, chunks, size)

    def _grant(self, feed: Feed, chunks: int, size: int) -> None:
        feed.ungranted += chunks
        feed.ungranted_bytes += size + chunks * _CHUNK_BYTES
        if (
            feed.ungranted * 2 >= feed.request.credit
            or feed.ungranted_bytes >= _GRANT_BYTES
        ):
            grant = GrantEvents(subscription=feed.number, chunks=feed.ungranted)
            feed.ungranted = feed.ungranted_bytes = 0
            self._send(0, grant)

    def _resume(self, reader: Reader) -> None:
        if reader.lagged and reader.raises_on_lag:
            reader.lagged = False
            reader.done = True
            reader.error = LaggedError(
                "this consumer has fallen behind by more than is kept for it; begin "
                "again, or resume from the token of the last event",
                token=reader.since,
            )
            raise reader.error
        reader.lagged = False
        request = msgspec.structs.replace(
            reader.request, since=reader.since, credit=_RESUME_CREDIT
        )
        if isinstance(request, Watch):
            request = msgspec.structs.replace(request, coalesces=True)
        feed = self._begin(reader, Feed(reader, request, self._new_number()))
        self._send(feed.number, request)

    # -------------------------------------------------------------- receiving
    def on_chunk(self, number: int, chunk: LiveChunk) -> None:
        """Events of one subscription have come."""
        feed = self._feeds.get(number)
        if feed is None:
            return
        if chunk.number != feed.expected:
            self._send(0, Unsubscribe(subscription=number))
            self._subscribe_again(feed)
            return
        has_news = feed.receive(chunk)
        if has_news:
            self._wake(feed)
        if feed.is_settled and chunk.live:
            self._keep_up(feed, has_news=has_news)  # nearly always
            return
        if feed.was_live or not has_news:
            self._grant(feed, 1, feed.newest_bytes if has_news else 0)
        if chunk.live and not feed.was_live:
            feed.was_live = True
            self._grant(feed, len(feed.rest(0)), feed.kept_bytes)
        if chunk.live:
            self._share(feed)
            feed.is_settled = self._shared.get(feed.key) is feed
        if has_news and feed.was_live:
            self._drop_excess(feed)

    def _keep_up(self, feed: Feed, *, has_news: bool) -> None:
        """Go on after a chunk of a feed that is where it stays."""
        self._grant(feed, 1, feed.newest_bytes if has_news else 0)
        if feed.next_batch - feed.first_batch > 1:  # the newest one is kept anyway
            self._drop_excess(feed)

    def _drop_excess(self, feed: Feed) -> None:
        for reader in feed.drop_excess():
            self._cut_off(reader)

    def _wake(self, feed: Feed) -> None:
        parked = feed.parked
        if parked:
            for reader in parked:
                self._tell(reader)
            parked.clear()

    def _cut_off(self, reader: Reader) -> None:
        reader.lagged = True
        self._part(reader)
        self._tell(reader)

    def _share(self, feed: Feed) -> None:
        """Let the reader of a feed at the present move to the one that is shared."""
        shared = self._shared.setdefault(feed.key, feed)
        if shared is feed or not shared.is_live or feed.is_shared:
            return
        for reader in list(feed.readers):
            reader.own.extend(feed.rest(reader.next_batch))
            is_parked = reader in feed.parked
            self._part(reader)
            reader.feed = shared
            reader.next_batch, reader.behind = shared.next_batch, feed.lsn
            shared.readers[reader] = None
            if is_parked:
                shared.parked[reader] = None

    def on_progress(self, progress: LiveProgress) -> None:
        """A heartbeat of the dispatcher."""
        behind = set(progress.behind)
        for number, feed in self._feeds.items():
            if number in behind or not feed.is_live:
                continue
            feed.progress(progress.lsn)
            for reader in [found for found in feed.parked if found.wants_beats]:
                reader.beat = feed.lsn
                del feed.parked[reader]
                self._tell(reader)

    # -------------------------------------------------------------- deadlines
    def set_deadline(self, reader: Reader, deadline: float) -> None:
        """Let a reader wait until ``deadline`` at most."""
        reader.deadline = deadline
        self._timed[reader] = None
        self._hurry(deadline)

    def clear_deadline(self, reader: Reader) -> None:
        """The wait is over.

        Raises:
            TimeoutError_: because of its deadline.
        """
        if self._timed:
            self._timed.pop(reader, None)
        if reader.timed_out:
            reader.timed_out = False
            if not reader.has_news:
                raise TimeoutError_("no event in time")

    def expire(self, now: float) -> float:
        """Wake those whose deadline has passed; returns the next one."""
        for reader in [found for found in self._timed if found.deadline <= now]:
            del self._timed[reader]
            reader.timed_out = True
            self._tell(reader)
        return min((reader.deadline for reader in self._timed), default=NO_DEADLINE)

    # -------------------------------------------------------------- trouble
    def reconnect(self) -> None:
        """The dispatcher was restarted: subscribe again."""
        for feed in list(self._feeds.values()):
            if feed.call is not None and not feed.call.done:
                feed.expected = 0  # the protocol sends the request again
            else:
                self._subscribe_again(feed)

    def resume(self) -> None:
        """Events may have been lost: subscribe again, in the place of what is there."""
        for number in self._feeds:
            self._send(0, Unsubscribe(subscription=number))
        self.reconnect()

    def _subscribe_again(self, feed: Feed) -> None:
        del self._feeds[feed.number]
        request = feed.again(self._new_number())
        self._feeds[feed.number] = feed
        self._send(feed.number, request)

    def on_failure(self, number: int, error: AuroraError) -> None:
        """A subscription has ended with an error."""
        feed = self._feeds.pop(number, None)
        if feed is None:
            return
        if self._shared.get(feed.key) is feed:
            del self._shared[feed.key]
        for reader in feed.readers:
            reader.own.extend(feed.rest(reader.next_batch))
            reader.feed = None
            reader.done = True
            reader.error = type(error)(error.message, **error.context)
            self._tell(reader)

    def fail_all(self, error: AuroraError) -> None:
        """The conversation has ended."""
        self._has_failed = True
        for number in list(self._feeds):
            self.on_failure(number, error)


class _Here:
    """The token of a moment without events."""

    def __init__(self, timeline: int, lsn: int) -> None:
        self._token = Token(timeline, lsn)

    def token(self, _seen: int) -> str:
        return str(self._token)
