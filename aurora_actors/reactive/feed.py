"""A feed: live queries and listeners that are all at the same place in the log.

It takes changes one by one, finds whom they concern and hands each its events. The
dispatcher has one feed at the present, one for each debounce interval, and one for each
group of subscriptions that is catching up. Pure; it reads nothing by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

from aurora_actors.errors import CollectionNotFoundError
from aurora_actors.messages.reactive import LiveEvent
from aurora_actors.reactive.change import DocumentChange
from aurora_actors.reactive.listener import Listener
from aurora_actors.reactive.matching import MatchIndex
from aurora_actors.reactive.query import LiveQuery
from aurora_actors.reactive.subscription import Subscription
from aurora_actors.schema.types import HIDDEN, decode_definition
from aurora_actors.storage.changes import Change, ChangeKind

__all__ = ["Feed", "Source", "Told"]

Source: TypeAlias = LiveQuery | Listener
_Audience: TypeAlias = dict[Subscription, None]
_NOBODY: _Audience = {}
_NONE: dict[LiveQuery, None] = {}
Told: TypeAlias = Sequence[tuple[Source, list[LiveEvent]]]
"""Whom a change concerns, and the events it means for each."""


class Feed:
    """Live queries and listeners with their subscriptions.

    Attributes:
        cursor: Everything up to this change has been handed out.
        names: The names of collections, by id.
        short: Queries whose window has run short; their events are held back.
    """

    # How many changes are looked at together when an interval has passed: the more,
    # the less there is to tell; but each may concern every query.
    _MOST_CHANGES = 4096
    _LEAST_CHANGES = 64
    _MANY_EVENTS = 16_384

    def __init__(self, cursor: int, names: dict[int, str]) -> None:
        self.cursor = cursor
        self.names = names
        self.short: dict[LiveQuery, None] = {}
        self._times = 1
        self._audiences: dict[Source, _Audience] = {}
        self._sources: dict[Subscription, Source] = {}
        self._by_key: dict[object, Source] = {}
        self._indexes: dict[int, MatchIndex[LiveQuery]] = {}
        self._listeners: dict[int | None, dict[Listener, None]] = {}

    def __len__(self) -> int:
        return len(self._audiences)

    # -------------------------------------------------------------- who is here
    def attach(self, subscription: Subscription, source: Source) -> Source:
        """Let a subscription take part; shares ``source`` with those who ask the same.

        Returns:
            The source that is shared.
        """
        shared = self._by_key.get(source.key)
        if shared is None or (
            isinstance(shared, LiveQuery) and shared.collection != source.collection
        ):
            shared = source
            self._add(source)
        self._audiences[shared][subscription] = None
        self._times = 1
        self._sources[subscription] = shared
        subscription.feed = self
        return shared

    def _add(self, source: Source) -> None:
        self._by_key[source.key] = source
        self._audiences[source] = {}
        if isinstance(source, Listener):
            self._listeners.setdefault(source.collection, {})[source] = None
        else:
            index = self._indexes.setdefault(source.collection, MatchIndex())
            index.add(source)

    def detach(self, subscription: Subscription) -> None:
        """Take a subscription out, and its source with the last."""
        source = self._sources.pop(subscription)
        subscription.feed = None
        audience = self._audiences[source]
        del audience[subscription]
        if not audience:
            self._remove(source)

    def take_out(self, source: Source) -> list[Subscription]:
        """Remove a source; returns its subscriptions, which are detached."""
        audience = list(self._audiences[source])
        for subscription in audience:
            del self._sources[subscription]
            subscription.feed = None
        self._remove(source)
        return audience

    def _remove(self, source: Source) -> None:
        del self._audiences[source]
        if self._by_key.get(source.key) is source:
            del self._by_key[source.key]
        if isinstance(source, Listener):
            listeners = self._listeners[source.collection]
            del listeners[source]
            if not listeners:
                del self._listeners[source.collection]
            return
        self.short.pop(source, None)
        index = self._indexes[source.collection]
        index.remove(source)
        if not index:
            del self._indexes[source.collection]

    def audience(self, source: Source) -> Iterable[Subscription]:
        """The subscriptions of a source."""
        return self._audiences.get(source, _NOBODY)

    @property
    def subscriptions(self) -> list[Subscription]:
        """All subscriptions."""
        return list(self._sources)

    def source_of(self, subscription: Subscription) -> Source:
        """What a subscription that takes part shares."""
        return self._sources[subscription]

    def find(self, key: object) -> Source | None:
        """The source with this key, if there is one."""
        return self._by_key.get(key)

    def sources(self, collection: int) -> list[Source]:
        """What ends when a collection is removed."""
        return [source for source in self._audiences if source.collection == collection]

    def following(self, collection: int) -> list[Subscription]:
        """Whose subscriptions end when a collection is removed."""
        return [
            subscription
            for source in self.sources(collection)
            for subscription in self.audience(source)
        ]

    def removed(self, collection: int) -> CollectionNotFoundError:
        """The error for those who follow a collection that was removed."""
        name = self.names.get(collection, "")
        text = (
            f"collection {name!r} was removed; if a change of its schema has made it "
            "anew, watch it again"
        )
        return CollectionNotFoundError(text, collection=name)

    @property
    def windows(self) -> list[LiveQuery]:
        """The queries that keep a window."""
        return [
            source
            for source in self._audiences
            if isinstance(source, LiveQuery) and source.window is not None
        ]

    @property
    def tick_changes(self) -> int:
        """How many changes to look at together after an interval."""
        share = max(self._LEAST_CHANGES, self._MOST_CHANGES // max(1, len(self)))
        return min(self._MOST_CHANGES, share * self._times)

    def note_tick(self, events: int) -> None:
        """So many events have come of that; it is twice as much the next time, or as before."""
        few = events <= self._MANY_EVENTS // 2
        self._times = min(2 * self._times, self._MOST_CHANGES) if few else 1

    # -------------------------------------------------------------- changes
    def concerns(self, change: Change) -> bool:
        """Whether anybody may want to know of a change."""
        return change.collection in self._indexes or bool(self._listeners)

    def on_change(self, change: Change) -> Told:
        """Work out what a change means; gives each source that it concerns."""
        is_document = change.kind < ChangeKind.DEFINE
        if not is_document:
            self.learn_name(change)
        index = self._indexes.get(change.collection) if is_document else None
        if index is None and not self._listeners:
            return ()
        document = DocumentChange.of(change)
        told: list[tuple[Source, list[LiveEvent]]] = []
        if self._listeners:
            told += self._tell_listeners(change.kind, document)
        if index is not None:
            self._tell_queries(index, document, told)
        return told

    def learn_name(self, change: Change) -> None:
        """Note what a collection is called that was made or removed."""
        encoded = change.old if change.new is None else change.new
        if encoded is not None:
            definition = decode_definition(bytes(encoded))
            self.names[change.collection] = definition.name

    def _tell_queries(
        self,
        index: MatchIndex[LiveQuery],
        change: DocumentChange,
        told: list[tuple[Source, list[LiveEvent]]],
    ) -> None:
        document_id = change.id
        old, new = change.old_fields, change.new_fields
        was = _NONE if old is None else index.matching(old, document_id)
        now = _NONE if new is None else index.matching(new, document_id)
        for query in now:
            events = query.on_change(change, was=query in was, now=True)
            if events:
                told.append((query, events))
            elif query.is_short:
                self.short[query] = None
        for query in was:
            if query not in now:
                events = query.on_change(change, was=True, now=False)
                if events:
                    told.append((query, events))
                elif query.is_short:
                    self.short[query] = None

    def on_batch(
        self, changes: list[DocumentChange], lsn: int
    ) -> Iterator[tuple[LiveQuery, list[LiveEvent]]]:
        """Work out what changes, at most one for each document, mean together.

        The events are those of a coalesced batch that ends with ``lsn``.
        """
        plain: dict[LiveQuery, list[LiveEvent]] = {}
        windowed: dict[LiveQuery, list[tuple[DocumentChange, bool]]] = {}
        for change in sorted(changes, key=lambda change: change.row):
            index = self._indexes.get(change.collection)
            if index is None:
                continue
            old, new = change.old_fields, change.new_fields
            was = {} if old is None else index.matching(old, change.id)
            now = {} if new is None else index.matching(new, change.id)
            for query in {**was, **now}:
                if query.window is not None:
                    windowed.setdefault(query, []).append((change, query in now))
                    continue
                events = query.on_change(change, was=query in was, now=query in now)
                plain.setdefault(query, []).extend(
                    LiveEvent(event.kind, lsn, event.row, event.old, event.new)
                    for event in events
                )
        yield from plain.items()
        for query, changed in windowed.items():
            yield query, query.on_batch(changed, lsn)
            if query.window is not None and query.window.is_short:
                self.short[query] = None

    def _tell_listeners(
        self, kind: ChangeKind, change: DocumentChange
    ) -> Iterator[tuple[Listener, list[LiveEvent]]]:
        name = self.names.get(change.collection, "")
        if name in HIDDEN:
            return
        for collection in (change.collection, None):
            for listener in self._listeners.get(collection, ()):
                event = listener.event_of(kind, change, name)
                if event is not None:
                    yield listener, [event]
