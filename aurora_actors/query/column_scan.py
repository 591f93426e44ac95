"""Scanning columns: the rows that match are found without reading a document.

Only what the result wants of the matches is then read. Where just the first few in an
order are wanted, most matches drop out by their values in the columns, before their
documents are read. Executors only: it needs pyarrow.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Generator, Sequence
from time import perf_counter
from typing import Final, cast

from pyroaring import BitMap64

from aurora_actors.indexing.rowsets import RowSet
from aurora_actors.indexing.tables import SegmentTables
from aurora_actors.messages.query import OrderKey
from aurora_actors.query.derived import Derived
from aurora_actors.query.index_scan import read_rows
from aurora_actors.query.loops import Bound, RecordLoop, Want
from aurora_actors.query.plan import Access
from aurora_actors.query.predicate import Predicate
from aurora_actors.query.scan import Finish, Scan, unbounded
from aurora_actors.query.segment_match import Matched, SegmentMatcher
from aurora_actors.query.topmost import topmost_rows
from aurora_actors.storage.reader import CollectionInfo, Snapshot

__all__ = ["ColumnScan"]

_CHUNK: Final = 8192


class ColumnScan(Scan):
    """A scan of the columns that a predicate and an order read.

    Args:
        snapshot: The data.
        info: The collection.
        derived: Its derived data, which has columns.
        predicate: What is tested; its fields are columns.
        tables: The open segments.
        first: Of matches in the order, only so many are wanted; ``None`` for all.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        info: CollectionInfo,
        derived: Derived,
        *,
        predicate: Predicate | None,
        tables: SegmentTables,
        first: int | None = None,
    ) -> None:
        access = Access("column_scan", residual=predicate)
        super().__init__(snapshot, info, access, None)
        self._derived = derived
        self._predicate = predicate
        self._tables = tables
        self._first = first

    def batches(
        self,
        want: Want,
        order: Sequence[OrderKey] = (),
        *,
        finish: Finish = bytes,
        bound: Callable[[], Bound] = unbounded,
    ) -> Generator[list[object]]:
        """See :meth:`Scan.batches`."""
        first = order[0] if want is Want.KEYS and self._first is not None else None
        matcher = SegmentMatcher(
            self._derived,
            self._predicate,
            self._tables,
            () if first is None else (first.field,),
        )
        found: RowSet = BitMap64()
        started = perf_counter()
        for matched in matcher.matches():
            counted: list[object] = []  # only its length matters
            if matched is not None and want is Want.NOTHING:
                counted = cast("list[object]", range(matched.count))
            elif matched is not None:
                found |= BitMap64(self._rows(matched, first))
            self.rows_read = matcher.rows_tested
            self.seconds += perf_counter() - started
            yield counted
            started = perf_counter()
        rest = matcher.document_rows
        if want is Want.NOTHING:
            if rest:
                loop = RecordLoop(self._predicate, want)
                yield from read_rows(self, rest, loop, finish, bound)
            return
        if rest:
            loop = RecordLoop(self._predicate, Want.ROW)
            for batch in read_rows(self, rest, loop, finish, unbounded):
                found |= BitMap64([row for row in batch if isinstance(row, int)])
                yield []
        if want is Want.ROW:
            for at in range(0, len(found), _CHUNK):
                yield [*found[at : at + _CHUNK].to_array()]
            return
        yield from read_rows(self, found, RecordLoop(None, want, order), finish, bound)

    def _rows(self, matched: Matched, first: OrderKey | None) -> array[int]:
        if first is None or self._first is None:
            return matched.rows()
        return topmost_rows(matched, first, self._first)
