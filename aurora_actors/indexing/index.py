"""One index at one state, for queries.

Reads from an index snapshot's transaction; keys and ranges come from ``indexing.keys``
and ``indexing.ranges``. Rows are always ascending within a key.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import groupby
from typing import Final

from pyroaring import BitMap64

from aurora_actors.indexing.entries import (
    Rows,
    count_entries,
    entry_pairs,
    entry_rows,
    iterate_entries,
    unpack_rows,
)
from aurora_actors.indexing.environment import IndexTables, Transaction
from aurora_actors.indexing.layout import Part, Progress, Shape, entry_key, part_prefix
from aurora_actors.indexing.ranges import KeyRange
from aurora_actors.indexing.rowsets import (
    RowSet,
    count_rows,
    load_bitmap,
    read_rows,
)
from aurora_actors.schema.types import Kind

__all__ = ["Index"]

_COUNT: Final = struct.Struct(">I")
_PART_BYTES: Final = 4
_BLOCK_BYTES: Final = 4


class Index:
    """An index that speaks of all documents of its collection at its LSN.

    Attributes:
        fields: The fields, in the order of the index.
        types: Their declared kinds.
        multi: Each element of an array has an entry, so a row may have several.
        entries: The number of (key, row) pairs.
    """

    def __init__(
        self, txn: Transaction, tables: IndexTables, part: Part, progress: Progress
    ) -> None:
        self._txn = txn
        self._tables = tables
        self._number = part.number
        self._progress = progress
        self._prefix = part_prefix(part.number)
        self.fields = part.fields
        self.types: tuple[Kind, ...] = part.types
        self.multi = part.multi
        self.entries = progress.entries

    @property
    def is_bitmaps(self) -> bool:
        """Whether it has few distinct keys, each with its rows as a bitmap."""
        return self._progress.shape is Shape.BITMAPS

    @property
    def distinct(self) -> int | None:
        """The number of distinct keys, where it is known."""
        return self._progress.distinct if self.is_bitmaps else None

    # -------------------------------------------------------------- one key
    def rows(self, key: bytes) -> RowSet:
        """The rows of one key as a set."""
        name = entry_key(self._number, key)
        if self.is_bitmaps:
            return read_rows(self._txn, self._tables.bitmaps, name)
        return BitMap64(entry_rows(self._txn, self._tables.entries, name))

    def any_rows(self, key: bytes) -> RowSet | Rows:
        """The rows of one key, as they are kept: a set, or an array."""
        name = entry_key(self._number, key)
        if self.is_bitmaps:
            return read_rows(self._txn, self._tables.bitmaps, name)
        return entry_rows(self._txn, self._tables.entries, name)

    def count(self, key: bytes) -> int:
        """How many rows one key has; reads none of them."""
        name = entry_key(self._number, key)
        if self.is_bitmaps:
            return count_rows(self._txn, self._tables.bitmaps, name)
        return count_entries(self._txn, self._tables.entries, name)

    # -------------------------------------------------------------- ranges
    def range_rows(self, keys: KeyRange) -> RowSet:
        """The rows of all keys in a range as a set."""
        low, high = self._prefix + keys.low, self._prefix + keys.high
        if self.is_bitmaps:
            found = [load_bitmap(value) for _, value in self._blocks(low, high)]
            return BitMap64.union(*found) if found else BitMap64()
        pairs = entry_pairs(self._txn, self._tables.entries, low, high)
        return BitMap64(unpack_rows([row for _, row in pairs]))

    def range_count(self, keys: KeyRange, most: int) -> int:
        """How many pairs a range has; counting ends at ``most`` or soon after."""
        low, high = self._prefix + keys.low, self._prefix + keys.high
        total = 0
        if self.is_bitmaps:
            for _, value in self._blocks(low, high):
                total += _COUNT.unpack_from(value)[0]
            return total
        cursor = self._txn.cursor(self._tables.entries)
        found = cursor.set_range(low)
        while found and total < most and cursor.key() < high:
            total += cursor.count()
            found = cursor.next_nodup()
        return total

    def scan(
        self, keys: KeyRange, *, descending: bool = False
    ) -> Iterator[tuple[bytes, Rows]]:
        """The keys of a range with their rows, in key order or against it.

        Keys may have zeros behind them, which do not matter for decoding; a truncated
        one is one of more than ``LONGEST_KEY`` bytes.
        """
        for key, rows in self.scan_sets(keys, descending=descending):
            yield key, rows.to_array() if isinstance(rows, BitMap64) else rows

    def scan_sets(
        self, keys: KeyRange, *, descending: bool = False
    ) -> Iterator[tuple[bytes, RowSet | Rows]]:
        """As :meth:`scan`, with rows as they are kept: a set, or an array."""
        low, high = self._prefix + keys.low, self._prefix + keys.high
        if self.is_bitmaps:
            return self._scan_bitmaps(low, high, descending=descending)
        table = self._tables.entries
        found = iterate_entries(self._txn, table, low, high, descending=descending)
        return ((key[_PART_BYTES:], rows) for key, rows in found)

    def _scan_bitmaps(
        self, low: bytes, high: bytes, *, descending: bool
    ) -> Iterator[tuple[bytes, RowSet]]:
        cursor = self._txn.cursor(self._tables.bitmaps)
        if not descending:
            found, step = cursor.set_range(low), cursor.next
        else:
            found = cursor.prev() if cursor.set_range(high) else cursor.last()
            step = cursor.prev
        while found:
            name = cursor.key()[:-_BLOCK_BYTES]
            if not low <= name < high:
                return
            rows = load_bitmap(cursor.value())
            while (found := step()) and cursor.key()[:-_BLOCK_BYTES] == name:
                rows |= load_bitmap(cursor.value())
            yield name[_PART_BYTES:], rows

    def _blocks(
        self, low: bytes, high: bytes, *, descending: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        cursor = self._txn.cursor(self._tables.bitmaps)
        if not descending:
            found = cursor.set_range(low)
            pairs = cursor.iternext() if found else iter(())
        else:
            found = cursor.prev() if cursor.set_range(high) else cursor.last()
            pairs = cursor.iterprev() if found else iter(())
        for key, value in pairs:
            if not low <= key < high:
                return
            yield key, value

    def keys(self, keys: KeyRange) -> Iterator[tuple[bytes, int]]:
        """The keys of a range with how many rows each has; reads none of these."""
        low, high = self._prefix + keys.low, self._prefix + keys.high
        if self.is_bitmaps:
            for key, group in groupby(
                self._blocks(low, high), key=lambda pair: pair[0][:-_BLOCK_BYTES]
            ):
                count = sum(_COUNT.unpack_from(value)[0] for _, value in group)
                yield key[_PART_BYTES:], count
            return
        cursor = self._txn.cursor(self._tables.entries)
        found = cursor.set_range(low)
        while found and (key := cursor.key()) < high:
            yield key[_PART_BYTES:], int(cursor.count())
            found = cursor.next_nodup()
