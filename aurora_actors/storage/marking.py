"""Rows that are deleted but still where they were: marked now, removed later.

A statement that deletes many documents would change nearly every page of the tables it
takes them out of. Instead their rows are put into a set, a *mark*, in the transaction
that deletes them: from then on nobody sees the documents. ``storage.reclaim`` takes
them out of ``docs``, ``ids`` and ``unique`` afterwards, some at a time, and removes the
mark when nothing is left. Whoever reads these tables has to ask the marks; they are a
part of the catalog, whose version goes up with each mark that comes or goes.

A mark is an entry of ``meta``: ``x``, collection u32, LSN u64 of the first of its
deletions; the value is the set of rows, ascending as their LSNs are, as a 64-bit
Roaring bitmap in the portable format. A row is in one mark at most.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple, TypeAlias

from pyroaring import BitMap64

from aurora_actors.errors import CorruptionError
from aurora_actors.storage.environment import Table, Transaction
from aurora_actors.storage.layout import META_MARKED

__all__ = [
    "MARK_FROM",
    "MOST_MARKED",
    "BitMap64",
    "MarkName",
    "Marked",
    "all_marked",
    "mark_key",
    "pack_mark",
    "read_marks",
]

MARK_FROM: Final = 1_000
"""A statement that deletes fewer documents takes them out itself."""
MOST_MARKED: Final = 2_000_000
"""So many rows may be marked; what would be more is taken out at once."""

Marked: TypeAlias = "dict[MarkName, BitMap64]"

_KEY: Final = struct.Struct(">cIQ")


class MarkName(NamedTuple):
    """What a mark is called.

    Attributes:
        collection: The id of the collection that its rows are in.
        first_lsn: The LSN that deleted the first of them; the others follow.
    """

    collection: int
    first_lsn: int


def mark_key(name: MarkName) -> bytes:
    """The key of a mark in ``meta``."""
    return _KEY.pack(META_MARKED, *name)


def pack_mark(rows: BitMap64) -> bytes:
    """Encode the rows of a mark."""
    return bytes(rows.serialize())


def read_marks(txn: Transaction, meta: Table) -> Iterator[tuple[MarkName, BitMap64]]:
    """All marks, by collection and LSN.

    Raises:
        CorruptionError: one cannot be understood.
    """
    cursor = txn.cursor(meta)
    found = cursor.set_range(META_MARKED)
    while found and bytes(cursor.key()[:1]) == META_MARKED:
        key, value = bytes(cursor.key()), bytes(cursor.value())
        if len(key) == _KEY.size:
            _, collection, lsn = _KEY.unpack(key)
            try:
                rows = BitMap64.deserialize(value)
            except Exception as exc:
                raise CorruptionError(
                    f"the rows of collection {collection} that change {lsn} and those "
                    "behind it have deleted cannot be read",
                    file="data.mdb",
                ) from exc
            yield MarkName(collection, lsn), rows
        found = cursor.next()


def all_marked(marks: Iterable[tuple[MarkName, BitMap64]]) -> dict[int, BitMap64]:
    """The marked rows by collection."""
    found: dict[int, BitMap64] = {}
    for name, rows in marks:
        known = found.get(name.collection)
        found[name.collection] = rows if known is None else known | rows
    return found
