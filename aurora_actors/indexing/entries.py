"""Rows of values in LMDB, one by one: for fields with many distinct values.

The table ``entries`` is sorted by (part, value key, row), with the rows of a key as
DUPFIXED duplicates of eight bytes, which LMDB returns by the page. Functions over a
transaction, used by the index builder and by readers.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from struct import Struct
from typing import Any, Final, TypeAlias

__all__ = [
    "Rows",
    "add_entries",
    "count_entries",
    "delete_entries",
    "entry_pairs",
    "entry_rows",
    "iterate_entries",
    "remove_entries",
    "unpack_rows",
]

Rows: TypeAlias = "array[int]"
"""Row ids, ascending."""
Transaction: TypeAlias = Any
Table: TypeAlias = Any

_ROW: Final = Struct("=Q")
_by_key = itemgetter(0)


def add_entries(
    txn: Transaction, table: Table, pairs: Iterable[tuple[bytes, int]]
) -> None:
    """Add (entry key, row) pairs; those of one key in ascending order are fastest."""
    pack = _ROW.pack
    # Sorted, so that pages are touched one after the other; the sort is stable.
    items = [(key, pack(row)) for key, row in sorted(pairs, key=_by_key)]
    if items:
        txn.cursor(table).putmulti(items)


def remove_entries(
    txn: Transaction, table: Table, pairs: Iterable[tuple[bytes, int]]
) -> int:
    """Remove pairs; returns how many there were."""
    pack, removed = _ROW.pack, 0
    cursor = txn.cursor(table)
    for key, row in sorted(pairs):
        if cursor.set_key_dup(key, pack(row)):
            cursor.delete()
            removed += 1
    return removed


def entry_rows(txn: Transaction, table: Table, key: bytes) -> Rows:
    """The rows of one key."""
    rows = array("Q")
    cursor = txn.cursor(table)
    if cursor.set_key(key):
        _take(cursor, key, rows)
    return rows


def _take(cursor: Any, key: bytes, rows: Rows) -> None:  # noqa: ANN401 - lmdb's
    if cursor.count() == 1:
        rows.append(_ROW.unpack(cursor.value())[0])
        return
    # Each row comes with its key before it; keys are whole words, so every
    # (n + 1)-th word is a row. Measured: 1,000 rows in 14 us, one by one in 160 us.
    words = array("Q")
    words.frombytes(
        cursor.getmulti([key], dupdata=True, dupfixed_bytes=8, keyfixed=True)
    )
    step = len(key) // 8 + 1
    rows.extend(words[step - 1 :: step])


def count_entries(txn: Transaction, table: Table, key: bytes) -> int:
    """How many rows a key has, without reading them."""
    cursor = txn.cursor(table)
    return int(cursor.count()) if cursor.set_key(key) else 0


def iterate_entries(
    txn: Transaction, table: Table, low: bytes, high: bytes, *, descending: bool
) -> Iterator[tuple[bytes, Rows]]:
    """The keys from ``low`` to before ``high`` with their rows, in key order."""
    cursor = txn.cursor(table)
    if not descending:
        found = cursor.set_range(low)
        step = cursor.next_nodup
    else:
        # To the first key at or behind ``high``, then one back.
        found = cursor.prev_nodup() if cursor.set_range(high) else cursor.last()
        step = cursor.prev_nodup
    while found:
        key = cursor.key()
        if not low <= key < high:
            return
        rows: Rows = array("Q")
        _take(cursor, key, rows)
        yield key, rows
        found = step()


def entry_pairs(
    txn: Transaction, table: Table, low: bytes, high: bytes
) -> Iterator[tuple[bytes, bytes]]:
    """All (key, packed row) pairs from ``low`` to before ``high``: the fastest way."""
    cursor = txn.cursor(table)
    if cursor.set_range(low):
        for pair in cursor.iternext():
            if pair[0] >= high:
                return
            yield pair


def unpack_rows(packed: Sequence[bytes]) -> Rows:
    """Rows from what :func:`entry_pairs` gives."""
    rows = array("Q")
    rows.frombytes(b"".join(packed))
    return rows


def delete_entries(
    txn: Transaction, table: Table, low: bytes, high: bytes, most: int
) -> bool:
    """Remove keys from ``low`` to before ``high``, ``most`` at a time; true if done."""
    cursor = txn.cursor(table)
    found = cursor.set_range(low)
    while found and cursor.key() < high:
        if most <= 0:
            return False
        most -= 1
        found = cursor.delete(dupdata=True)
    return True
