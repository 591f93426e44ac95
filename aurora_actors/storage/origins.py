"""Who made a change and when: notes for the audit log, where one is kept.

With ``audit_log_path`` set, storage notes for each request the number of its first
change, the time and the client, in the transaction that has the changes. The audit
writer reads the notes beside the change log; those it has done with are deleted. They
are in ``meta``, under ``o`` and the LSN (u64): time u64 in milliseconds since 1970, 0
when it is not known, then the client's name. A note holds up to the next one.

Not part of the database's state: the commit log has no times, so a change that had to
be recovered from it has a client, but no time.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from aurora_actors.storage.changes import ChangeKind
from aurora_actors.storage.environment import Table, Transaction
from aurora_actors.storage.replay import Entry

__all__ = ["AUDITOR", "Origin", "Origins", "note_origins", "read_origins"]

AUDITOR: Final = "audit_writer"
"""The follower whose place in the log says which notes are done with."""

_PREFIX: Final = b"o"
_KEY: Final = struct.Struct(">cQ")
_TIME: Final = struct.Struct(">Q")
_MANY: Final = frozenset({int(ChangeKind.INSERT), int(ChangeKind.DELETE)})


class Origin(NamedTuple):
    """Where changes from ``lsn`` on come from.

    Attributes:
        lsn: The first of them.
        time_ms: When, in milliseconds since 1970; 0 when it is not known.
        client: The name of who asked for them.
    """

    lsn: int
    time_ms: int
    client: str


def note_origins(
    txn: Transaction, meta: Table, start: int, entries: Sequence[Entry], time_ms: int
) -> None:
    """Note where the changes of a batch come from.

    Args:
        txn: The transaction that has the changes.
        meta: The table.
        start: The LSN before the batch.
        entries: Its requests.
        time_ms: When it is.
    """
    lsn = start + 1
    stamp = _TIME.pack(time_ms)
    for entry in entries:
        txn.put(_KEY.pack(_PREFIX, lsn), stamp + entry.client.encode(), db=meta)
        lsn += sum(map(_changes_of, entry.effects))


def _changes_of(effect: Sequence[object]) -> int:
    """How many LSNs an effect takes (see ``storage.replay``)."""
    last = effect[-1]
    return len(last) if effect[0] in _MANY and isinstance(last, list) else 1


def read_origins(txn: Transaction, meta: Table, after_lsn: int) -> Iterator[Origin]:
    """The notes that say where changes after ``after_lsn`` come from, in order."""
    cursor = txn.cursor(meta)
    first = after_lsn + 1
    found = cursor.set_range(_KEY.pack(_PREFIX, first))
    if not found or bytes(cursor.key()) != _KEY.pack(_PREFIX, first):
        # The note before it may be the one that holds.
        back = cursor.prev() if found else cursor.last()
        while back and bytes(cursor.key()) > _KEY.pack(_PREFIX, first):
            back = cursor.prev()
        if not back or not _is_note(cursor.key()):
            cursor.set_range(_KEY.pack(_PREFIX, first))
    for key, value in cursor.iternext():
        if not _is_note(key):
            return
        yield _origin(key, value)


def _is_note(key: bytes | memoryview) -> bool:
    return len(key) == _KEY.size and key[:1] == _PREFIX


def _origin(key: bytes | memoryview, value: bytes | memoryview) -> Origin:
    (time_ms,) = _TIME.unpack_from(value)
    return Origin(_KEY.unpack(key)[1], time_ms, str(value[_TIME.size :], "utf-8"))


class Origins:
    """Storage's notes, and how much of them has been read.

    Args:
        meta: Gives the table, which a compaction puts another in the place of.
        clock: Seconds since 1970.

    Attributes:
        done: The audit writer has done with everything up to this change.
    """

    def __init__(self, meta: Callable[[], Table], clock: Callable[[], float]) -> None:
        self.done = 0
        self._meta = meta
        self._clock = clock

    def note(self, txn: Transaction, start: int, entries: Sequence[Entry]) -> None:
        """Note where a batch's changes come from, and delete some of what is done."""
        note_origins(txn, self._meta(), start, entries, int(self._clock() * 1000))
        self._trim(txn, 2 * len(entries) + 8)

    def _trim(self, txn: Transaction, steps: int) -> None:
        meta = self._meta()
        cursor = txn.cursor(meta)
        found = cursor.set_range(_PREFIX)
        while found and steps and _is_note(cursor.key()):
            following = _next_note(cursor.key(), txn, meta)
            # A note holds until the next one: it is done when that one is, too.
            if following is None or following > self.done + 1:
                return
            found = cursor.delete()
            steps -= 1


def _next_note(key: bytes | memoryview, txn: Transaction, meta: Table) -> int | None:
    cursor = txn.cursor(meta)
    if not cursor.set_key(bytes(key)) or not cursor.next():
        return None
    return _KEY.unpack(cursor.key())[1] if _is_note(cursor.key()) else None
