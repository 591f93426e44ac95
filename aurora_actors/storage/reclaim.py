"""Taking back the space of what is deleted but still there, some keys at a time.

That are the documents of removed collections, whose id is never used again, and rows
that are marked (``storage.marking``): both are out of reach, so that they can be taken
out of the tables whenever there is time. What is done here has no LSN and is not
logged: it changes nothing that can be seen, and is done again after a crash.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from aurora_actors.errors import StorageFullError
from aurora_actors.schema.record import record_bodies
from aurora_actors.storage.catalog import Catalog, Collection, dropped_key
from aurora_actors.storage.changes import ChangeKind, delete_changes, insert_change
from aurora_actors.storage.environment import Table, Tables, Transaction
from aurora_actors.storage.keys import present_keys
from aurora_actors.storage.layout import collection_prefix
from aurora_actors.storage.marking import MarkName
from aurora_actors.storage.store import Store
from aurora_actors.storage.tablewriter import TableWriter

__all__ = ["Reclaimer", "reclaim_some", "take_out"]

_log = logging.getLogger(__name__)
_STEP: Final = 2_000
_MARKED_STEP: Final = 250
_AGAIN_S: Final = 1.0
_U64: Final = struct.Struct(">Q")


class Reclaimer:
    """Takes back what an open database has deleted.

    Args:
        store: The database.
        clock: Seconds, monotonic.
        wrote: Is told about how many pages were written.
    """

    def __init__(
        self,
        store: Store,
        clock: Callable[[], float],
        wrote: Callable[[int], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._wrote = wrote
        self._again = 0.0
        self._done: dict[MarkName, int] = {}

    @property
    def has_work(self) -> bool:
        """Whether there is something to take back."""
        catalog = self._store.catalog
        return bool(catalog.dropped or catalog.marks)

    def due(self) -> float | None:
        """Seconds until :meth:`run` should be called, if it should."""
        return max(0.0, self._again - self._clock()) if self.has_work else None

    def run(self) -> StorageFullError | None:
        """Do a step, which takes a few milliseconds, if it is time for it."""
        if not self.has_work or self._clock() < self._again:
            return None
        begun = self._clock()
        try:
            if self._store.catalog.dropped:
                self._reclaim_dropped()
            else:
                self._reclaim_marked()
                # Who reads or writes meanwhile has at least half of the time.
                self._again = 2 * self._clock() - begun
        except StorageFullError as exc:
            _log.warning("no room to reclaim what has been deleted")
            self._again = self._clock() + _AGAIN_S
            return exc
        return None

    def _reclaim_dropped(self) -> None:
        store = self._store
        with store.writing() as txn:
            done = reclaim_some(txn, store.tables, store.catalog)
        if done is not None:
            del store.catalog.dropped[done]

    def _reclaim_marked(self) -> None:
        """Take some rows of the oldest mark out, and the mark with the last of them."""
        store = self._store
        name, marked = next(iter(store.catalog.marks.items()))
        at = self._done.get(name, 0)
        rows = list(marked[at : at + _MARKED_STEP])
        collection = store.catalog.by_id[name.collection]
        lsn, first = name.first_lsn + at, store.history.first
        if at + len(rows) < len(marked):
            with store.writing() as txn:
                pages = take_out(txn, store.tables, collection, rows, lsn, first)
            self._done[name] = at + len(rows)
        else:
            with store.changing() as batch:
                pages = take_out(batch.txn, store.tables, collection, rows, lsn, first)
                batch.unmark(name)
            self._done.pop(name, None)
        self._wrote(pages)


def take_out(
    txn: Transaction,
    tables: Tables,
    collection: Collection,
    rows: Sequence[int],
    first_lsn: int,
    first_change: int,
) -> int:
    """Take deleted documents out of the tables.

    An id or unique value that another document has by now stays, of course. The changes
    that deleted them get the records, and those that inserted them are told by which
    change they were ended.

    Args:
        txn: A write transaction.
        tables: Its named databases.
        collection: The collection.
        rows: The rows, ascending.
        first_lsn: The LSN that deleted the first of them; the others follow.
        first_change: The oldest LSN still in ``changes``.

    Returns:
        About how many pages the commit will write.
    """
    pack, prefix = _U64.pack, collection.prefix
    lsns = {prefix + pack(row): first_lsn + at for at, row in enumerate(rows)}
    found = dict(txn.cursor(tables.docs).getmulti(list(lsns)))
    writer = TableWriter(txn)
    writer.change(tables.docs, dict.fromkeys(found))
    gone = {key[4:] for key in lsns}
    ids = [prefix + record[13 : 13 + record[8]] for record in found.values()]
    _free(txn, writer, tables.ids, ids, gone)
    if collection.unique:
        unique = present_keys(collection, record_bodies(found.values()))
        _free(txn, writer, tables.unique, unique, gone)
    ended: dict[bytes, int] = {}
    changes: dict[bytes, bytes | None] = {}
    for key, record in found.items():
        lsn = lsns[key]
        if int.from_bytes(record[:8], "big") >= first_change:
            ended[record[:8]] = lsn
        if lsn >= first_change:
            (change,) = delete_changes(collection.id, (_row(key[4:]),), (record,))
            changes[pack(lsn)] = change
    for inserted, value in txn.cursor(tables.changes).getmulti(sorted(ended)):
        if value[0] == ChangeKind.INSERT:
            row = _row(value[5:13])
            changes[inserted] = insert_change(collection.id, row, ended[inserted])
    writer.change(tables.changes, changes)
    return writer.pages


def _row(packed: bytes) -> int:
    return int.from_bytes(packed, "big")


def _free(
    txn: Transaction,
    writer: TableWriter,
    table: Table,
    keys: Iterable[bytes],
    gone: set[bytes],
) -> None:
    """Delete those of ``keys`` whose rows are among ``gone``."""
    found = txn.cursor(table).getmulti(sorted(keys))
    writer.change(table, {key: None for key, row in found if row in gone})


def reclaim_some(txn: Transaction, tables: Tables, catalog: Catalog) -> int | None:
    """Delete up to 2,000 keys of a removed collection.

    Returns:
        The id of the collection when nothing is left of it; the caller takes it out of
        ``catalog.dropped`` once the transaction is committed.
    """
    collection = next(iter(catalog.dropped))
    left = _STEP
    for table in (tables.ids, tables.unique, tables.docs):
        left -= _delete(txn, table, collection_prefix(collection), left)
        if not left:
            return None
    txn.delete(dropped_key(collection), db=tables.meta)
    return collection


def _delete(txn: Transaction, table: Table, prefix: bytes, limit: int) -> int:
    cursor = txn.cursor(table)
    found = cursor.set_range(prefix)
    deleted = 0
    while found and deleted < limit and cursor.key()[:4] == prefix:
        found = cursor.delete()
        deleted += 1
    return deleted
