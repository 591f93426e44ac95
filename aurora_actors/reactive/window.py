"""The result of a live query with order, limit or offset, kept up to date.

A :class:`Window` holds the first ``offset + limit`` documents in the query's order and
some more in reserve, so that most removals can be made good at once. When the reserve
is used up the window is *short*: it has to be made anew (see ``reactive.past``), which
costs as much as the query and all that has changed since. So it is made with twice the
reserve from time to time, as far as that is small. Pure; owned by one live query of the
reactive dispatcher.

Invariants: ``entries`` are the first of all matching documents, in order; all of them
when the window is complete. Applied in their order, the events of a change lead from
the visible part before it to that after it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeAlias

from aurora_actors.messages.query import OrderKey, QuerySpec
from aurora_actors.messages.reactive import LiveEvent, LiveKind
from aurora_actors.query.ordering import descending_key
from aurora_actors.schema.values import get_path, sort_key

__all__ = ["Entry", "Place", "Window", "difference", "placing"]

Place: TypeAlias = tuple[object, ...]
_RESERVE: Final = 32
_MOST_RESERVE: Final = 4096
_RESERVE_BYTES: Final = 4 << 20
_ENDLESS: Final = 1 << 62


def placing(
    order: Sequence[OrderKey],
) -> Callable[[dict[str, object], str, int], Place]:
    """A function of (fields, id, row) that gives a document's place in the order."""
    if not order:
        return lambda _fields, _id, row: (row,)
    keys = [(key.field, sort_key if key.ascending else descending_key) for key in order]

    def place(fields: dict[str, object], document_id: str, row: int) -> Place:
        values = [
            key_of(document_id if path == "id" else get_path(fields, path))
            for path, key_of in keys
        ]
        return (*values, document_id, row)

    return place


class Entry(NamedTuple):
    """A document with its place; entries compare by it, for no two share one."""

    place: Place
    row: int
    lsn: int
    record: bytes


class _Step(NamedTuple):
    """What one change does to the entries: from where to where a document goes."""

    before: Entry | None
    was: int | None
    new: Entry | None
    at: int | None


class Window:
    """The first documents of an ordered or limited result.

    Attributes:
        entries: See the module.
        complete: No document matches that is not among the entries.
        capacity: How many entries are kept at most.
    """

    __slots__ = (
        "_high",
        "_low",
        "_needed",
        "_places",
        "capacity",
        "complete",
        "entries",
    )

    def __init__(self, spec: QuerySpec) -> None:
        self._low = spec.offset
        self._high = _ENDLESS if spec.limit is None else spec.offset + spec.limit
        self._needed = self._high
        self.capacity = self._high + max(_RESERVE, self._high // 2)
        self.entries: list[Entry] = []
        self.complete = True
        self._places: dict[int, Place] = {}

    def fill(self, entries: Sequence[Entry], *, complete: bool) -> None:
        """Begin anew with the first documents in order."""
        self.entries = list(entries)
        self.complete = complete
        self._places = {entry.row: entry.place for entry in entries}
        if not complete:
            self._widen()

    def _widen(self) -> None:
        """Have twice the reserve the next time: who has used it up may do so again."""
        reserve = self.capacity - self._high
        size = sum(len(entry.record) for entry in self.entries[-reserve:])
        if reserve < _MOST_RESERVE and 2 * size <= _RESERVE_BYTES:
            self.capacity += reserve

    @property
    def is_short(self) -> bool:
        """Whether documents may be missing from the visible part."""
        return not self.complete and len(self.entries) < self._needed

    def visible(self) -> list[Entry]:
        """The query's result."""
        return self.entries[self._low : self._high]

    # -------------------------------------------------------------- changing
    def apply(self, lsn: int, row: int, new: Entry | None) -> list[LiveEvent]:
        """By change ``lsn`` the document in ``row`` is ``new``, or matches no more.

        Returns:
            What that means for the visible part; if the window is short afterwards,
            documents that have moved up are missing in it.
        """
        old_place = self._places.get(row)
        if old_place is None and new is None:
            return []
        suspects = self._suspects()
        was = None if old_place is None else self._index(old_place)
        before = None if was is None else self.entries.pop(was)
        at = None if new is None else self._insert(new)
        if old_place is not None and at is None:
            del self._places[row]
        events = self._events(suspects, _Step(before, was, new, at), lsn)
        self._trim()
        return events

    def _index(self, place: Place) -> int:
        return bisect_left(self.entries, place, key=_place_of)

    def _insert(self, new: Entry) -> int | None:
        entries = self.entries
        at = self._index(new.place)
        if at == len(entries) and not self.complete:
            return None  # behind what is known: there may be others before it
        entries.insert(at, new)
        self._places[new.row] = new.place
        return at

    def _trim(self) -> None:
        while len(self.entries) > self.capacity:
            del self._places[self.entries.pop().row]
            self.complete = False

    # -------------------------------------------------------------- telling
    def _suspects(self) -> list[tuple[int, Entry]]:
        """The entries beside the edges of the visible part, which may cross them."""
        edges = {self._low - 1, self._low, self._high - 1, self._high}
        size = len(self.entries)
        return [(k, self.entries[k]) for k in sorted(edges) if 0 <= k < size]

    def _is_visible(self, index: int | None) -> bool:
        return index is not None and self._low <= index < self._high

    def _events(
        self, suspects: list[tuple[int, Entry]], step: _Step, lsn: int
    ) -> list[LiveEvent]:
        was, at = step.was, step.at
        removed: list[LiveEvent] = []
        added: list[LiveEvent] = []
        for index, entry in suspects:
            if index == was:
                continue
            now = index - (was is not None and was < index)
            now += at is not None and at <= now
            if self._is_visible(index) and not self._is_visible(now):
                removed.append(_removed(entry, lsn))
            elif self._is_visible(now) and not self._is_visible(index):
                added.append(_added(entry, lsn, now - self._low))
        own = self._own_event(step, lsn)
        if own is not None and own.kind == LiveKind.REMOVED:
            return [own, *removed, *added]
        return [*removed, *added] if own is None else [*removed, *added, own]

    def _own_event(self, step: _Step, lsn: int) -> LiveEvent | None:
        """What the changed document itself does."""
        before, was, new, at = step
        seen = before is not None and self._is_visible(was)
        if new is None or at is None or not self._is_visible(at):
            return _removed(before, lsn) if seen and before is not None else None
        position = at - self._low
        if seen and before is not None:
            return _modified(before, new, lsn, position)
        return _added(new, lsn, position)


def _place_of(entry: Entry) -> Place:
    return entry.place


def _removed(entry: Entry, lsn: int) -> LiveEvent:
    return LiveEvent(LiveKind.REMOVED, lsn, entry.row, entry.record)


def _added(entry: Entry, lsn: int, position: int) -> LiveEvent:
    return LiveEvent(LiveKind.ADDED, lsn, entry.row, None, entry.record, position)


def _modified(before: Entry, new: Entry, lsn: int, position: int) -> LiveEvent:
    return LiveEvent(
        LiveKind.MODIFIED, lsn, new.row, before.record, new.record, position
    )


def difference(
    before: Sequence[Entry], after: Sequence[Entry], lsn: int
) -> list[LiveEvent]:
    """The events that lead from one result to another, all of them at ``lsn``.

    Each position is that in the list as the events before it have left it. What has
    not changed keeps its order, so it is enough to put each new or changed document
    behind the one that goes before it in the end.
    """
    old = {entry.row: entry for entry in before}
    rows = {entry.row for entry in after}
    events = [_removed(entry, lsn) for entry in before if entry.row not in rows]
    shown = [entry.row for entry in before if entry.row in rows]
    position = 0
    for entry in after:
        known = old.get(entry.row)
        if known is not None and known.lsn == entry.lsn:
            position = shown.index(entry.row, position)
        elif known is None:
            events.append(_added(entry, lsn, position))
            shown.insert(position, entry.row)
        elif position < len(shown) and shown[position] == entry.row:
            events.append(_modified(known, entry, lsn, position))
        else:
            place = shown.index(entry.row)
            del shown[place]
            position -= place < position
            events.append(_modified(known, entry, lsn, position))
            shown.insert(position, entry.row)
        position += 1
    return events
