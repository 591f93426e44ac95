"""The first result of a live query, sent as fast as its consumer reads.

A :class:`FirstResult` is a job of the dispatcher. It finds the matching documents at one
snapshot and sends them in chunks. It never holds a snapshot while it waits for credit:
when it goes on, on a newer one, it first corrects what was sent before by what the log
says, and puts right the list of what is still to be sent. At its end everything told
adds up to the result at one LSN, however long it took and however much was written
meanwhile.

An ordered or limited result is small and is kept until it has been sent.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from time import perf_counter
from typing import Final

import msgspec

from aurora_actors.errors import AuroraError, LaggedError
from aurora_actors.messages.reactive import ChunkMode, LiveEvent, Watch
from aurora_actors.query.execute import matching_rows
from aurora_actors.reactive.catchup import CatchUp
from aurora_actors.reactive.change import DocumentChange, merged
from aurora_actors.reactive.coalesce import Coalescer, event_size
from aurora_actors.reactive.desk import Desk, Job
from aurora_actors.reactive.past import collection_of, fill_window
from aurora_actors.reactive.query import LiveQuery
from aurora_actors.reactive.subscription import Subscription
from aurora_actors.reactive.target import CHUNK_BYTES, CHUNK_EVENTS
from aurora_actors.storage.reader import Snapshot

__all__ = ["FirstResult"]

_HELD_S: Final = 0.05


class _LeftError(Exception):
    """The subscription has ended, or begins anew in another job."""


class FirstResult:
    """A subscription that gets the present result first."""

    def __init__(self, desk: Desk, subscription: Subscription) -> None:
        self._desk = desk
        self._subscription = subscription
        self._epoch = subscription.epoch
        self._job: Job | None = None
        self._rows: array[int] = array("Q")
        self._sent = 0
        self._last_row = 0
        self._held = Coalescer()

    def start(self) -> Job:
        """The job."""
        self._job = self._run()
        return self._job

    def _run(self) -> Job:
        desk, subscription = self._desk, self._subscription
        request = subscription.request
        assert isinstance(request, Watch)  # noqa: S101 - listeners have no result
        is_told = request.include_initial or subscription.lost
        try:
            source = desk.source_for(subscription)
            assert isinstance(source, LiveQuery)  # noqa: S101 - as above
            if source.window is not None:
                yield from self._ordered(source, is_told=is_told)
                group = CatchUp(desk, [subscription], source, is_filled=True)
                yield from group.run()
                return
            if is_told:
                yield from self._plain(source)
            else:
                subscription.cursor = desk.live.cursor
        except _LeftError:
            pass
        except LaggedError:
            desk.lose(subscription)
        except AuroraError as exc:
            desk.fail(subscription, exc)
        else:
            desk.late[subscription] = None

    # -------------------------------------------------------------- ordered
    def _ordered(self, query: LiveQuery, *, is_told: bool) -> Job:
        desk, subscription = self._desk, self._subscription
        # Nothing may be left out after what the client was told to be the beginning.
        begin = None if is_told else subscription.cursor
        filling = yield from fill_window(desk.reader, query, begin)
        self._check()
        query.refill(filling.entries, complete=filling.complete, lsn=filling.lsn)
        subscription.cursor = filling.lsn
        if not is_told:
            return
        shown = query.shown()
        events = [
            query.added(entry.row, entry.record, position)
            for position, entry in enumerate(shown)
        ]
        for number, part in enumerate(parts := _parts(events), 1):
            mode = ChunkMode.INITIAL
            if number == len(parts):
                mode = ChunkMode.INITIAL_END
            while not desk.tell(subscription, mode, filling.lsn, part):
                yield self._wait()
                self._check()

    def _check(self) -> None:
        if self._subscription.epoch != self._epoch:
            raise _LeftError

    def _wait(self) -> bool:
        assert self._job is not None  # noqa: S101 - it runs
        self._desk.park(self._subscription, self._job)
        return False

    # -------------------------------------------------------------- in row order
    def _plain(self, query: LiveQuery) -> Job:
        desk, subscription = self._desk, self._subscription
        with desk.reader.snapshot() as snapshot:
            collection_of(snapshot, query)
            subscription.cursor = snapshot.lsn
            spec = msgspec.structs.replace(query.spec, fields=None)
            for rows in matching_rows(snapshot, spec):
                self._rows.extend(rows)
                yield True
                self._check()
        while True:
            if not subscription.may_send:
                yield self._wait()
            elif self._send_some(query):
                return
            else:
                yield True
            self._check()

    def _send_some(self, query: LiveQuery) -> bool:
        """Send from one snapshot what there is credit for; true at the end."""
        desk, subscription = self._desk, self._subscription
        until = perf_counter() + _HELD_S
        with desk.reader.snapshot() as snapshot:
            if snapshot.timeline != desk.timeline:
                raise LaggedError("the history was cut")
            corrections = self._due(self._move_to(snapshot, query), snapshot.lsn)
            for part in _parts(corrections)[:-1]:
                if not desk.tell(subscription, ChunkMode.INITIAL, snapshot.lsn, part):
                    raise LaggedError("too much has changed since")
            pending = _parts(corrections)[-1]
            while True:
                events = pending + self._next_events(snapshot, query)
                pending = []
                is_last = self._sent >= len(self._rows)
                mode = ChunkMode.INITIAL
                if is_last:
                    mode = ChunkMode.INITIAL_END
                    events = self._held.take(snapshot.lsn) + events
                if not desk.tell(subscription, mode, snapshot.lsn, events):
                    raise LaggedError("too much has changed since")
                if is_last:
                    return True
                if not subscription.may_send or perf_counter() > until:
                    return False

    def _due(self, corrections: list[LiveEvent], lsn: int) -> list[LiveEvent]:
        """What is to be corrected now; who debounces is told once, or of many things."""
        held = self._held
        if not self._subscription.debounce_s:
            return corrections
        held.extend(corrections)
        if held.size < CHUNK_BYTES and len(held) < CHUNK_EVENTS:
            return []
        return held.take(lsn)

    def _next_events(self, snapshot: Snapshot, query: LiveQuery) -> list[LiveEvent]:
        rows = self._rows[self._sent : self._sent + CHUNK_EVENTS].tolist()
        info = collection_of(snapshot, query)
        events: list[LiveEvent] = []
        size = 0
        for row, record in snapshot.get_rows(info, rows):
            event = query.added(row, record)
            events.append(event)
            self._last_row = row
            size += event_size(event)
            if size >= CHUNK_BYTES:
                break
        else:
            self._last_row = rows[-1] if rows else self._last_row
        self._sent = bisect_left(self._rows, self._last_row + 1)
        return events

    def _move_to(self, snapshot: Snapshot, query: LiveQuery) -> list[LiveEvent]:
        """Corrections of what was sent, and a list of what was not that is right."""
        corrections: list[LiveEvent] = []
        changes = snapshot.changes(self._subscription.cursor, snapshot.lsn)
        ours = (change for change in changes if change.collection == query.collection)
        for change in merged(ours):
            now = _matches(query, change.new_fields, change)
            if change.row > self._last_row:
                self._put(change.row, present=now)
                continue
            was = _matches(query, change.old_fields, change)
            if was or now:
                corrections += query.on_change(change, was=was, now=now)
                self._put(change.row, present=now)
        self._sent = bisect_left(self._rows, self._last_row + 1)
        return corrections

    def _put(self, row: int, *, present: bool) -> None:
        at = bisect_left(self._rows, row)
        found = at < len(self._rows) and self._rows[at] == row
        if present and not found:
            self._rows.insert(at, row)
        elif found and not present:
            del self._rows[at]


def _matches(
    query: LiveQuery, fields: dict[str, object] | None, change: DocumentChange
) -> bool:
    return fields is not None and query.matches(fields, change.id)


def _parts(events: Sequence[LiveEvent]) -> list[list[LiveEvent]]:
    """Events cut into chunks; at least one, perhaps empty."""
    parts: list[list[LiveEvent]] = [[]]
    size = 0
    for event in events:
        if size >= CHUNK_BYTES or len(parts[-1]) >= CHUNK_EVENTS:
            parts.append([])
            size = 0
        parts[-1].append(event)
        size += event_size(event)
    return parts
