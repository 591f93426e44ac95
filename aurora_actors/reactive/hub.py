"""The brain of the reactive dispatcher: subscriptions in, events out.

Synchronous. The actor passes on what clients ask, calls :meth:`Hub.advance` when the
log has grown, :meth:`Hub.work` while there are jobs, and :meth:`Hub.tick` and
:meth:`Hub.beat` when they are due; what is to be sent goes out through the ``send`` it
was given. Each call takes some milliseconds at most.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import count
from typing import Final

from aurora_actors.errors import AuroraError, LaggedError, UsageError
from aurora_actors.messages.base import Failure, Message
from aurora_actors.messages.reactive import (
    ChunkMode,
    Listen,
    LiveProgress,
    Subscribed,
    Watch,
)
from aurora_actors.messages.storage import LogAdvanced
from aurora_actors.meters import SIZES, Histogram
from aurora_actors.query.check import check_query, field_type
from aurora_actors.query.predicate import decode_predicate
from aurora_actors.reactive.catchup import CatchUp
from aurora_actors.reactive.change import change_size
from aurora_actors.reactive.desk import Desk, Job, Send
from aurora_actors.reactive.initial import FirstResult
from aurora_actors.reactive.query import LiveQuery, is_windowed, query_key
from aurora_actors.reactive.subscription import Client, Subscription
from aurora_actors.reactive.tokens import parse_token
from aurora_actors.schema.types import CollectionDefinition
from aurora_actors.storage.changes import Change, ChangeKind, carried_change
from aurora_actors.storage.reader import DataReader, Snapshot

__all__ = ["Hub"]

_STEP_CHANGES: Final = 512
_STEP_BYTES: Final = 4 << 20
_STEP_EVENTS: Final = 4096
_FIRST_STEPS: Final = 8
_LONGEST_DEBOUNCE_S: Final = 3600.0
_ACTOR: Final = "reactive_dispatcher"


class Hub:
    """All live queries and listeners of a database.

    Args:
        reader: Reads the database.
        send: Queues a message for (mailbox, subscription).
    """

    def __init__(self, reader: DataReader, send: Send) -> None:
        self._desk = Desk(reader, send)
        self._jobs: deque[Job] = deque()
        self._batches = Histogram("batch_changes", SIZES)

    @property
    def events(self) -> int:
        """How many events have been told."""
        return self._desk.counts["events"]

    @property
    def lsn(self) -> int:
        """Up to where the log has been looked at."""
        return self._desk.live.cursor

    def statistics(self) -> dict[str, int | float]:
        """Counters; those of the present return to 0 when everybody has left."""
        desk = self._desk
        subscriptions = [
            subscription
            for client in desk.clients.values()
            for subscription in client.subscriptions.values()
        ]
        return {
            **desk.counts,
            "clients": len(desk.clients),
            "subscriptions": len(subscriptions),
            "live_queries": len(desk.live) + sum(map(len, desk.debounced.values())),
            "behind": sum(not found.is_live for found in subscriptions),
            "jobs": len(self._jobs) + len(desk.jobs),
            "outstanding_bytes": sum(c.outstanding for c in desk.clients.values()),
            **self._batches.statistics(),
        }

    # -------------------------------------------------------------- subscribing
    def subscribe(self, client: str, number: int, request: Watch | Listen) -> Message:
        """Begin a subscription; returns the reply."""
        desk = self._desk
        known = desk.clients.get(client)
        if known is not None and number in known.subscriptions:
            return Subscribed(lsn=desk.live.cursor, timeline=desk.timeline)
        owner = known or Client(client)
        while self.advance():
            pass
        subscription = Subscription(owner, number, request, desk.live.cursor)
        try:
            with desk.reader.snapshot() as snapshot:
                for info in snapshot.collections():
                    desk.names[info.id] = info.name
                self._place(subscription, snapshot)
            source = desk.source_for(subscription)  # refuses what makes no sense
        except AuroraError as exc:
            return Failure.of(exc, _ACTOR)
        desk.clients[client] = owner
        owner.subscriptions[number] = subscription
        if request.since is not None and not subscription.lost:
            desk.late[subscription] = None
        elif _begins_with_result(subscription):
            desk.fresh[subscription] = None
        elif subscription.lost:
            desk.lose(subscription)
        elif subscription.debounce_s:
            desk.late[subscription] = None  # it may have to wait for a tick
        else:
            desk.join(subscription, source, desk.live.cursor)
        return Subscribed(lsn=subscription.cursor, timeline=desk.timeline)

    def _place(self, subscription: Subscription, snapshot: Snapshot) -> None:
        """Check a request, and find where it begins."""
        request = subscription.request
        if isinstance(request, Listen):
            if request.collection is not None:
                info = snapshot.collection(request.collection)
                subscription.collection = info.id
                _check_fields(request, info.definition)
        else:
            info = snapshot.collection(request.query.collection)
            subscription.collection = info.id
            encoded = request.query.predicate
            predicate = decode_predicate(encoded) if encoded else None
            check_query(info.definition, request.query, predicate)
            if not 0 <= request.debounce_s <= _LONGEST_DEBOUNCE_S:
                text = f"debounce takes 0 to {_LONGEST_DEBOUNCE_S:g} seconds"
                raise UsageError(text)
        if request.since is None:
            return
        token = parse_token(request.since)
        if (
            token.partial
            or token.timeline != self._desk.timeline
            or max(token.lsn, token.upto) > snapshot.lsn
        ):
            subscription.lost = True
            return
        subscription.cursor = token.lsn
        subscription.resumes = token if token.seen else None

    def unsubscribe(self, client: str, number: int) -> None:
        """End a subscription; one that is not known is ignored."""
        subscription = self._find(client, number)
        if subscription is not None:
            self._desk.close(subscription)

    def grant(self, client: str, number: int, chunks: int) -> None:
        """The client has read some chunks."""
        subscription = self._find(client, number)
        if subscription is not None:
            self._desk.granted(subscription, max(0, chunks))

    def _find(self, client: str, number: int) -> Subscription | None:
        owner = self._desk.clients.get(client)
        return None if owner is None else owner.subscriptions.get(number)

    def forget_client(self, client: str) -> None:
        """A client is gone: end all it had."""
        owner = self._desk.clients.get(client)
        if owner is not None:
            for subscription in list(owner.subscriptions.values()):
                self._desk.close(subscription)

    # -------------------------------------------------------------- the present
    def advance(self) -> bool:
        """Hand out what the log has; true when there is more than one step's worth."""
        desk = self._desk
        live = desk.live
        with desk.reader.snapshot() as snapshot:
            if not desk.check_history(snapshot) or snapshot.lsn == live.cursor:
                return False
            if not live and not desk.debounced:
                live.cursor = snapshot.lsn
                return False
            try:
                return self._read(snapshot)
            except LaggedError:
                for subscription in live.subscriptions:
                    desk.lose(subscription)
                live.cursor = snapshot.lsn
                return False

    def take(self, news: LogAdvanced) -> bool:
        """Hand out what storage has said, if it follows upon what is known; else read.

        Returns:
            As :meth:`advance`.
        """
        desk, changes = self._desk, news.changes
        live, base = desk.live, news.lsn - len(changes)
        if not changes or base != live.cursor or news.timeline != desk.timeline:
            return self.advance()
        if not live and not desk.debounced:
            live.cursor = news.lsn
            return False
        return self._hand_out(map(carried_change, count(base + 1), changes), news.lsn)

    def _read(self, snapshot: Snapshot) -> bool:
        upto = snapshot.lsn
        return self._hand_out(snapshot.changes(self._desk.live.cursor, upto), upto)

    def _hand_out(self, changes: Iterable[Change], last: int) -> bool:
        """Tell what changes mean, the last of which is ``last``, or one step's worth."""
        desk = self._desk
        live, base = desk.live, desk.live.cursor
        told: dict[Subscription, None] = {}
        upto, number, size, heard = last, 0, 0, 0
        for change in changes:
            number += 1
            before = heard
            for source, events in live.on_change(change):
                for subscription in live.audience(source):
                    if not subscription.events:
                        told[subscription] = None
                        subscription.cursor = base
                    subscription.events += events
                    heard += len(events)
            size += change_size(change) * max(1, heard - before)
            if change.kind is ChangeKind.DROP:
                self._end_all(change, told)
            if live.short:
                desk.take_short(live, base, change.lsn)
            if number >= _STEP_CHANGES or heard >= _STEP_EVENTS or size >= _STEP_BYTES:
                upto = change.lsn
                break
        desk.counts["changes"] += number
        self._batches.record(number)
        live.cursor = upto
        self._tell(told, upto)
        return upto < last

    def _tell(self, told: Iterable[Subscription], lsn: int) -> None:
        desk = self._desk
        for subscription in told:
            if subscription.feed is not desk.live:
                continue
            events = subscription.take_events()
            if not desk.tell(subscription, ChunkMode.EXACT, lsn, events):
                desk.fall_behind(subscription)

    def _end_all(self, change: Change, told: dict[Subscription, None]) -> None:
        """A collection was removed: end what follows it."""
        desk = self._desk
        for feed in (desk.live, *list(desk.debounced.values())):
            ending = feed.following(change.collection)
            if not ending:
                continue
            if feed is desk.live:
                self._tell([s for s in ending if s in told], change.lsn)
            else:
                while desk.tick(feed, desk.live.cursor):
                    pass
            desk.fail_all(ending, feed.removed(change.collection))

    # -------------------------------------------------------------- debouncing
    @property
    def intervals(self) -> list[float]:
        """The debounce intervals at whose end there is something to do."""
        return self._desk.intervals

    def tick(self, interval: float, upto: int) -> bool:
        """Look at what has happened during a debounce interval, up to a change.

        Returns:
            Whether there is more of it than one step's worth; then call it again.
        """
        return self._desk.tick_all(interval, upto)

    # -------------------------------------------------------------- jobs
    def _start(self, job: Job) -> None:
        self._jobs.append(job)

    @property
    def has_subscribers(self) -> bool:
        """Whether anybody has a subscription."""
        return bool(self._desk.clients)

    @property
    def has_work(self) -> bool:
        """Whether :meth:`work` has something to do."""
        desk = self._desk
        waiting = desk.jobs or desk.stalled or desk.late or desk.fresh
        return bool(self._jobs or waiting)

    def work(self) -> None:
        """Do one step of what brings subscriptions to the present."""
        self.advance()
        self._collect()
        if not self._jobs:
            return
        job = self._jobs.popleft()
        if next(job, False):
            self._jobs.append(job)

    def begin_results(self) -> None:
        """Send first results at once as far as that is quick.

        A small result is then that of the moment its watch was begun: who has entered
        a watch sees every write that follows as an update.
        """
        fresh, self._desk.fresh = self._desk.fresh, {}
        for subscription in fresh:
            job = FirstResult(self._desk, subscription).start()
            for _ in range(_FIRST_STEPS):
                if not next(job, False):
                    break
            else:
                self._start(job)

    def _collect(self) -> None:
        """Make jobs of what has become due."""
        desk = self._desk
        self._jobs.extend(desk.jobs)
        desk.jobs.clear()
        stalled, desk.stalled = desk.stalled, []
        for query, followers, lsn in stalled:
            if followers:
                job = CatchUp(desk, followers, query, is_filled=True, start=lsn)
                self._start(job.run())
        fresh, desk.fresh = desk.fresh, {}
        for subscription in fresh:
            self._start(FirstResult(desk, subscription).start())
        late, desk.late = desk.late, {}
        plain: dict[float, list[Subscription]] = {}
        ordered: dict[tuple[bytes, int], list[Subscription]] = {}
        for subscription in late:
            request = subscription.request
            if isinstance(request, Watch) and is_windowed(request.query):
                key = (
                    query_key(request.query, request.debounce_s),
                    subscription.cursor,
                )
                ordered.setdefault(key, []).append(subscription)
            else:
                plain.setdefault(subscription.debounce_s, []).append(subscription)
        for together in plain.values():
            self._start(CatchUp(desk, together).run())
        for group in ordered.values():
            self._start_ordered(group)

    def _start_ordered(self, group: list[Subscription]) -> None:
        desk = self._desk
        try:
            query = desk.source_for(group[0])
        except AuroraError as exc:
            desk.fail_all(group, exc)
            return
        assert isinstance(query, LiveQuery)  # noqa: S101 - it has an order or a limit
        self._start(CatchUp(desk, group, query).run())

    # -------------------------------------------------------------- heartbeat
    def beat(self) -> None:
        """Tell every client how far it has been told everything."""
        desk = self._desk
        lsn = desk.live.cursor
        for client in desk.clients.values():
            behind = [
                number
                for number, subscription in client.subscriptions.items()
                if not subscription.is_live
                or subscription.feed is None
                or subscription.feed.cursor != lsn
            ]
            progress = LiveProgress(lsn=lsn, timeline=desk.timeline, behind=behind)
            desk.note(client.name, progress)


def _check_fields(request: Listen, definition: CollectionDefinition) -> None:
    """Refuse fields that the collection cannot have.

    Who goes on from a token may have begun when it had others.
    """
    if request.since is None:
        for name in request.fields:
            field_type(definition, name, "listen to")


def _begins_with_result(subscription: Subscription) -> bool:
    request = subscription.request
    return isinstance(request, Watch) and (
        request.include_initial or subscription.lost or is_windowed(request.query)
    )
