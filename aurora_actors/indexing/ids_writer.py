"""Whether the ids of a collection ascend with its rows.

Equal keys are ordered by document id. Generated ids ascend in time, as rows do, so that
the rows of a key are in order already but for the *disordered* ones: those whose id was
not above all ids before it. With these apart, the first few of many equal keys are found
without reading the ids of all.
"""

from __future__ import annotations

from collections.abc import Iterable

from aurora_actors.indexing.environment import IndexTables, Transaction
from aurora_actors.indexing.layout import (
    META_HIGHEST,
    ROWS_DISORDERED,
    Part,
    Progress,
    entry_key,
    part_key,
)
from aurora_actors.indexing.rowsets import change_rows, delete_rows

__all__ = ["IdsWriter"]


class IdsWriter:
    """Keeps the set of disordered rows of one collection.

    Attributes:
        part: The part.
        progress: Its numbers, to be stored with the next commit.
    """

    def __init__(
        self, part: Part, progress: Progress, tables: IndexTables, txn: Transaction
    ) -> None:
        self.part = part
        self.progress = progress
        self._tables = tables
        self._key = entry_key(part.number, ROWS_DISORDERED)
        self._highest_key = part_key(META_HIGHEST, part.number)
        value = txn.get(self._highest_key, db=tables.meta)
        self._highest = "" if value is None else bytes(value).decode()

    def apply(self, txn: Transaction, inserted: Iterable[tuple[int, str]]) -> None:
        """Take in new documents, as (row, id), ascending by row."""
        highest, disordered = self._highest, []
        for row, document_id in inserted:
            if document_id > highest:
                highest = document_id
            else:
                disordered.append(row)
        if disordered:
            change_rows(txn, self._tables.bitmaps, self._key, add=disordered)
        if highest != self._highest:
            self._highest = highest
            txn.put(self._highest_key, highest.encode(), db=self._tables.meta)

    def remove(self, txn: Transaction) -> None:
        """Remove the set."""
        delete_rows(txn, self._tables.bitmaps, self._key)
        txn.delete(self._highest_key, db=self._tables.meta)
