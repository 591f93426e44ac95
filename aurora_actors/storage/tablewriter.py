"""Writing a batch's changes to the tables, in the order that LMDB takes fastest.

Sorted, with one call for many items; items that go behind all others are appended,
which fills pages to the brim and needs no search. Counts about how many pages of the
file are written: see ``storage.upkeep``. Storage process only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Final

from aurora_actors.errors import CorruptionError
from aurora_actors.storage.environment import Table, Transaction

__all__ = ["TableWriter"]

# The pages from a table's root to a leaf; the bytes an item takes besides its value, and
# how many bytes of items there are on a page.
_PATH: Final = 3
_ITEM_BYTES: Final = 32
_PAGE_BYTES: Final = 4000
# One by one is cheaper than sorting and a cursor for so few.
_FEW: Final = 4
_value: Final = itemgetter(1)


class TableWriter:
    """Writes to the tables of one transaction.

    Attributes:
        pages: About how many pages its commit will write. The list of free pages and
            the remembered outcomes are always among them.
    """

    __slots__ = ("_txn", "pages")

    def __init__(self, txn: Transaction) -> None:
        self._txn = txn
        self.pages = 2 * _PATH

    def change(self, table: Table, changes: Mapping[bytes, bytes | None]) -> None:
        """Put each key's value; delete the keys whose value is ``None``."""
        txn = self._txn
        if len(changes) < _FEW:
            for key, value in changes.items():
                if value is None:
                    txn.delete(key, b"", table)
                else:
                    txn.put(key, value, True, True, False, table)
            self.pages += _PATH + len(changes) - 1
            return
        puts = [(key, value) for key, value in changes.items() if value is not None]
        if len(puts) != len(changes):
            self._delete(
                table, [key for key, value in changes.items() if value is None]
            )
        if puts:
            puts.sort()
            self._put(table, puts)

    def _delete(self, table: Table, keys: list[bytes]) -> None:
        keys.sort()
        cursor = self._txn.cursor(table)
        # A cursor finds a neighbour without beginning at the root.
        find, delete = cursor.set_key, cursor.delete
        for key in keys:
            if find(key):
                delete()
        self.pages += _PATH + len(keys)

    def _put(self, table: Table, items: Sequence[tuple[bytes, bytes]]) -> None:
        cursor = self._txn.cursor(table)
        if not cursor.last() or cursor.key() < items[0][0]:
            self.append(table, items)
        else:
            cursor.putmulti(items)
            self.pages += _PATH + len(items)

    def append(self, table: Table, items: Sequence[tuple[bytes, bytes]]) -> None:
        """Put items whose keys ascend, from one on that is beyond the last.

        Raises:
            CorruptionError: one was not beyond the last.
        """
        if len(items) == 1:
            key, value = items[0]
            added = int(self._txn.put(key, value, True, True, True, table))
            self.pages += _PATH
        else:
            _, added = self._txn.cursor(table).putmulti(items, append=True)
            size = sum(map(len, map(_value, items))) + _ITEM_BYTES * len(items)
            self.pages += _PATH + size // _PAGE_BYTES
        if added != len(items):
            raise CorruptionError("a table has entries beyond the last one known")
