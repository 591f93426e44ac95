"""A listener's filter: which changes it is told of.

Pure; shared by all subscriptions that ask for the same.
"""

from __future__ import annotations

from collections.abc import Sequence

from aurora_actors.messages.reactive import LiveEvent
from aurora_actors.reactive.change import DocumentChange
from aurora_actors.schema.values import get_path, values_equal
from aurora_actors.storage.changes import ChangeKind

__all__ = ["Listener"]

_DEFINITIONS = frozenset({ChangeKind.DEFINE, ChangeKind.DROP})


class Listener:
    """Changes of one collection, or of all, that pass a filter.

    Attributes:
        key: What listeners that are evaluated as one have in common.
        collection: The collection's id; ``None`` for all.
    """

    __slots__ = ("_fields", "_kinds", "collection", "key")

    def __init__(
        self, collection: int | None, kinds: Sequence[int], fields: Sequence[str]
    ) -> None:
        self.collection = collection
        self._kinds = frozenset(kinds)
        self._fields = tuple(sorted(fields))
        self.key = (collection, self._kinds, self._fields)

    def event_of(
        self, kind: ChangeKind, change: DocumentChange, name: str
    ) -> LiveEvent | None:
        """What to tell of a change in the collection ``name``, if anything."""
        if self._kinds and kind not in self._kinds:
            return None
        if self._fields and (kind in _DEFINITIONS or not self._touches(change)):
            return None
        old, new = change.old_record, change.new_record
        if kind in _DEFINITIONS:
            old = new = None
        return LiveEvent(int(kind), change.lsn, change.row, old, new, None, name)

    def _touches(self, change: DocumentChange) -> bool:
        old, new = change.old_fields or {}, change.new_fields or {}
        return any(
            not values_equal(get_path(old, path), get_path(new, path))
            for path in self._fields
        )
