"""Where subscriptions are kept, and everything that is sent to them.

Owned by the reactive dispatcher; used by its hub and by the jobs that bring
subscriptions to the present. Synchronous: whatever happens between two yields of a job
happens at one moment, so a subscription that has been brought to the live feed's cursor
can join it without missing or repeating a change.

Invariants: a subscription is in one feed at most; it is in the live one exactly when
everything up to its cursor has been told; nothing is sent without credit. The feed of a
debounce interval moves with its ticks and for no other reason: who is on its way to the
present goes as far as that feed has come, and who is ahead of it waits for the next tick.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from typing import NamedTuple

from aurora_actors.errors import AuroraError, LaggedError
from aurora_actors.messages.base import Failure, Message
from aurora_actors.messages.reactive import ChunkMode, Listen, LiveChunk, LiveEvent
from aurora_actors.reactive.change import first_of, merged
from aurora_actors.reactive.coalesce import event_size
from aurora_actors.reactive.feed import Feed, Source
from aurora_actors.reactive.listener import Listener
from aurora_actors.reactive.query import LiveQuery, is_windowed, query_key
from aurora_actors.reactive.subscription import Client, Subscription
from aurora_actors.storage.changes import Change, ChangeKind
from aurora_actors.storage.reader import DataReader, Snapshot

__all__ = ["Desk", "Job", "Send", "Stalled"]

_CHUNK_OVERHEAD = 64
_NEAR_CHANGES = 512
# What a tick looks at together is told once for each document.
_TICK_BYTES = 16 << 20
_ACTOR = "reactive_dispatcher"

Send = Callable[[str, int, Message], None]
"""Queues a message for (mailbox, subscription)."""
Job = Generator[bool, None, None]
"""Work in steps; gives whether it can go on at once, or waits for credit."""


class _Early(NamedTuple):
    """Who waits for a tick, since which epoch, with the window as of its place."""

    subscription: Subscription
    epoch: int
    query: LiveQuery | None


class Stalled(NamedTuple):
    """An ordered query whose window has run short at ``lsn``, and who follows it."""

    query: LiveQuery
    subscriptions: list[Subscription]
    lsn: int


class Desk:
    """The subscriptions, the feeds they take part in, and the way to their clients.

    Attributes:
        reader: Reads the database.
        live: The feed at the present.
        debounced: The feeds that are looked at now and then, by interval.
        timeline: The history all LSNs belong to.
        clients: By mailbox name.
        late: Subscriptions that are to be brought to the present.
        fresh: Subscriptions that are to get the present result first.
        jobs: What waits for its turn.
        stalled: Ordered queries that have left their feed to have their windows filled.
        counts: Statistics.
    """

    def __init__(self, reader: DataReader, send: Send) -> None:
        self.reader = reader
        self._send = send
        with reader.snapshot() as snapshot:
            self.names = {info.id: info.name for info in snapshot.collections()}
            self.live = Feed(snapshot.lsn, self.names)
            self.timeline = snapshot.timeline
        self.debounced: dict[float, Feed] = {}
        self._early: dict[float, list[_Early]] = {}
        self.clients: dict[str, Client] = {}
        self.late: dict[Subscription, None] = {}
        self.fresh: dict[Subscription, None] = {}
        self.jobs: list[Job] = []
        self.stalled: list[Stalled] = []
        self._parked: dict[Subscription, Job] = {}
        self.counts = dict.fromkeys(
            ("changes", "events", "chunks", "catch_ups", "histories_lost", "refills"), 0
        )

    # -------------------------------------------------------------- telling
    def tell(
        self,
        subscription: Subscription,
        mode: ChunkMode,
        lsn: int,
        events: list[LiveEvent] | tuple[()] = (),
        skipped: int = 0,
    ) -> bool:
        """Send a chunk that brings the subscription to ``lsn``.

        Returns:
            Whether there was credit for it; otherwise nothing has happened.
        """
        size = _size(events)
        if not (subscription.may_send or subscription.may_send_little(size)):
            return False
        self._send_chunk(subscription, mode, lsn, events, skipped, size)
        return True

    def arrive(
        self,
        subscription: Subscription,
        source: Source,
        mode: ChunkMode,
        lsn: int,
        events: list[LiveEvent],
        skipped: int,
    ) -> None:
        """Let one that may send take part in the present, and tell it so."""
        self.join(subscription, source, lsn)
        self._send_chunk(subscription, mode, lsn, events, skipped, _size(events))

    def _send_chunk(
        self,
        subscription: Subscription,
        mode: ChunkMode,
        lsn: int,
        events: list[LiveEvent] | tuple[()],
        skipped: int,
        size: int,
    ) -> None:
        chunk = LiveChunk(
            number=subscription.note_sent(size),
            mode=mode,
            base=subscription.cursor,
            lsn=lsn,
            timeline=self.timeline,
            events=events or [],
            skipped=skipped,
            lost=subscription.lost,
            live=subscription.is_live,
        )
        subscription.cursor = lsn
        subscription.lost = False
        counts = self.counts
        counts["chunks"] += 1
        counts["events"] += len(events)
        self._send(subscription.client.name, subscription.number, chunk)

    def note(self, client: str, message: Message) -> None:
        """Send something that belongs to no subscription."""
        self._send(client, 0, message)

    def fail(self, subscription: Subscription, error: Exception) -> None:
        """End a subscription with an error."""
        if subscription.is_open:
            failure = Failure.of(error, _ACTOR)
            self._send(subscription.client.name, subscription.number, failure)
            self.close(subscription)

    def close(self, subscription: Subscription) -> None:
        """Forget a subscription and all that is done for it."""
        client = subscription.client
        before = client.is_full, client.is_overfull
        client.subscriptions.pop(subscription.number, None)
        if not client.subscriptions:
            self.clients.pop(client.name, None)
        self.leave(subscription)
        self.late.pop(subscription, None)
        self.fresh.pop(subscription, None)
        job = self._parked.pop(subscription, None)
        if job is not None:
            job.close()
        subscription.epoch += 1
        subscription.close()
        self._wake_others(client, before)

    def leave(self, subscription: Subscription) -> None:
        """Take a subscription out of its feed; it stays where it is in the log."""
        feed = subscription.feed
        if feed is not None:
            feed.detach(subscription)
        for query in self.stalled:
            if subscription in query.subscriptions:
                query.subscriptions.remove(subscription)
        subscription.is_live = False
        subscription.take_events()
        self._prune()

    def _prune(self) -> None:
        for interval, feed in list(self.debounced.items()):
            if not feed:
                del self.debounced[interval]

    # -------------------------------------------------------------- credit
    def fall_behind(self, subscription: Subscription) -> None:
        """The subscription cannot be told now: it goes on from its cursor later."""
        if subscription.is_live:
            subscription.coalesces = not isinstance(subscription.request, Listen)
        self.leave(subscription)
        if subscription.may_send:
            self.late[subscription] = None
        else:
            subscription.waiting = True

    def park(self, subscription: Subscription, job: Job) -> None:
        """``job`` goes on when there is credit for the subscription."""
        subscription.waiting = True
        self._parked[subscription] = job

    def granted(self, subscription: Subscription, chunks: int) -> None:
        """The client has read."""
        client = subscription.client
        before = client.is_full, client.is_overfull
        subscription.note_granted(chunks)
        self._wake_others(client, before)
        self._wake(subscription)

    def _wake_others(self, client: Client, before: tuple[bool, bool]) -> None:
        """Whoever waited for room, if the client has it now and had not before."""
        if before != (client.is_full, client.is_overfull):
            for other in list(client.subscriptions.values()):
                self._wake(other)

    def _wake(self, subscription: Subscription) -> None:
        if not (subscription.waiting and subscription.may_send):
            return
        subscription.waiting = False
        job = self._parked.pop(subscription, None)
        if job is None:
            self.late[subscription] = None
        else:
            self.jobs.append(job)

    # -------------------------------------------------------------- feeds
    def source_for(self, subscription: Subscription) -> Source:
        """What the subscription asks for, shared where it keeps no state.

        Raises:
            InvalidFilterError: the predicate makes no sense.
        """
        request = subscription.request
        if isinstance(request, Listen):
            return Listener(subscription.collection, request.kinds, request.fields)
        key = query_key(request.query, request.debounce_s)
        if not is_windowed(request.query):
            for feed in (self.live, self.debounced.get(request.debounce_s)):
                known = None if feed is None else feed.find(key)
                if known is not None and known.collection == subscription.collection:
                    return known
        assert subscription.collection is not None  # noqa: S101 - a watch has one
        return LiveQuery(request.query, subscription.collection, request.debounce_s)

    def goal(self, interval: float, cursor: int) -> int:
        """Where in the log those join who have come as far as ``cursor``."""
        if not interval:
            return self.live.cursor
        feed = self.debounced.get(interval)
        if feed is not None:
            return feed.cursor
        # What a tick can look at is left to the first one.
        is_near = self.live.cursor - cursor <= _NEAR_CHANGES
        return cursor if is_near else self.live.cursor

    def join(self, subscription: Subscription, source: Source, lsn: int) -> None:
        """Take part in the present; ``lsn``, where it is, is the :meth:`goal`."""
        feed = self.live
        interval = subscription.debounce_s
        if interval:
            feed = self.debounced.setdefault(interval, Feed(lsn, self.names))
        feed.attach(subscription, source)
        subscription.is_live = True
        subscription.coalesces = bool(interval)

    def lose(self, subscription: Subscription) -> None:
        """The log does not reach back to the subscription's cursor."""
        self.counts["histories_lost"] += 1
        if isinstance(subscription.request, Listen):
            text = (
                f"changes after LSN {subscription.cursor} are no longer kept; "
                "read the data anew and listen from now on"
            )
            self.fail(subscription, LaggedError(text))
            return
        self.leave(subscription)
        subscription.epoch += 1
        subscription.lost = True
        subscription.resumes = None
        self.late.pop(subscription, None)
        self.fresh[subscription] = None

    # -------------------------------------------------------------- debouncing
    def wait_for_tick(
        self, subscription: Subscription, query: LiveQuery | None
    ) -> None:
        """Leave it where it is until the feed of its interval has come as far.

        A query with a window is kept for it.
        """
        waiting = self._early.setdefault(subscription.debounce_s, [])
        waiting.append(_Early(subscription, subscription.epoch, query))

    @property
    def intervals(self) -> list[float]:
        """The debounce intervals at whose end there is something to do."""
        cursor = self.live.cursor
        behind = (key for key, feed in self.debounced.items() if feed.cursor < cursor)
        return list({*behind, *self._early})

    def tick_all(self, interval: float, upto: int) -> bool:
        """An interval has passed: tell what it has brought, let those join who wait.

        Returns:
            As :meth:`tick`; those who wait join with the last step.
        """
        feed = self.debounced.get(interval)
        if feed is not None and self.tick(feed, upto):
            return True
        together: dict[LiveQuery, list[Subscription]] = {}
        for found, epoch, query in self._early.pop(interval, ()):
            if found.epoch != epoch or not found.is_open:
                continue
            if query is None:
                self.late[found] = None
            else:
                together.setdefault(query, []).append(found)
        for query, followers in together.items():
            self.stalled.append(Stalled(query, followers, followers[0].cursor))
        return False

    def tick(self, feed: Feed, last: int) -> bool:
        """Bring a debounced feed on to ``last``, in one coalesced batch.

        Or, when there is much, in several: no message may be too large, and nobody
        may wait for all of it.

        Returns:
            Whether there is more.
        """
        if feed.cursor >= last:
            return False
        try:
            with self.reader.snapshot() as snapshot:
                upto = min(last, feed.cursor + feed.tick_changes)
                found = filter(feed.concerns, snapshot.changes(feed.cursor, upto))
                changes, upto = first_of(found, upto, _TICK_BYTES)
                batches = list(feed.on_batch(merged(changes), upto))
        except LaggedError:
            for subscription in feed.subscriptions:
                self.lose(subscription)
            feed.cursor = last
            return False
        self.counts["changes"] += len(changes)
        base, feed.cursor = feed.cursor, upto
        heard = 0
        for subscription in feed.subscriptions:
            subscription.cursor = base
        for source, events in batches:
            for subscription in list(feed.audience(source)):
                heard += len(events)
                if events and not self.tell(
                    subscription, ChunkMode.COALESCED, upto, events
                ):
                    self.fall_behind(subscription)
        for subscription in feed.subscriptions:
            subscription.cursor = upto
        self._end_removed(feed, changes)
        self.take_short(feed, base, upto)
        feed.note_tick(heard)
        return upto < last

    def _end_removed(self, feed: Feed, changes: Sequence[Change]) -> None:
        """End those who joined behind the live feed's news that their collection went."""
        for change in changes:
            if change.kind is ChangeKind.DROP:
                following = feed.following(change.collection)
                self.fail_all(following, feed.removed(change.collection))

    def take_short(self, feed: Feed, base: int, lsn: int) -> None:
        """Let queries whose windows have run short at ``lsn`` leave a feed.

        They come back when they have been filled. What was told before is that at
        ``base``, and what is to be told of the changes since.
        """
        for query in list(feed.short):
            followers = []
            for subscription in feed.take_out(query):
                events = subscription.take_events()
                subscription.is_live = False
                if subscription.debounce_s:
                    subscription.cursor = base
                    subscription.coalesces = True
                elif events and not self.tell(
                    subscription, ChunkMode.EXACT, lsn - 1, events
                ):
                    subscription.coalesces = True
                    self.fall_behind(subscription)
                    continue
                else:
                    subscription.cursor = max(subscription.cursor, base)
                followers.append(subscription)
            self.stalled.append(Stalled(query, followers, lsn))
        self._prune()

    def check_history(self, snapshot: Snapshot) -> bool:
        """Whether this is still the same history; if not, everybody begins anew."""
        if snapshot.timeline == self.timeline and snapshot.lsn >= self.live.cursor:
            return True
        self.timeline = snapshot.timeline
        self.live.cursor = snapshot.lsn
        for feed in self.debounced.values():
            feed.cursor = snapshot.lsn
        for client in list(self.clients.values()):
            for subscription in list(client.subscriptions.values()):
                job = self._parked.pop(subscription, None)
                if job is not None:
                    job.close()
                subscription.waiting = False
                self.lose(subscription)
        return False

    def fail_all(self, subscriptions: Sequence[Subscription], exc: AuroraError) -> None:
        """End several subscriptions for one reason."""
        for subscription in subscriptions:
            self.fail(subscription, exc)


def _size(events: Iterable[LiveEvent]) -> int:
    size = _CHUNK_OVERHEAD
    for event in events:
        size += event_size(event)
    return size
