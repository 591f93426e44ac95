"""Sets of rows in LMDB: roaring bitmaps, cut into blocks.

A set has a name (see ``layout.entry_key``) and is kept as one entry for each block of
2**18 rows that has any, so that a change rewrites one block (at most 32 KiB) and not the
whole set. The value begins with the number of rows, so that counting reads no bitmap.

Functions over a transaction, used by the index builder and by readers.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any, Final, TypeAlias

from pyroaring import BitMap64

from aurora_actors.errors import CorruptionError
from aurora_actors.indexing.layout import BLOCK_SHIFT, INDEX_FILE

__all__ = [
    "RowSet",
    "blocks",
    "change_rows",
    "count_rows",
    "delete_rows",
    "load_bitmap",
    "read_rows",
]

RowSet: TypeAlias = BitMap64
Transaction: TypeAlias = Any
Table: TypeAlias = Any

_COUNT: Final = struct.Struct(">I")
_BLOCK: Final = struct.Struct(">I")


def load_bitmap(value: bytes) -> RowSet:
    """The rows of one block.

    Raises:
        CorruptionError: the value is damaged.
    """
    try:
        rows: RowSet = BitMap64.deserialize(value[4:])
    except (ValueError, IndexError) as exc:
        raise CorruptionError(
            f"a bitmap of {INDEX_FILE} is damaged", file=INDEX_FILE
        ) from exc
    return rows


def _dump(rows: RowSet) -> bytes:
    return _COUNT.pack(len(rows)) + rows.serialize()


def blocks(txn: Transaction, table: Table, name: bytes) -> Iterator[bytes]:
    """The values of all blocks of a set, in row order."""
    cursor = txn.cursor(table)
    length = len(name)
    if cursor.set_range(name):
        for key, value in cursor.iternext():
            if key[:length] != name:
                return
            yield value


def read_rows(txn: Transaction, table: Table, name: bytes) -> RowSet:
    """The whole set; empty when there is none of the name."""
    found = [load_bitmap(value) for value in blocks(txn, table, name)]
    if len(found) == 1:
        return found[0]
    return BitMap64.union(*found) if found else BitMap64()


def count_rows(txn: Transaction, table: Table, name: bytes) -> int:
    """How many rows the set has."""
    return sum(_COUNT.unpack_from(value)[0] for value in blocks(txn, table, name))


def _by_block(rows: Iterable[int]) -> Iterator[tuple[int, list[int]]]:
    for block, members in groupby(sorted(rows), key=lambda row: row >> BLOCK_SHIFT):
        yield block, list(members)


def change_rows(
    txn: Transaction,
    table: Table,
    name: bytes,
    *,
    add: Iterable[int] = (),
    remove: Iterable[int] = (),
) -> int:
    """Take rows out of a set, then put rows in; returns by how many it has grown."""
    wanted: dict[int, tuple[list[int], list[int]]] = {}
    for block, rows in _by_block(remove):
        wanted[block] = (rows, [])
    for block, rows in _by_block(add):
        wanted.setdefault(block, ([], []))[1].extend(rows)
    grown = 0
    for block, (gone, new) in wanted.items():
        grown += _change_block(txn, table, name + _BLOCK.pack(block), gone, new)
    return grown


def _change_block(
    txn: Transaction, table: Table, key: bytes, gone: list[int], new: list[int]
) -> int:
    value = txn.get(key, db=table)
    rows = BitMap64() if value is None else load_bitmap(value)
    before = len(rows)
    if gone:
        rows.difference_update(BitMap64(array("Q", gone)))
    if new:
        rows.update(BitMap64(array("Q", new)))
    if rows:
        txn.put(key, _dump(rows), db=table)
    elif value is not None:
        txn.delete(key, db=table)
    return len(rows) - before


def delete_rows(txn: Transaction, table: Table, name: bytes) -> None:
    """Remove a whole set, and all sets whose names begin with ``name``."""
    cursor = txn.cursor(table)
    found = cursor.set_range(name)
    while found and cursor.key()[: len(name)] == name:
        found = cursor.delete()
