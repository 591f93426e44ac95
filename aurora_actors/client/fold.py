"""What a watcher's updates add up to: the present result, as a list.

A watch that begins without the first result, or behind a token, knows only those of its
documents that it was told of.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Generic, TypeVar, cast

from aurora_actors.client.updates import (
    Added,
    HistoryLost,
    Modified,
    Removed,
    Update,
)

__all__ = ["Fold"]

T = TypeVar("T")


class Fold(Generic[T]):
    """The documents that a watcher has been told of.

    With positions they are in the result's order, else in the order of insertion.
    """

    __slots__ = ("_documents", "_order")

    def __init__(self) -> None:
        self._documents: dict[int, T] = {}
        self._order: list[int] | None = None

    def take(self, update: Update) -> None:
        """Take one update; it may be about a document that was never told."""
        kind = type(update)
        if kind is Modified:
            modified = cast("Modified[T]", update)
            self._documents[modified.row] = modified.new
            if modified.position is not None:
                self._lift(modified.row)
                self._place(modified.row, modified.position)
        elif kind is Added:
            added = cast("Added[T]", update)
            self._documents[added.row] = added.document
            if added.position is not None:
                self._place(added.row, added.position)
        elif kind is Removed:
            row = cast("Removed[T]", update).row
            self._documents.pop(row, None)
            self._lift(row)
        elif kind is HistoryLost:
            self._documents.clear()
            self._order = None

    def _place(self, row: int, position: int) -> None:
        if self._order is None:
            self._order = []
        self._order.insert(position, row)

    def _lift(self, row: int) -> None:
        if self._order is not None:
            with suppress(ValueError):
                self._order.remove(row)

    def documents(self) -> list[T]:
        """The present result."""
        rows = sorted(self._documents) if self._order is None else self._order
        return [self._documents[row] for row in rows]
