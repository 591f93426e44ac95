"""Snapshots with what helps to query them: the two readers of a process, side by side.

The index snapshot is taken first, so that it is never ahead of the data.
"""

from __future__ import annotations

from aurora_actors.indexing.reader import IndexReader
from aurora_actors.indexing.tables import SegmentTables
from aurora_actors.query.cache import DocumentCache
from aurora_actors.query.choose import MEMORY_LIMIT, Aids
from aurora_actors.storage.reader import DataReader, Snapshot

__all__ = ["IndexedReader", "Pair"]


class IndexedReader:
    """Reads documents, indexes and, if told so, columns; for one thread.

    Args:
        data: The documents.
        index: What is derived of them.
        scans_columns: Whether this process is to scan columns, which takes pyarrow.
        cache: Decoded columns of this process.
        memory_limit: How many bytes one query may hold.
    """

    def __init__(
        self,
        data: DataReader,
        index: IndexReader,
        *,
        scans_columns: bool,
        cache: DocumentCache | None = None,
        memory_limit: int = MEMORY_LIMIT,
    ) -> None:
        self._data = data
        self._index = index
        self._tables = SegmentTables() if scans_columns else None
        self._cache = cache
        self._memory_limit = memory_limit

    @property
    def tables(self) -> SegmentTables | None:
        """The open column files, if this process scans columns."""
        return self._tables

    def snapshot(self) -> Pair:
        """A snapshot, and what helps with it; both end with the context."""
        index = self._index.snapshot()
        try:
            snapshot = self._data.snapshot()
        except BaseException:
            if index is not None:
                index.close()
            raise
        return Pair(
            snapshot, Aids(index, self._tables, self._cache, self._memory_limit)
        )


class Pair:
    """Two open snapshots: ``with reader.snapshot() as (snapshot, aids)``.

    Attributes:
        snapshot: The data.
        aids: What helps with it.
    """

    __slots__ = ("aids", "snapshot")

    def __init__(self, snapshot: Snapshot, aids: Aids) -> None:
        self.snapshot = snapshot
        self.aids = aids

    def close(self) -> None:
        """End both."""
        try:
            self.snapshot.close()
        finally:
            if self.aids.index is not None:
                self.aids.index.close()

    def __enter__(self) -> tuple[Snapshot, Aids]:
        return self.snapshot, self.aids

    def __exit__(self, *_: object) -> None:
        self.close()
