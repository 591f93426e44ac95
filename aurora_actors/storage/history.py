"""How much of the change log is kept.

The rule: the last ``change_retention`` changes (a tenth of it in ``LOW_SPACE``), and
besides all after the last checkpoint and all that a registered consumer has not yet
reached; but never more than ten times the retention, so that a consumer that is stuck
cannot fill the disk: it finds the history it needs gone and starts anew. Before it
comes to that, from half of this room on, writers are slowed down. Trimming is
done in the batches' own transactions, some records at a time. What is too old leaves
between the batches (see ``storage.ageing``). Storage process only.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from aurora_actors.config import AuroraConfig, ColdStoreMode
from aurora_actors.storage.environment import Table, Transaction

__all__ = ["History"]

_U64: Final = struct.Struct(">Q")
# Not each batch touches the table's first page.
_SLACK: Final = 128
_STUCK_FACTOR: Final = 10
# From here on writers wait, so that they are no faster than a builder of indexes is.
_BEHIND_FACTOR: Final = 5
_SECONDS_EACH: Final = 1 / 40_000
_LONGEST_PAUSE_S: Final = 0.25


class History:
    """The kept part of ``changes``.

    Attributes:
        first: The oldest LSN kept; one beyond the newest when there is none.
    """

    def __init__(
        self,
        txn: Transaction,
        table: Table,
        lsn: int,
        config: AuroraConfig,
        checkpoint_lsn: Callable[[], int],
    ) -> None:
        small = config.cold_mode is ColdStoreMode.LOW_SPACE
        self._keep = max(1, config.change_retention // (10 if small else 1))
        self._table = table
        self._checkpoint_lsn = checkpoint_lsn
        self._holds: dict[str, int] = {}
        cursor = txn.cursor(table)
        self.first = _U64.unpack(cursor.key())[0] if cursor.first() else lsn + 1
        self._trimmed_to = self.first

    def move(self, txn: Transaction, table: Table, lsn: int) -> None:
        """Go on with the table of another data file."""
        self._table = table
        cursor = txn.cursor(table)
        self.first = _U64.unpack(cursor.key())[0] if cursor.first() else lsn + 1
        self._trimmed_to = self.first

    def hold(self, consumer: str, lsn: int | None) -> None:
        """Keep what comes after ``lsn`` for ``consumer``; ``None`` lets go of it."""
        if lsn is None:
            self._holds.pop(consumer, None)
        else:
            self._holds[consumer] = lsn

    def pause_s(self, lsn: int, written: int) -> float:
        """How long writers are to wait after ``written`` changes.

        Nothing, unless a consumer has fallen behind by half of what is kept for it. One
        that is stuck, and has lost its history, is not waited for.
        """
        behind, stuck = _BEHIND_FACTOR * self._keep, _STUCK_FACTOR * self._keep
        if any(behind < lsn - held <= stuck for held in self._holds.values()):
            return min(_LONGEST_PAUSE_S, written * _SECONDS_EACH)
        return 0.0

    def _needed(self) -> int:
        """The oldest LSN that somebody needs."""
        return min([self._checkpoint_lsn(), *self._holds.values()]) + 1

    def limit(self, lsn: int) -> int:
        """The oldest LSN to keep when the newest is ``lsn``."""
        first = min(lsn - self._keep + 1, self._needed())
        return max(first, lsn - _STUCK_FACTOR * self._keep + 1)

    def trim(self, txn: Transaction, lsn: int, written: int) -> None:
        """Delete what need not be kept at ``lsn``, after ``written`` new changes."""
        self._trimmed_to = self.first
        if lsn - self.first < self._keep + _SLACK:
            return
        excess = self.limit(lsn) - self.first
        if excess < _SLACK:
            return
        self._delete(txn, min(excess, max(2 * written, 2 * _SLACK)), lsn)

    def drop(self, txn: Transaction, first: int, most: int) -> bool:
        """Delete up to ``most`` changes before ``first`` that nobody needs.

        Returns:
            Whether there are more of them.
        """
        self._trimmed_to = self.first
        excess = min(first, self._needed()) - self.first
        if excess > 0:
            self._delete(txn, min(excess, most), first - 1)
        return excess > most

    def _delete(self, txn: Transaction, steps: int, lsn: int) -> None:
        cursor = txn.cursor(self._table)
        cursor.first()
        while steps and cursor.key():
            cursor.delete()
            steps -= 1
        key = cursor.key()
        self._trimmed_to = _U64.unpack(key)[0] if key else lsn + 1

    def committed(self) -> None:
        """The transaction of the last :meth:`trim` or :meth:`drop` is committed."""
        self.first = self._trimmed_to
