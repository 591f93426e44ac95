"""Derived data beside a snapshot: what indexes and columns say, and where they lag.

An index snapshot is at some LSN Y, the data snapshot at X, not before it. Rows that
changed in (Y, X] are the *delta*: for all other rows what was derived at Y is true at X,
and the delta's documents are read as they are at X. So every answer is exact, whatever
the lag; a large one only costs time. Used wherever queries run; for one thread.
"""

from __future__ import annotations

from typing import Final

from pyroaring import BitMap64

from aurora_actors.errors import LaggedError
from aurora_actors.indexing.index import Index
from aurora_actors.indexing.reader import Columns, IndexSnapshot
from aurora_actors.indexing.rowsets import RowSet
from aurora_actors.query.compile import Matcher, compile_predicate
from aurora_actors.query.predicate import Predicate
from aurora_actors.schema.record import record_body, record_id
from aurora_actors.schema.values import decode_document
from aurora_actors.storage.reader import CollectionInfo, Snapshot

__all__ = ["Derived"]

_LONGEST_DELTA: Final = 200_000


class Derived:
    """The derived data of one collection, to be used with one snapshot.

    Attributes:
        indexes: The usable indexes, by their fields.
        changed: The rows of the delta; they need not exist any more.
    """

    def __init__(
        self, index: IndexSnapshot, snapshot: Snapshot, info: CollectionInfo
    ) -> None:
        self._index = index
        self._snapshot = snapshot
        self._info = info
        self.indexes: dict[tuple[str, ...], Index] = {
            found.fields: found for found in index.indexes(info.id)
        }
        self.changed: RowSet = BitMap64()
        if index.lsn < snapshot.lsn:
            self.changed = BitMap64(snapshot.changed_rows(info, index.lsn))
        self._columns: Columns | None = None
        self._disordered: RowSet | None = None

    @classmethod
    def of(
        cls, index: IndexSnapshot | None, snapshot: Snapshot, info: CollectionInfo
    ) -> Derived | None:
        """What can be used with ``snapshot``; ``None`` when that is nothing.

        The snapshot of a transaction with writes of its own is not for indexes.
        """
        if index is None or type(snapshot) is not Snapshot:
            return None
        lag = snapshot.lsn - index.lsn
        if not 0 <= lag <= _LONGEST_DELTA or index.timeline != snapshot.timeline:
            return None
        if info.created_lsn > index.lsn:
            return None
        try:
            return cls(index, snapshot, info)
        except LaggedError:
            return None

    @property
    def columns(self) -> Columns | None:
        """The columns, if there are any to be used."""
        if self._columns is None:
            self._columns = self._index.columns(self._info.id)
        return self._columns

    @property
    def disordered(self) -> RowSet | None:
        """See ``IndexSnapshot.disordered``."""
        if self._disordered is None:
            self._disordered = self._index.disordered(self._info.id)
        return self._disordered

    def matching_delta(self, predicate: Predicate | None) -> RowSet:
        """The rows of the delta that exist and match, read from their documents."""
        return BitMap64(row for row, _, _ in self.delta_documents(predicate))

    def delta_documents(
        self, predicate: Predicate | None
    ) -> list[tuple[int, str, dict[str, object]]]:
        """The documents of the delta that match, as (row, id, fields)."""
        if not self.changed:
            return []
        matches: Matcher = _always
        if predicate is not None:
            matches = compile_predicate(predicate)
        rows = self.changed.to_array().tolist()
        found = []
        for row, record in self._snapshot.get_rows(self._info, rows):
            fields = decode_document(record_body(record))
            name = record_id(record)
            if matches(fields, name):
                found.append((row, name, fields))
        return found


def _always(_fields: dict[str, object], _name: str) -> bool:
    return True
