"""Old changes leave the change log: ``change_retention_s``.

The number of changes is bounded by the commits (see ``storage.history``), their age
here, in the time between commits. Every sixteenth of the retention the present LSN is
noted with the time; a change leaves once a note that covers it is older than the
retention, so it stays for a sixteenth longer at most. What the last checkpoint or a
registered consumer still needs stays as well.

The notes are in ``meta`` under ``ages``, oldest first: time u64 in milliseconds since
1970, LSN u64. They are not part of the database's state: where they are missing, what
is there when the database is opened counts as made then. Storage process only.
"""

from __future__ import annotations

import logging
import struct
from collections import deque
from collections.abc import Callable
from typing import Final

from aurora_actors.errors import StorageFullError
from aurora_actors.storage.environment import lmdb_errors
from aurora_actors.storage.layout import META_AGES
from aurora_actors.storage.store import Store

__all__ = ["Ageing"]

_log = logging.getLogger(__name__)

_NOTE: Final = struct.Struct(">QQ")
_NOTES: Final = 16
_LONGEST_PERIOD_MS: Final = 60_000
_CHANGES_A_TURN: Final = 2_000


class Ageing:
    """Notes how old changes are, and removes those that are too old.

    Args:
        store: The open database.
        wall: Seconds since 1970.
    """

    def __init__(self, store: Store, wall: Callable[[], float]) -> None:
        self._store = store
        self._wall = wall
        keep_s = store.config.change_retention_s
        self._keep_ms = 0 if keep_s is None else max(1, int(keep_s * 1000))
        self._period_ms = min(_LONGEST_PERIOD_MS, max(1, self._keep_ms // _NOTES))
        self._notes: deque[tuple[int, int]] = deque()
        self._next_ms = 0
        if self._keep_ms:
            self._load()

    def _load(self) -> None:
        store, now = self._store, self._now()
        with lmdb_errors(store.data_path), store.env.begin() as txn:
            stored = bytes(txn.get(META_AGES, b"", db=store.tables.meta))
        if len(stored) % _NOTE.size == 0:
            for time_ms, lsn in _NOTE.iter_unpack(stored):
                # The clock may have been set back, and history may have been cut.
                if lsn <= store.state.lsn:
                    self._notes.append((min(time_ms, now), lsn))

    def _now(self) -> int:
        return int(self._wall() * 1000)

    # -------------------------------------------------------------- when
    def due(self) -> float:
        """Seconds until :meth:`run` has something to do."""
        history = self._store.history
        if not self._keep_ms or history.first > self._store.state.lsn:
            return float("inf")
        return max(0.0, (self._next_ms - self._now()) / 1000)

    def run(self) -> None:
        """Take a note, and remove some of what is too old; a few milliseconds."""
        if self.due() > 0:
            return
        now, store = self._now(), self._store
        self._next_ms = now + self._period_ms
        is_new = not self._notes or self._notes[-1][1] < store.state.lsn
        while len(self._notes) > 1 and self._notes[1][0] <= now - self._keep_ms:
            self._notes.popleft()
        oldest = self._oldest_to_keep(now)
        if not is_new and oldest <= store.history.first:
            return
        if is_new:
            self._notes.append((now, store.state.lsn))
        try:
            self._write(oldest)
        except StorageFullError:
            _log.warning("no room to remove old changes")

    def _oldest_to_keep(self, now: int) -> int:
        time_ms, lsn = self._notes[0] if self._notes else (now, 0)
        return lsn + 1 if time_ms <= now - self._keep_ms else 0

    def _write(self, oldest: int) -> None:
        store = self._store
        notes = b"".join(_NOTE.pack(*note) for note in self._notes)
        with store.writing() as txn:
            txn.put(META_AGES, notes, db=store.tables.meta)
            has_more = store.history.drop(txn, oldest, _CHANGES_A_TURN)
        store.history.committed()
        if has_more:
            self._next_ms = 0
