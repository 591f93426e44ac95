"""Parts that are gone but have left something behind.

A part is gone for readers with one commit; what it kept is removed afterwards, some at a
time, so that dropping a large index holds nobody up.
"""

from __future__ import annotations

from typing import Final

from aurora_actors.indexing.collection_writer import Writer
from aurora_actors.indexing.environment import (
    IndexTables,
    Table,
    Transaction,
    decode_part,
)
from aurora_actors.indexing.index_writer import IndexWriter
from aurora_actors.indexing.layout import META_REMOVED, Part, part_key

__all__ = ["remove_some", "removed_parts"]

_MOST_KEYS: Final = 20_000
_KEY_BYTES: Final = 5


def removed_parts(txn: Transaction, meta: Table) -> list[Part]:
    """The parts that are gone."""
    cursor = txn.cursor(meta)
    parts = []
    found = cursor.set_range(META_REMOVED)
    while found and cursor.key()[:1] == META_REMOVED:
        if len(cursor.key()) == _KEY_BYTES:
            parts.append(decode_part(bytes(cursor.value())))
        found = cursor.next()
    return parts


def remove_some(txn: Transaction, tables: IndexTables, writer: Writer) -> bool:
    """Remove some of what a part that is gone has kept; true when nothing is left."""
    if isinstance(writer, IndexWriter):
        if not writer.remove(txn, _MOST_KEYS):
            return False
    else:
        writer.remove(txn)
    txn.delete(part_key(META_REMOVED, writer.part.number), db=tables.meta)
    return True
