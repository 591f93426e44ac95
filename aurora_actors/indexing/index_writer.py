"""One index as the builder writes it: from values to (key, row) pairs to tables.

An index begins with a bitmap for each value. When it has more than
:data:`MOST_BITMAPS` values it goes over to single entries, for good: measured per pair
in batches of 1,000, 8 / 80 values cost 0.4 / 1.1 us as bitmaps and 0.7 / 1.0 as entries
and take a quarter / half the room; 5,000 values cost 4.5 against 1.4 us.

A writer belongs to one part and one open builder. What it keeps in memory mirrors the
tables as of the last commit; after an aborted transaction it has to be made anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from aurora_actors.indexing.entries import add_entries, delete_entries, remove_entries
from aurora_actors.indexing.environment import IndexTables, Transaction
from aurora_actors.indexing.extract import Extracted
from aurora_actors.indexing.keys import compound_key, element_keys, value_key
from aurora_actors.indexing.layout import (
    Part,
    Progress,
    Shape,
    entry_key,
    part_prefix,
)
from aurora_actors.indexing.rowsets import (
    change_rows,
    count_rows,
    delete_rows,
    read_rows,
)
from aurora_actors.schema.types import Kind

__all__ = ["MOST_BITMAPS", "IndexWriter"]

MOST_BITMAPS: Final = 512
_MOST_REMEMBERED: Final = 8192
_BLOCK_BYTES: Final = 4


class IndexWriter:
    """Applies changes to one index.

    Attributes:
        part: What it indexes.
        progress: Its numbers, to be stored with the next commit.
    """

    def __init__(
        self,
        part: Part,
        progress: Progress,
        tables: IndexTables,
        txn: Transaction,
        most_bitmaps: int = MOST_BITMAPS,
    ) -> None:
        self.part = part
        self.progress = progress
        self._most_bitmaps = most_bitmaps
        self._tables = tables
        # Of equal values of one declared type all have the same key; not so in a
        # field of any type, where True equals 1.
        typed = len(part.types) == 1 and part.types[0] not in {Kind.ANY, Kind.ARRAY}
        self._known: dict[object, bytes] | None = {} if typed else None
        self._counts: dict[bytes, int] = {}
        if progress.shape is Shape.BITMAPS:
            self._counts = dict(self._stored_counts(txn))

    def _stored_counts(self, txn: Transaction) -> Iterator[tuple[bytes, int]]:
        """Each value's key with its number of rows."""
        table = self._tables.bitmaps
        prefix = part_prefix(self.part.number)
        cursor = txn.cursor(table)
        found = cursor.set_range(prefix)
        while found and cursor.key()[:4] == prefix:
            key = cursor.key()[:-_BLOCK_BYTES]
            yield key, count_rows(txn, table, key)
            found = cursor.set_range(key + b"\xff" * _BLOCK_BYTES)

    # -------------------------------------------------------------- values
    def _keys(self, documents: Extracted) -> Sequence[bytes]:
        fields = self.part.fields
        number = self.part.number
        if len(fields) > 1:
            columns = [documents.column(name) for name in fields]
            return [
                entry_key(number, compound_key(values))
                for values in zip(*columns, strict=True)
            ]
        values = documents.column(fields[0])
        known = self._known
        if known is None:
            return [entry_key(number, value_key(value)) for value in values]
        keys: list[bytes] = []
        for value in values:
            key = known.get(value)
            if key is None:
                key = known[value] = entry_key(number, value_key(value))
            keys.append(key)
        if len(known) > _MOST_REMEMBERED:
            self._known = None
        return keys

    def pairs(
        self, rows: Sequence[int], documents: Extracted
    ) -> list[tuple[bytes, int]]:
        """The (key, row) pairs of these documents."""
        if not self.part.multi:
            return list(zip(self._keys(documents), rows, strict=True))
        number = self.part.number
        values = documents.column(self.part.fields[0])
        return [
            (entry_key(number, key), row)
            for row, value in zip(rows, values, strict=True)
            for key in element_keys(value)
        ]

    # -------------------------------------------------------------- changes
    def apply(
        self,
        txn: Transaction,
        gone: list[tuple[bytes, int]],
        new: list[tuple[bytes, int]],
    ) -> None:
        """Take the pairs ``gone`` out, then put the pairs ``new`` in."""
        if not gone and not new:
            return
        entries = self.progress.entries
        if self.progress.shape is Shape.BITMAPS:
            entries += self._apply_bitmaps(txn, gone, new)
            if len(self._counts) > self._most_bitmaps:
                self._go_over_to_entries(txn)
        else:
            entries -= remove_entries(txn, self._tables.entries, gone)
            add_entries(txn, self._tables.entries, new)
            entries += len(new)
        self.progress = self.progress._replace(
            entries=entries, distinct=len(self._counts)
        )

    def _apply_bitmaps(
        self,
        txn: Transaction,
        gone: Iterable[tuple[bytes, int]],
        new: Iterable[tuple[bytes, int]],
    ) -> int:
        changes: dict[bytes, tuple[list[int], list[int]]] = {}
        for side, pairs in enumerate((gone, new)):
            for key, row in pairs:
                change = changes.get(key)
                if change is None:
                    change = changes[key] = ([], [])
                change[side].append(row)
        table, counts, grown = self._tables.bitmaps, self._counts, 0
        for key in sorted(changes):
            remove, add = changes[key]
            by = change_rows(txn, table, key, add=add, remove=remove)
            grown += by
            counts[key] = counts.get(key, 0) + by
            if not counts[key]:
                del counts[key]
        return grown

    def _go_over_to_entries(self, txn: Transaction) -> None:
        tables = self._tables
        for key in sorted(self._counts):
            rows = read_rows(txn, tables.bitmaps, key)
            add_entries(txn, tables.entries, [(key, row) for row in rows])
        delete_rows(txn, tables.bitmaps, part_prefix(self.part.number))
        self._counts = {}
        self.progress = self.progress._replace(shape=Shape.ENTRIES)

    def remove(self, txn: Transaction, most: int) -> bool:
        """Remove the index's content, ``most`` keys at a time; true when done."""
        low = part_prefix(self.part.number)
        delete_rows(txn, self._tables.bitmaps, low)
        return delete_entries(txn, self._tables.entries, low, low + b"\xff", most)
