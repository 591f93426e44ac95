"""Bringing subscriptions to the present: from their places in the log to the live feed.

A :class:`CatchUp` is a job of the dispatcher. It reads the log once for all of its
subscriptions, from the earliest place on, gives each what comes after its own, and lets
them join the live feed at the moment it has reached its cursor. Those that debounce
join the feed of their interval instead, where that is: who is ahead of it waits for its
next tick, so that nobody is told more often than agreed, from the first result on. A
subscription that runs out of credit drops out and stays a place in the log; that is how
a slow consumer costs nothing. One that coalesces is told the difference instead, in
batches of a few megabytes at most.

An ordered or limited query has a window, which is made for its place in the log first;
it therefore catches up alone.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from time import perf_counter

from aurora_actors.errors import AuroraError, LaggedError
from aurora_actors.messages.reactive import LiveEvent
from aurora_actors.reactive.desk import Desk, Job
from aurora_actors.reactive.feed import Feed
from aurora_actors.reactive.past import fill_window
from aurora_actors.reactive.query import LiveQuery
from aurora_actors.reactive.subscription import Subscription
from aurora_actors.reactive.target import Target
from aurora_actors.reactive.window import Entry
from aurora_actors.storage.changes import Change, ChangeKind
from aurora_actors.storage.reader import Snapshot

__all__ = ["CatchUp"]

_STEP_S = 0.004
_STEP_CHANGES = 256


class CatchUp:
    """A group of subscriptions on their way to the present.

    Args:
        desk: Where they are kept.
        subscriptions: Those without a window, or some that share one and a place; all
            with the same debounce interval.
        window: Their ordered query, if it is one.
        is_filled: The query's window is that of ``start`` already, or is short there.
        start: Where the log is read from; the earliest place if not given.
    """

    def __init__(
        self,
        desk: Desk,
        subscriptions: Sequence[Subscription],
        window: LiveQuery | None = None,
        *,
        is_filled: bool = False,
        start: int | None = None,
    ) -> None:
        self._desk = desk
        self._window = window
        self._is_filled = is_filled
        if start is None:
            start = min(subscription.cursor for subscription in subscriptions)
        self._feed = Feed(start, desk.names)
        self._interval = subscriptions[0].debounce_s
        self._targets: dict[Subscription, Target] = {}
        self._members = {found: found.epoch for found in subscriptions}
        self._is_large = False

    def run(self) -> Job:
        """The work, in steps of a few milliseconds."""
        desk, feed = self._desk, self._feed
        desk.counts["catch_ups"] += 1
        try:
            yield from self._enter()
            while feed:
                if self._advance():
                    self._arrive()
                    return
                while feed.short:
                    yield from self._refill()
                yield True
        except LaggedError as exc:
            self._lose(exc.context.get("first"))
        except AuroraError as exc:
            desk.fail_all(self._still(), exc)

    def _lose(self, first: object) -> None:
        """The log begins with change ``first``: those from before begin anew."""
        for subscription in self._still():
            if isinstance(first, int) and subscription.cursor + 1 >= first:
                self._desk.leave(subscription)
                self._desk.late[subscription] = None
            else:
                self._desk.lose(subscription)

    def _still(self) -> list[Subscription]:
        return [
            subscription
            for subscription, epoch in self._members.items()
            if subscription.epoch == epoch
            and not subscription.waiting
            and subscription.feed in (None, self._feed)
            and subscription not in self._desk.late
            and subscription not in self._desk.fresh
        ]

    # -------------------------------------------------------------- entering
    def _enter(self) -> Job:
        desk, window = self._desk, self._window
        held: list[LiveEvent] = []
        shown: list[Entry] = []
        if window is not None:
            is_short = window.is_short
            shown = window.shown()
            if is_short or not self._is_filled:
                held = yield from self._fill(window)
            if not is_short:
                held, shown = [], window.shown()
        group = self._still()
        for subscription in group:
            try:
                source = window or desk.source_for(subscription)
            except AuroraError as exc:
                desk.fail(subscription, exc)
                continue
            self._feed.attach(subscription, source)
            target = Target(subscription, window, shown, len(group))
            self._targets[subscription] = target
            target.take(held)

    def _fill(self, query: LiveQuery) -> Generator[bool, None, list[LiveEvent]]:
        """Fill a window as of the feed's cursor; gives what it had held back."""
        self._desk.counts["refills"] += 1
        lsn = self._feed.cursor
        filling = yield from fill_window(self._desk.reader, query, lsn)
        return query.refill(filling.entries, complete=filling.complete, lsn=lsn)

    def _refill(self) -> Job:
        query = next(iter(self._feed.short))
        events = yield from self._fill(query)
        self._feed.short.pop(query, None)
        for subscription in self._feed.audience(query):
            self._targets[subscription].take(events)

    # -------------------------------------------------------------- the log
    def _advance(self) -> bool:
        """Read on for some milliseconds; true when the present has been reached."""
        desk, feed = self._desk, self._feed
        with desk.reader.snapshot() as snapshot:
            if snapshot.timeline != desk.timeline:
                raise LaggedError("the history was cut")
            goal = self._goal()
            self._read(snapshot, goal)
        # A window that has run short holds back what its last change means.
        told = feed.cursor - bool(feed.short)
        for target in list(self._targets.values()):
            if target.subscription.feed is not feed:
                del self._targets[target.subscription]
            elif target.is_due:
                self._flush(target, told)
        if self._interval:
            return feed.cursor >= goal and not feed.short
        # A first result may be of a later moment than the live feed has reached.
        return feed.cursor == goal and not feed.short

    def _goal(self) -> int:
        places = [self._feed.cursor, *(each.least for each in self._targets.values())]
        return self._desk.goal(self._interval, max(places))

    def _read(self, snapshot: Snapshot, upto: int) -> None:
        feed = self._feed
        until = perf_counter() + _STEP_S
        count = 0
        self._is_large = False
        for change in snapshot.changes(feed.cursor, upto):
            self._finish_batches(change.lsn)
            if change.collection not in feed.names:
                self._learn_name(snapshot, change)
            self._on_change(change)
            feed.cursor = change.lsn
            count += 1
            if feed.short or self._is_large or count >= _STEP_CHANGES:
                break
            if perf_counter() > until:
                break
        else:
            self._finish_batches(upto + 1)
            feed.cursor = max(feed.cursor, upto)
        self._desk.counts["changes"] += count

    def _learn_name(self, snapshot: Snapshot, change: Change) -> None:
        """Find what a collection was called that is not there any more."""
        self._feed.names[change.collection] = ""
        for later in snapshot.changes(change.lsn - 1):
            if later.collection == change.collection and not later.row:
                self._feed.learn_name(later)
                return

    def _finish_batches(self, lsn: int) -> None:
        """End those resumed batches that do not reach to ``lsn``."""
        for target in list(self._targets.values()):
            if 0 < target.ends_at < lsn:
                self._flush(target, target.ends_at)

    def _on_change(self, change: Change) -> None:
        feed = self._feed
        for source, events in feed.on_change(change):
            for subscription in feed.audience(source):
                if change.lsn > subscription.cursor:
                    target = self._targets[subscription]
                    target.take(events)
                    self._is_large |= target.is_large
        if change.kind is ChangeKind.DROP:
            for source in feed.sources(change.collection):
                for subscription in list(feed.audience(source)):
                    self._flush(self._targets[subscription], change.lsn)
                    self._desk.fail(subscription, feed.removed(change.collection))

    # -------------------------------------------------------------- telling
    def _flush(self, target: Target, lsn: int) -> None:
        subscription = target.subscription
        mode, events, skipped = target.give(lsn)
        if events and not self._desk.tell(subscription, mode, lsn, events, skipped):
            self._desk.fall_behind(subscription)
            return
        target.given(lsn)
        if not subscription.may_send:
            self._desk.fall_behind(subscription)

    def _arrive(self) -> None:
        desk, feed = self._desk, self._feed
        early: list[Target] = []
        for target in list(self._targets.values()):
            subscription = target.subscription
            if subscription.feed is not feed:
                continue
            if self._is_early(target):
                early.append(target)
                continue
            mode, events, skipped = target.give(feed.cursor)
            if not subscription.may_send:
                desk.fall_behind(subscription)
                continue
            source = feed.source_of(subscription)
            feed.detach(subscription)
            desk.arrive(subscription, source, mode, feed.cursor, events, skipped)
            target.given(feed.cursor)
        for target in early:
            self._leave_for_tick(target)

    def _is_early(self, target: Target) -> bool:
        """Whether the feed of its interval has not come as far as it is."""
        if not self._interval:
            return False
        place = max(target.least, self._feed.cursor)
        return self._desk.goal(self._interval, place) < place

    def _leave_for_tick(self, target: Target) -> None:
        subscription, feed, window = target.subscription, self._feed, self._window
        if subscription.resumes is not None:
            window = None  # it stays where it was, within a group of events
        else:
            self._flush(target, max(subscription.cursor, feed.cursor))
        if subscription.feed is feed:
            feed.detach(subscription)
            self._desk.wait_for_tick(subscription, window)
