"""The matches of a predicate in the segments of a collection's columns.

Rows that are not as their segment says (dead, or changed since the indexes' LSN) are
left out; they, and rows no segment speaks for, are gathered in
:attr:`SegmentMatcher.document_rows`, to be tested on their documents. Executors only.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from aurora_actors.indexing.arrow import (
    ROW_COLUMN,
    ArrowTable,
    row_ids,
    row_positions,
)
from aurora_actors.indexing.rowsets import RowSet
from aurora_actors.indexing.segments import Segment
from aurora_actors.indexing.tables import SegmentTables
from aurora_actors.query.derived import Derived
from aurora_actors.query.predicate import Predicate, terms
from aurora_actors.query.skipping import Left, left_of
from aurora_actors.query.vector import Array, column_values, mask_of
from aurora_actors.schema.types import Kind

__all__ = ["FEW_GONE", "Joined", "Matched", "SegmentMatcher", "match_table"]

FEW_GONE: Final = 2000
"""Of no more rows each is found sooner than all are looked at."""


@dataclass(frozen=True, slots=True)
class Matched:
    """The rows of one segment that match.

    Attributes:
        table: The segment's table.
        mask: Which of its rows; ``None`` for all.
        segment: The segment.
    """

    table: ArrowTable
    mask: Array | None
    segment: Segment | None = None

    @property
    def is_complete(self) -> bool:
        """Whether all rows match, so that each word of a dictionary occurs."""
        return self.mask is None

    @property
    def count(self) -> int:
        """How many rows match."""
        if self.mask is None:
            return int(self.table.num_rows)
        return int(self.mask.true_count)

    def limits(self, name: str) -> tuple[Any, Any] | None:
        """Bounds of a column, maybe of more rows than match; ``None``: not known."""
        facts = None if self.segment is None else self.segment.column(name)
        return None if facts is None or facts.low is None else (facts.low, facts.high)

    def adds_up(self, name: str) -> bool:
        """Whether floats of a column are known to have exact sums without more ado.

        One round of extraction left nothing of them (see ``indexing.sums``): all are
        multiples of a unit of which the sum of their sizes has less than 2**53.
        """
        facts = None if self.segment is None else self.segment.column(name)
        return facts is not None and facts.parts is not None and len(facts.parts) < 2

    def rows(self) -> array[int]:
        """The rows, ascending."""
        table = self.table.select([ROW_COLUMN])
        return row_ids(table if self.mask is None else table.filter(self.mask))

    def column(self, name: str) -> Array:
        """The values of one column in these rows."""
        column = whole(self.table.column(name))
        return column if self.mask is None else column.filter(self.mask)


class Joined:
    """The matches of several segments as one: small ones cost what a large one does.

    Their rows need not ascend from one segment to the next.

    Attributes:
        count: How many rows match.
        is_complete: As of :class:`Matched`.
    """

    def __init__(self, parts: Sequence[Matched]) -> None:
        self._parts = parts
        self.count = sum(part.count for part in parts)
        self.is_complete = all(part.is_complete for part in parts)

    def limits(self, name: str) -> tuple[Any, Any] | None:
        """See :meth:`Matched.limits`."""
        found = [part.limits(name) for part in self._parts]
        known = [limits for limits in found if limits is not None]
        if len(known) < len(found):
            return None
        return min(low for low, _ in known), max(high for _, high in known)

    def adds_up(self, name: str) -> bool:
        """Units are not the same in all segments."""
        return False

    def column(self, name: str) -> Array:
        """The values of one column in these rows."""
        columns = [part.column(name) for part in self._parts]
        if len(columns) == 1:
            return columns[0]
        packed = [pa.types.is_dictionary(column.type) for column in columns]
        if not any(packed):
            return pa.chunked_array(columns).combine_chunks()
        # Packing is work for each row, and so is unpacking: the fewer rows are changed.
        in_packed = sum(
            len(column)
            for column, is_packed in zip(columns, packed, strict=True)
            if is_packed
        )
        if 2 * in_packed < self.count:
            plain = [
                column.dictionary_decode() if is_packed else column
                for column, is_packed in zip(columns, packed, strict=True)
            ]
            return pa.chunked_array(plain).combine_chunks()
        alike = [
            column if is_packed else column.dictionary_encode()
            for column, is_packed in zip(columns, packed, strict=True)
        ]
        return pa.chunked_array(alike).unify_dictionaries().combine_chunks()


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
        self._fields = frozenset(fields)
        self._left: dict[int, Left] = {}
        self._changed = derived.changed
        self.document_rows: RowSet = columns.document_rows | derived.changed
        self.rows_tested = 0

    def matches(
        self, segments: Iterable[Segment] | None = None
    ) -> Iterator[Matched | None]:
        """The matches of each segment; ``None`` for a segment that gives none."""
        for segment in self._columns.segments if segments is None else segments:
            yield self._match(segment)

    def left(self, segment: Segment) -> Left:
        """What of the predicate has to be tested on a segment's rows."""
        left = self._left.get(segment.number)
        if left is None:
            left = self._left[segment.number] = left_of(self._predicate, segment)
        return left

    def is_promising(self, segment: Segment) -> bool:
        """Whether a segment has the columns, and may have a match."""
        left = self.left(segment)
        return left is not False and self._has_columns(segment, left)

    def _has_columns(self, segment: Segment, left: Left) -> bool:
        read = set(self._fields)
        if not isinstance(left, bool):
            read.update(term.field for term in terms(left))
        return all(segment.column(name) is not None for name in read)

    def gone(self, segment: Segment) -> RowSet:
        """The rows of a segment's file that are not as it says."""
        gone, changed = self._columns.dead(segment), self._changed
        if changed and changed.min() <= segment.last and changed.max() >= segment.first:
            gone = gone | (changed & self._columns.members(segment))
        return gone

    def values(
        self, segment: Segment, rows: RowSet, field: str
    ) -> Sequence[Any] | None:
        """What a segment's file says of some of its rows; ``None``: nothing."""
        table = self._tables.table(self._columns.path(segment), segment)
        if table is None:
            return None
        at = pa.array(row_positions(table, rows), pa.int64())
        column = whole(table.column(field)).take(at)
        return column_values(column, self._columns.fields[field])

    def _match(self, segment: Segment) -> Matched | None:
        columns, left = self._columns, self.left(segment)
        if left is False:
            return None
        table = None
        if self._has_columns(segment, left):
            table = self._tables.table(columns.path(segment), segment)
        if table is None:
            self.document_rows |= columns.members(segment) - columns.dead(segment)
            return None
        self.rows_tested += table.num_rows
        gone = self.gone(segment)
        return match_table(table, segment, left, columns.fields, gone)


def match_table(
    table: ArrowTable,
    segment: Segment,
    left: Left,
    kinds: Mapping[str, Kind],
    gone: RowSet,
) -> Matched:
    """The matches in a segment's table.

    Args:
        table: It has the columns that the predicate reads.
        segment: Whose table it is.
        left: What is tested; something may match.
        kinds: The declared types of these columns.
        gone: Rows to leave out.
    """
    mask = None
    if gone:
        mask = _mask_without(table, gone)
    if not isinstance(left, bool):
        arrays = {t.field: whole(table.column(t.field)) for t in terms(left)}
        found = mask_of(left, arrays, kinds, int(table.num_rows))
        mask = found if mask is None else pc.and_(mask, found)
    return Matched(table, mask, segment)


def _mask_without(table: ArrowTable, gone: RowSet) -> Array:
    """Where rows are that are not gone."""
    if len(gone) > FEW_GONE:
        dead = pa.array(gone.to_array(), pa.uint64())
        return pc.invert(pc.is_in(whole(table.column(ROW_COLUMN)), value_set=dead))
    bits = bytearray(b"\xff" * ((table.num_rows + 7) // 8))
    for at in row_positions(table, gone):
        bits[at >> 3] &= ~(1 << (at & 7))
    buffers = [None, pa.py_buffer(bits)]
    return pa.Array.from_buffers(pa.bool_(), table.num_rows, buffers)
