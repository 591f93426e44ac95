"""Changes of documents in the overlay of a batch: inserted, updated, deleted, marked.

The larger part of a batch's write set (``storage.writeset``), which adds jobs and
collections to it and writes it. Each change is kept in a journal, from which it can be
undone; nothing here is written to LMDB. Storage process only, by its one writing thread.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from aurora_actors.schema.record import pack_record
from aurora_actors.storage.batchview import BatchView, Overlay
from aurora_actors.storage.catalog import Catalog, Collection, Counters, State
from aurora_actors.storage.changes import (
    ChangeKind,
    delete_changes,
    delete_marks,
    insert_change,
    insert_changes,
    update_change,
)
from aurora_actors.storage.environment import Tables, Transaction
from aurora_actors.storage.journal import Journal
from aurora_actors.storage.layout import collection_prefix, row_key
from aurora_actors.storage.marking import (
    MOST_MARKED,
    BitMap64,
    MarkName,
    all_marked,
    mark_key,
    pack_mark,
)

__all__ = ["DocumentWrites", "Savepoint"]

_U64: Final = struct.Struct(">Q")
_INSERT: Final = int(ChangeKind.INSERT)
_UPDATE: Final = int(ChangeKind.UPDATE)

K = TypeVar("K")


class Savepoint(NamedTuple):
    """A point to go back to."""

    journal: int
    lsn: int
    effects: int


class DocumentWrites(BatchView):
    """The changes of documents in one batch, which can be undone.

    Args:
        txn: The write transaction, which is only read.
        tables: Its named databases.
        catalog: Changed in place, and restored by :meth:`rollback`.
        state: The state before the batch.
        first_change: The oldest LSN still in ``changes``.

    Attributes:
        lsn: The last change, those of the batch included.
        effects: What the batch does, for the log.
        mark_from: From how many documents on a statement's deletions are marked, and
            carried out later; ``None`` for never.
    """

    def __init__(
        self,
        txn: Transaction,
        tables: Tables,
        catalog: Catalog,
        state: State,
        first_change: int,
    ) -> None:
        super().__init__(txn, tables, state.lsn, catalog.marked)
        self.catalog = catalog
        self.lsn = state.lsn
        self.timeline = state.timeline
        self.first_change = first_change
        self.effects: list[tuple[object, ...]] = []
        self.mark_from: int | None = None
        self._meta: Overlay = {}
        self._counted: set[int] = set()
        self._journal = Journal()
        self._set = self._journal.set
        self._add = self._journal.add

    # -------------------------------------------------------------- undo
    def savepoint(self) -> Savepoint:
        """The present point."""
        return Savepoint(len(self._journal.entries), self.lsn, len(self.effects))

    def rollback(self, point: Savepoint) -> None:
        """Undo everything since ``point``."""
        self._journal.undo(point.journal)
        self.lsn = point.lsn
        del self.effects[point.effects :]

    # -------------------------------------------------------------- documents
    def insert(
        self,
        collection: Collection,
        records: Sequence[bytes],
        id_keys: Sequence[bytes],
        unique: Sequence[tuple[bytes, int]],
        counts: Sequence[int] | None = None,
    ) -> int:
        """Add documents whose ids and unique values are known to be free.

        Args:
            collection: Where they go.
            records: One record each, with consecutive LSNs from ``self.lsn + 1``.
            id_keys: Their keys in ``ids``.
            unique: Keys in ``unique``, each with the position of its document.
            counts: How many of them each request has; each gets its effect.

        Returns:
            The row id of the first; the others follow.
        """
        number, count = collection.id, len(records)
        first_row, total = self.catalog.counters[number]
        if count == 1:
            self._insert_one(collection, first_row, records[0], id_keys[0], unique)
        else:
            self._insert_many(collection, first_row, records, id_keys, unique)
        self._count(number, Counters(first_row + count, total + count))
        self.lsn += count
        at = 0
        for part in counts or (count,):
            some = records[at : at + part]
            self.effects.append((_INSERT, number, first_row + at, some))
            at += part
        return first_row

    def _insert_one(
        self,
        collection: Collection,
        row: int,
        record: bytes,
        id_key: bytes,
        unique: Sequence[tuple[bytes, int]],
    ) -> None:
        """The same for one document, without building dictionaries."""
        put, value = self._set, _U64.pack(row)
        put(self._docs, collection.prefix + value, record)
        put(self._changes, self.lsn + 1, insert_change(collection.id, row))
        put(self._ids, id_key, value)
        for key, _ in unique:
            put(self._unique, key, value)

    def _insert_many(
        self,
        collection: Collection,
        first_row: int,
        records: Sequence[bytes],
        id_keys: Sequence[bytes],
        unique: Sequence[tuple[bytes, int]],
    ) -> None:
        number, count = collection.id, len(records)
        rows = range(first_row, first_row + count)
        pack = _U64.pack
        row_values = [pack(row) for row in rows]
        lsns = range(self.lsn + 1, self.lsn + 1 + count)
        prefix = collection.prefix
        docs = [prefix + row for row in row_values]
        self._add(self._docs, dict(zip(docs, records, strict=True)))
        changes = insert_changes(number, rows)
        self._add(self._changes, dict(zip(lsns, changes, strict=True)))
        self._take(self._ids, zip(id_keys, row_values, strict=True))
        if unique:
            self._take(self._unique, [(key, row_values[at]) for key, at in unique])

    def _take(self, overlay: Overlay, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        new = dict(pairs)
        if overlay and not overlay.keys().isdisjoint(new):
            for key, value in new.items():
                self._set(overlay, key, value)
        else:
            self._add(overlay, new)

    def update(
        self,
        collection: Collection,
        row: int,
        old: bytes,
        new: bytes,
        *,
        freed: Iterable[bytes],
        taken: Iterable[bytes],
    ) -> None:
        """Put ``new`` in the place of ``old``; its LSN is ``self.lsn + 1``.

        ``freed`` and ``taken`` are the keys in ``unique`` that the change gives up and
        takes; the latter are known to be free.
        """
        number = collection.id
        self.lsn += 1
        self._set(self._docs, row_key(number, row), new)
        self._supersede(old)
        self._set(self._changes, self.lsn, update_change(number, row, old, new))
        for key in freed:
            self._set(self._unique, key, None)
        for key in taken:
            self._set(self._unique, key, _U64.pack(row))
        self.effects.append((int(ChangeKind.UPDATE), number, row, new))

    def update_together(
        self, collection: Collection, changed: Sequence[tuple[int, bytes, str, bytes]]
    ) -> None:
        """Update documents whose unique fields stay as they are, each once.

        Args:
            collection: Theirs.
            changed: Their rows, old records, ids and new bodies.
        """
        number, lsn = collection.id, self.lsn
        effects, known = self.effects, self._changes
        superseded = self._present_changes([old[:8] for _, old, _, _ in changed])
        docs: dict[bytes, bytes] = {}
        log: dict[int, bytes] = {}
        for row, old, document_id, body in changed:
            lsn += 1
            new = pack_record(lsn, document_id, body)
            docs[row_key(number, row)] = new
            log[lsn] = update_change(number, row, old, new)
            effects.append((_UPDATE, number, row, new))
            value = superseded.get(old[:8])
            if value is not None and value[0] == _INSERT:
                before = int.from_bytes(old[:8], "big")
                self._set(known, before, value[:13] + _U64.pack(lsn))
        self._merge(self._docs, docs)
        self._add(known, log)
        self.lsn = lsn

    def _present_changes(self, lsns: Sequence[bytes]) -> dict[bytes, bytes]:
        """The change records of packed LSNs, as far as they are kept."""
        known, first = self._changes, _U64.pack(self.first_change)
        found: dict[bytes, bytes] = {}
        if known:
            numbers = [int.from_bytes(lsn, "big") for lsn in lsns]
            pairs = zip(lsns, map(known.get, numbers), strict=True)
            found = {lsn: value for lsn, value in pairs if value is not None}
        wanted = sorted(lsn for lsn in lsns if lsn >= first and lsn not in found)
        if wanted:
            found.update(self.txn.cursor(self.tables.changes).getmulti(wanted))
        return found

    def _merge(self, overlay: dict[K, Any], new: dict[K, Any]) -> None:
        """Set many keys, few of which are there already."""
        for key in overlay.keys() & new.keys():
            self._set(overlay, key, new.pop(key))
        self._add(overlay, new)

    def delete(
        self,
        collection: Collection,
        rows: Sequence[int],
        records: Sequence[bytes],
        freed: Iterable[bytes],
    ) -> None:
        """Remove documents, given their present records and keys in ``unique``."""
        number, prefix = collection.id, collection.prefix
        first_lsn = self.lsn + 1
        self._supersede_all(records, first_lsn)
        lsns = range(first_lsn, first_lsn + len(rows))
        changes = delete_changes(number, rows, records)
        self._add(self._changes, dict(zip(lsns, changes, strict=True)))
        pack = _U64.pack
        self._clear(self._docs, [prefix + pack(row) for row in rows])
        self._clear(self._ids, [prefix + r[13 : 13 + r[8]] for r in records])
        self._clear(self._unique, list(freed))
        next_row, total = self.catalog.counters[number]
        self._count(number, Counters(next_row, total - len(rows)))
        self.lsn += len(rows)
        self.effects.append((int(ChangeKind.DELETE), number, list(rows)))

    def marks(self, count: int) -> bool:
        """Whether so many deletions are to be marked, and carried out later."""
        if self.mark_from is None or count < self.mark_from:
            return False
        return self.marked_rows() + count <= MOST_MARKED

    def mark(self, collection: Collection, rows: Sequence[int]) -> None:
        """Delete documents, but leave them in the tables: see ``storage.marking``."""
        number, catalog, count = collection.id, self.catalog, len(rows)
        lsns = range(self.lsn + 1, self.lsn + 1 + count)
        changes = delete_marks(number, rows)
        self._add(self._changes, dict(zip(lsns, changes, strict=True)))
        name, marked = MarkName(number, self.lsn + 1), BitMap64(rows)
        self._set(self._meta, mark_key(name), pack_mark(marked))
        self._set(catalog.marks, name, marked)
        before = catalog.marked.get(collection.prefix)
        both = marked if before is None else before | marked
        self._set(catalog.marked, collection.prefix, both)
        self._new_version()
        next_row, total = catalog.counters[number]
        self._count(number, Counters(next_row, total - count))
        self.lsn += count
        self.effects.append((int(ChangeKind.DELETE), number, list(rows)))

    def unmark(self, name: MarkName) -> None:
        """The rows of a mark are no longer in the tables."""
        marks, number = self.catalog.marks, name.collection
        self._journal.remove(marks, name)
        self._set(self._meta, mark_key(name), None)
        left = all_marked(mark for mark in marks.items() if mark[0][0] == number)
        prefix = collection_prefix(number)
        if left:
            self._set(self.catalog.marked, prefix, left[number])
        else:
            self._journal.remove(self.catalog.marked, prefix)
        self._new_version()

    def _clear(self, overlay: Overlay, keys: list[bytes]) -> None:
        if overlay:
            for key in keys:
                self._set(overlay, key, None)
        else:
            self._add(overlay, dict.fromkeys(keys))

    def _count(self, collection: int, counters: Counters) -> None:
        self._counted.add(collection)
        self._set(self.catalog.counters, collection, counters)

    def _supersede(self, old: bytes) -> None:
        """Note in the insert's change record which change ends its version."""
        lsn = int.from_bytes(old[:8], "big")
        value = self._changes.get(lsn)
        if value is None and lsn >= self.first_change:
            value = self.txn.get(old[:8], db=self.tables.changes)
        if value is not None and value[0] == _INSERT:
            self._set(self._changes, lsn, value[:13] + _U64.pack(self.lsn))

    def _supersede_all(self, records: Sequence[bytes], first_lsn: int) -> None:
        if self._changes or len(records) < 8:
            for number, record in enumerate(records):
                self.lsn = first_lsn + number
                self._supersede(record)
            self.lsn = first_lsn - 1
            return
        first, pack = _U64.pack(self.first_change), _U64.pack
        before = [record[:8] for record in records]
        lsns = range(first_lsn, first_lsn + len(records))
        ending = dict(zip(before, map(pack, lsns), strict=True))
        before.sort()
        found = self.txn.cursor(self.tables.changes).getmulti(
            before[bisect_left(before, first) :]
        )
        ended = {
            key: value[:13] + ending[key] for key, value in found if value[0] == _INSERT
        }
        numbers = struct.unpack(f">{len(ended)}Q", b"".join(ended))
        self._add(self._changes, dict(zip(numbers, ended.values(), strict=True)))

    def _new_version(self) -> None:
        numbers = self.catalog.numbers
        self._set(numbers, "version", numbers["version"] + 1)
