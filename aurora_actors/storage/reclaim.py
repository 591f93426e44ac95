"""Taking back the space of removed collections, some keys at a time.

A removed collection's id is never used again, so its keys are out of reach at once and
can be deleted whenever there is time. What is done here has no LSN and is not logged:
it changes nothing that can be seen, and starts over where it was after a crash.
"""

from __future__ import annotations

from typing import Final

from aurora_actors.storage.catalog import Catalog, dropped_key
from aurora_actors.storage.environment import Table, Tables, Transaction
from aurora_actors.storage.layout import collection_prefix

__all__ = ["reclaim_some"]

_STEP: Final = 2_000


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
