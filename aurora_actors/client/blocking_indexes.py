"""Indexes for threads; a part of the facade.

Each method promises what the one of the same name of :class:`aurora_actors.Aurora`
promises.
"""

from __future__ import annotations

from aurora_actors.client.database import Aurora
from aurora_actors.client.driving import run_now
from aurora_actors.client.indexes import IndexInfo

__all__ = ["BlockingIndexes"]


class BlockingIndexes:
    """A base of the blocking database class."""

    _db: Aurora

    def create_index(
        self, collection: str | type, *fields: str, timeout: float | None = None
    ) -> bool:
        """Make an index on one field, or on several together; it fills meanwhile."""
        return run_now(self._db.create_index(collection, *fields, timeout=timeout))

    def drop_index(
        self, collection: str | type, *fields: str, timeout: float | None = None
    ) -> bool:
        """Remove an index that ``create_index`` has made."""
        return run_now(self._db.drop_index(collection, *fields, timeout=timeout))

    def list_indexes(
        self, collection: str | type, *, timeout: float | None = None
    ) -> list[IndexInfo]:
        """The indexes of a collection."""
        return run_now(self._db.list_indexes(collection, timeout=timeout))
