"""The matches of a predicate in the segments of a collection's columns.

Rows that are not as their segment says (dead, or changed since the indexes' LSN) are
left out; they, and rows no segment speaks for, are gathered in
:attr:`SegmentMatcher.document_rows`, to be tested on their documents. Executors only.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from aurora_actors.indexing.arrow import ROW_COLUMN, ArrowTable, row_ids
from aurora_actors.indexing.rowsets import RowSet
from aurora_actors.indexing.segments import Segment
from aurora_actors.indexing.tables import SegmentTables
from aurora_actors.query.derived import Derived
from aurora_actors.query.predicate import Predicate, terms
from aurora_actors.query.skipping import may_match
from aurora_actors.query.vector import Array, mask_of

__all__ = ["Matched", "SegmentMatcher"]


@dataclass(frozen=True, slots=True)
class Matched:
    """The rows of one segment that match.

    Attributes:
        table: The segment's table.
        mask: Which of its rows; ``None`` for all.
    """

    table: ArrowTable
    mask: Array | None

    @property
    def count(self) -> int:
        """How many rows match."""
        if self.mask is None:
            return int(self.table.num_rows)
        return int(self.mask.true_count)

    def rows(self) -> array[int]:
        """The rows, ascending."""
        table = self.table.select([ROW_COLUMN])
        return row_ids(table if self.mask is None else table.filter(self.mask))

    def column(self, name: str) -> Array:
        """The values of one column in these rows."""
        column = whole(self.table.column(name))
        return column if self.mask is None else column.filter(self.mask)


def whole(column: Array) -> Array:
    """A table's column as one array."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


class SegmentMatcher:
    """Finds the matches, a segment at a time.

    Args:
        derived: The derived data, which has columns.
        predicate: Its fields, and ``fields``, are among the columns.
        tables: The open segments.
        fields: What else is to be read of the matches.

    Attributes:
        document_rows: Rows to be tested on their documents; complete at the end.
        rows_tested: The rows looked at in columns so far.
    """

    def __init__(
        self,
        derived: Derived,
        predicate: Predicate | None,
        tables: SegmentTables,
        fields: Iterable[str] = (),
    ) -> None:
        columns = derived.columns
        assert columns is not None  # noqa: S101 - the planner has looked
        self._columns = columns
        self._predicate = predicate
        self._tables = tables
        self._read = [] if predicate is None else [t.field for t in terms(predicate)]
        self._needed = {*self._read, *fields}
        self._changed = derived.changed
        self.document_rows: RowSet = columns.document_rows | derived.changed
        self.rows_tested = 0

    def matches(self) -> Iterator[Matched | None]:
        """The matches of each segment; ``None`` for a segment that gives none."""
        for segment in self._columns.segments:
            yield self._match(segment)

    def _match(self, segment: Segment) -> Matched | None:
        columns = self._columns
        gone = columns.dead(segment)
        if not may_match(self._predicate, segment):
            return None
        table = None
        if all(segment.column(name) is not None for name in self._needed):
            table = self._tables.table(columns.path(segment), segment)
        if table is None:
            self.document_rows |= columns.members(segment) - gone
            return None
        if self._changed:
            gone |= self._changed & columns.members(segment)
        self.rows_tested += table.num_rows
        mask = self._live(table, gone)
        if self._predicate is not None:
            arrays = {name: whole(table.column(name)) for name in self._read}
            found = mask_of(
                self._predicate, arrays, columns.fields, int(table.num_rows)
            )
            mask = found if mask is None else pc.and_(mask, found)
        return Matched(table, mask)

    @staticmethod
    def _live(table: ArrowTable, gone: RowSet) -> Array | None:
        if not gone:
            return None
        dead = pa.array(gone.to_array(), pa.uint64())
        return pc.invert(pc.is_in(whole(table.column(ROW_COLUMN)), value_set=dead))
