"""One live query: what a change of a document means for its result.

Pure; owned by one feed. A query without order, limit or offset keeps no state: whether
the document matched before and whether it does now says everything. Others keep a
window.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from aurora_actors.messages.query import QuerySpec
from aurora_actors.messages.reactive import LiveEvent, LiveKind
from aurora_actors.query.compile import Matcher, compile_predicate
from aurora_actors.query.predicate import decode_predicate
from aurora_actors.query.projection import projection
from aurora_actors.reactive.change import DocumentChange
from aurora_actors.reactive.terms import access_of
from aurora_actors.reactive.window import Entry, Window, difference, placing
from aurora_actors.schema.record import record_body, record_lsn, unpack_record
from aurora_actors.schema.values import Buffer, decode_document

__all__ = ["LiveQuery", "is_windowed", "query_key"]

_encode = msgspec.msgpack.Encoder().encode


def query_key(spec: QuerySpec, debounce_s: float) -> bytes:
    """What queries that are evaluated as one have in common."""
    return _encode((spec, debounce_s))


class LiveQuery:
    """A query that is kept up to date.

    Attributes:
        key: See :func:`query_key`.
        collection: The id of its collection.
        spec: What is asked.
        access: How it is found when a document changes.
        matches: Whether a document matches.
        window: Its result, if it has an order or a limit.
        debounce_s: How often it is looked at; 0 at every change.

    Raises:
        InvalidFilterError: its predicate makes no sense.
    """

    __slots__ = (
        "_before",
        "_held",
        "_place",
        "_projection",
        "access",
        "collection",
        "debounce_s",
        "key",
        "matches",
        "spec",
        "window",
    )

    def __init__(
        self, spec: QuerySpec, collection: int, debounce_s: float = 0.0
    ) -> None:
        predicate = decode_predicate(spec.predicate) if spec.predicate else None
        self.key = query_key(spec, debounce_s)
        self.collection = collection
        self.spec = spec
        self.debounce_s = debounce_s
        self.matches: Matcher = (
            _everything if predicate is None else compile_predicate(predicate)
        )
        self.access = access_of(predicate)
        self._projection = None if spec.fields is None else projection(spec.fields)
        self._place = placing(spec.order)
        self._held: list[LiveEvent] = []
        self._before: list[Entry] = []
        self.window = Window(spec) if is_windowed(spec) else None

    # -------------------------------------------------------------- one change
    def on_change(
        self, change: DocumentChange, *, was: bool, now: bool
    ) -> list[LiveEvent]:
        """What a change means for the result.

        Args:
            change: The change.
            was: Whether the document matched before.
            now: Whether it does now.

        Returns:
            Its events. When the window is short afterwards they are held back until
            it has been filled: see :meth:`refill`.
        """
        window = self.window
        if window is None:
            event = self._plain(change, was=was, now=now)
            return [] if event is None else [event]
        events = self._windowed(window, change, now=now)
        if window.is_short:
            self._held, self._before = events, window.visible()
            return []
        return self.selected(events) if events else events

    def _plain(
        self, change: DocumentChange, *, was: bool, now: bool
    ) -> LiveEvent | None:
        if now and not was:
            new = self._select(change.new_record)
            return LiveEvent(LiveKind.ADDED, change.lsn, change.row, None, new)
        old = self._select(change.old_record)
        if not now:
            return LiveEvent(LiveKind.REMOVED, change.lsn, change.row, old)
        new = self._select(change.new_record)
        if old is not None and new is not None and record_body(old) == record_body(new):
            return None
        return LiveEvent(LiveKind.MODIFIED, change.lsn, change.row, old, new)

    def _select(self, record: bytes | None) -> bytes | None:
        if record is None or self._projection is None:
            return record
        return self._projection(record)

    # -------------------------------------------------------------- windows
    def _windowed(
        self, window: Window, change: DocumentChange, *, now: bool
    ) -> list[LiveEvent]:
        entry = self._entry(change) if now else None
        return window.apply(change.lsn, change.row, entry)

    def _entry(self, change: DocumentChange) -> Entry | None:
        record, fields = change.new_record, change.new_fields
        if record is None or fields is None:
            return None
        place = self._place(fields, change.id, change.row)
        return Entry(place, change.row, record_lsn(record), record)

    def entry_of(self, row: int, record: Buffer) -> Entry:
        """A matching document with its place in the result."""
        lsn, document_id, body = unpack_record(record)
        place = self._place(decode_document(body), document_id, row)
        return Entry(place, row, lsn, bytes(record))

    def holds(self, record: Buffer) -> bool:
        """Whether a document matches, given its record."""
        _, document_id, body = unpack_record(record)
        return self.matches(decode_document(body), document_id)

    def on_batch(
        self, changes: Iterable[tuple[DocumentChange, bool]], lsn: int
    ) -> list[LiveEvent]:
        """What several changes, up to ``lsn``, mean for a window when taken together.

        Args:
            changes: Each with whether its document matches now.
            lsn: The number that the events get.
        """
        window = self.window
        assert window is not None  # noqa: S101 - asked of windows alone
        before = window.visible()
        for change, now in changes:
            self._windowed(window, change, now=now)
        if window.is_short:
            self._before = before
            return []
        return self.selected(difference(before, window.visible(), lsn))

    @property
    def is_short(self) -> bool:
        """Whether it has a window that is to be filled."""
        return self.window is not None and self.window.is_short

    def shown(self) -> list[Entry]:
        """The result that has been told; while short, that before what is held back."""
        if self.window is None:
            return []
        return self._before if self.window.is_short else self.window.visible()

    def refill(
        self, entries: Sequence[Entry], *, complete: bool, lsn: int
    ) -> list[LiveEvent]:
        """Fill a window that was short, as of ``lsn``; returns what was held back."""
        window = self.window
        assert window is not None  # noqa: S101 - asked of windows alone
        window.fill(entries, complete=complete)
        held = self._held + difference(self._before, window.visible(), lsn)
        self._held, self._before = [], []
        return self.selected(held)

    def selected(self, events: Sequence[LiveEvent]) -> list[LiveEvent]:
        """The events with the selected fields alone."""
        if self._projection is None:
            return list(events)
        return [
            LiveEvent(
                event.kind,
                event.lsn,
                event.row,
                self._select(event.old),
                self._select(event.new),
                event.position,
            )
            for event in events
        ]

    def added(self, row: int, record: Buffer, position: int | None = None) -> LiveEvent:
        """The event that gives a document of the first result."""
        new = self._select(bytes(record))
        return LiveEvent(LiveKind.ADDED, record_lsn(record), row, None, new, position)


def is_windowed(spec: QuerySpec) -> bool:
    """Whether the place of a document in the result matters."""
    return bool(spec.order) or spec.limit is not None or spec.offset > 0


def _everything(_fields: dict[str, object], _document_id: str) -> bool:
    return True
