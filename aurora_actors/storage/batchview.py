"""The state that a batch has reached, for reading: its changes over one transaction.

The lower half of :class:`~aurora_actors.storage.writeset.WriteSet`: what requests of a
batch read, so that each sees what those before it did. Storage process only.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set as AbstractSet
from heapq import merge
from typing import Final, TypeAlias

from aurora_actors.storage.catalog import Collection
from aurora_actors.storage.changes import HEADER_BYTES, ChangeKind, change_header
from aurora_actors.storage.environment import Table, Tables, Transaction
from aurora_actors.storage.jobs.index import READY
from aurora_actors.storage.layout import row_key
from aurora_actors.storage.marking import BitMap64

__all__ = ["BatchView", "Overlay"]

Overlay: TypeAlias = "dict[bytes, bytes | None]"

_U64: Final = struct.Struct(">Q")
_CURRENT: Final = bytes(8)


class BatchView:
    """The tables of documents with a batch's changes on top.

    Args:
        txn: The transaction below.
        tables: Its named databases.
        start: The last LSN before the batch.
        marked: The deleted rows that are still in the tables, by what keys begin with.
    """

    def __init__(
        self,
        txn: Transaction,
        tables: Tables,
        start: int,
        marked: Mapping[bytes, BitMap64],
    ) -> None:
        self.txn = txn
        self.tables = tables
        self._start = start
        self._marked = marked
        # Keys as in the tables; ``None`` for what is removed.
        self._docs: Overlay = {}
        self._ids: Overlay = {}
        self._unique: Overlay = {}
        self._changes: dict[int, bytes] = {}
        self._jobs: Overlay = {}
        self._job_counts: dict[bytes, int] = {}
        self.ended_jobs: set[str] = set()  # those that may have: none is missing

    def row_of(self, id_key: bytes) -> int | None:
        """The row of the document with this key in ``ids``."""
        return self._number(self._ids, self.tables.ids, id_key)

    def rows_of(self, id_keys: Sequence[bytes]) -> list[int] | None:
        """The rows of many documents, in the order of their keys.

        Returns:
            ``None`` when one of them is not there.
        """
        if self._ids or (self._marked and id_keys[0][:4] in self._marked):
            rows = [self.row_of(key) for key in id_keys]
            known = [row for row in rows if row is not None]
            return known if len(known) == len(rows) else None
        found = dict(self.txn.cursor(self.tables.ids).getmulti(sorted(id_keys)))
        try:
            return [int.from_bytes(found[key], "big") for key in id_keys]
        except KeyError:
            return None

    def unique_row(self, key: bytes) -> int | None:
        """The row that holds this key in ``unique``."""
        return self._number(self._unique, self.tables.unique, key)

    def _number(self, overlay: Overlay, table: Table, key: bytes) -> int | None:
        value = overlay[key] if key in overlay else self.txn.get(key, db=table)
        if value is None:
            return None
        row = int.from_bytes(value, "big")
        if self._marked and row in self._marked.get(key[:4], ()):
            return None
        return row

    def record(self, collection: Collection, row: int) -> bytes | None:
        """The current record of a row."""
        if self._marked and row in self._marked.get(collection.prefix, ()):
            return None
        return self.stored_record(collection.id, row)

    def stored_record(self, collection: int, row: int) -> bytes | None:
        """The record in a row, though its document may be deleted already."""
        key = row_key(collection, row)
        if key in self._docs:
            return self._docs[key]
        found: bytes | None = self.txn.get(key, db=self.tables.docs)
        return found

    def records(self, collection: Collection, rows: Sequence[int]) -> list[bytes]:
        """The records of those of ``rows`` that exist; ``rows`` is ascending."""
        if self._docs:
            found = (self.record(collection, row) for row in rows)
            return [record for record in found if record is not None]
        cursor = self.txn.cursor(self.tables.docs)
        pack, prefix = _U64.pack, collection.prefix
        gone = self._marked.get(prefix)
        if gone is not None:
            rows = [row for row in rows if row not in gone]
        keys = [prefix + pack(row) for row in rows]
        return [record for _, record in cursor.getmulti(keys)]

    def job_entry(self, key: bytes) -> bytes | None:
        """The value of a key of ``jobs``; of counters, before this batch."""
        if key in self._jobs:
            return self._jobs[key]
        value: bytes | None = self.txn.get(key, db=self.tables.jobs)
        return value

    @property
    def has_job_changes(self) -> bool:
        """Whether the batch has changed which jobs there are to be run."""
        return bool(self._jobs or self._job_counts)

    def job_count(self, key: bytes) -> int:
        """The value of a counter of ``jobs``."""
        count = self._job_counts.get(key)
        if count is None:
            value = self.txn.get(key, db=self.tables.jobs)
            count = 0 if value is None else int.from_bytes(value, "big")
        return count

    def job_keys(self, prefix: bytes) -> Iterator[bytes]:
        """The keys of ``jobs`` that begin with ``prefix``, in order."""
        overlay = self._jobs
        added = sorted(
            key
            for key, value in overlay.items()
            if value is not None and key.startswith(prefix)
        )
        stored = (key for key in self._stored_jobs(prefix) if key not in overlay)
        return merge(stored, added) if added else stored

    def _stored_jobs(self, prefix: bytes) -> Iterator[bytes]:
        cursor = self.txn.cursor(self.tables.jobs)
        if cursor.set_range(prefix):
            for key in cursor.iternext(values=False):
                if not key.startswith(prefix):
                    return
                yield key

    def ready_jobs(self) -> dict[bytes, list[bytes]]:
        """What this batch has added to the lanes of ``jobs``, sorted, by lane."""
        found: dict[bytes, list[bytes]] = {}
        for key, value in self._jobs.items():
            if value is not None and key[:1] == READY:
                found.setdefault(key[:-16], []).append(key)
        for keys in found.values():
            keys.sort()
        return found

    def lane(self, lane: bytes, added: Sequence[bytes]) -> Iterator[bytes]:
        """The keys of a lane, in order; ``added`` are those of this batch."""
        overlay = self._jobs
        stored = (key for key in self._stored_jobs(lane) if key not in overlay)
        new = (key for key in added if overlay[key] is not None)
        return merge(stored, new) if added else stored

    def may_exist(self, collection: Collection, rows: AbstractSet[int]) -> bool:
        """Whether none of ``rows`` is deleted but still there, as far as is known."""
        gone = self._marked.get(collection.prefix)
        return gone is None or rows.isdisjoint(gone)

    def marked_rows(self) -> int:
        """How many deleted rows are still in the tables."""
        return sum(map(len, self._marked.values()))

    def any_id(self, id_keys: Iterable[bytes]) -> bytes | None:
        """One of ``id_keys`` that is taken, if any is."""
        return self._any(self._ids, self.tables.ids, id_keys)

    def any_unique(self, keys: Iterable[bytes]) -> bytes | None:
        """One of the unique ``keys`` that is taken, if any is."""
        return self._any(self._unique, self.tables.unique, keys)

    def _any(
        self, overlay: Overlay, table: Table, keys: Iterable[bytes]
    ) -> bytes | None:
        ordered = sorted(keys)
        if len(ordered) == 1:
            key = ordered[0]
            return key if self._number(overlay, table, key) is not None else None
        if self._marked and ordered[0][:4] in self._marked:
            known = (key for key in ordered if self._number(overlay, table, key))
            return next(known, None)
        if overlay:
            for key in ordered:
                if overlay.get(key) is not None:
                    return key
        # Ids made by one process ascend: often all are behind the last one stored.
        cursor = self.txn.cursor(table)
        if not cursor.set_range(ordered[0]) or cursor.key() > ordered[-1]:
            return None
        for key, _ in cursor.getmulti(ordered):
            if key not in overlay:
                found: bytes = key
                return found
        return None

    def changed_rows(self, collection: Collection, after_lsn: int) -> set[int]:
        """The rows of ``collection`` that changes after ``after_lsn`` touched."""
        rows = set()
        cursor = self.txn.cursor(self.tables.changes)
        if cursor.set_range(_U64.pack(after_lsn + 1)):
            for value in cursor.iternext(keys=False):
                _, number, row = change_header(value)
                if number == collection.id:
                    rows.add(row)
        for lsn, value in self._changes.items():
            _, number, row = change_header(value)
            if number == collection.id and lsn > after_lsn:
                rows.add(row)
        return rows

    def carried(self, last: int, most_bytes: int) -> list[bytes]:
        """The batch's changes, up to ``last``: see ``changes.carried_change``.

        Returns:
            Nothing when they have more bytes, or one of them is of the catalog, of a
            document that a later one has changed again, or of one that is only marked.
        """
        found: list[bytes] = []
        for lsn in range(self._start + 1, last + 1):
            value = self._changes[lsn]
            if value[0] == ChangeKind.INSERT:
                record = self._docs.get(value[1:13])
                if record is None or value[13:] != _CURRENT:
                    return []
                value += record
            elif value[0] >= ChangeKind.DEFINE or len(value) == HEADER_BYTES:
                return []
            most_bytes -= len(value)
            found.append(value)
        return found if most_bytes >= 0 else []

    def change_values(self, after_lsn: int) -> Iterator[bytes]:
        """The change records after ``after_lsn``, those of this batch included.

        In the order of their LSNs; each as it was before this batch or after.
        """
        cursor = self.txn.cursor(self.tables.changes)
        if cursor.set_range(_U64.pack(after_lsn + 1)):
            yield from cursor.iternext(keys=False)
        last = max(after_lsn, self._start)
        for lsn, value in self._changes.items():
            if lsn > last:
                yield value
