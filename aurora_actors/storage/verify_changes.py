"""Checking the change log against the documents, as a part of ``storage.verify``.

The log must be without gaps up to the state's LSN, and each change must agree with the
version it speaks of: the one in ``docs`` while that is current, else the one in the
change that ended it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final

from aurora_actors.errors import AuroraError
from aurora_actors.schema.record import check_record, record_lsn
from aurora_actors.schema.types import decode_definition
from aurora_actors.storage.catalog import Collection, State
from aurora_actors.storage.changes import (
    Buffer,
    ChangeKind,
    change_header,
    split_update,
    superseded_by,
)
from aurora_actors.storage.environment import Tables, Transaction
from aurora_actors.storage.findings import Findings
from aurora_actors.storage.layout import row_key
from aurora_actors.storage.marking import BitMap64

__all__ = ["ChangeChecks"]

_U64: Final = struct.Struct(">Q")
_HEAD: Final = 13


class ChangeChecks:
    """The table ``changes`` in one snapshot.

    Args:
        txn: The snapshot.
        tables: Its named databases.
        state: What it is.
        found: Where findings go.
        live: The collections there are.
        marked: Their rows that are deleted and may still be there.
    """

    def __init__(
        self,
        txn: Transaction,
        tables: Tables,
        state: State,
        found: Findings,
        live: Mapping[int, Collection],
        marked: Mapping[int, BitMap64],
    ) -> None:
        self._txn = txn
        self._tables = tables
        self._state = state
        self._found = found
        self._live = live
        self._marked = marked
        self._first = 0
        self.current = 0
        """How many documents are as one of the changes left them."""

    def run(self) -> int:
        """Check; returns how many changes there are."""
        count, due = 0, 0
        for key, value in self._txn.cursor(self._tables.changes):
            (lsn,) = _U64.unpack(key)
            if not count:
                self._first = due = lsn
            if lsn != due:
                self._add(lsn, f"is found where change {due} is due")
            due, count = lsn + 1, count + 1
            try:
                self._change(lsn, value)
            except (AuroraError, ValueError, struct.error, IndexError) as exc:
                self._add(lsn, f"cannot be understood: {exc}")
        if count and due != self._state.lsn + 1:
            self._add(due - 1, f"is the last, but the state is {self._state.lsn}")
        return count

    def _add(self, lsn: int, text: str) -> None:
        self._found.add("changes", f"change {lsn} {text}", lsn=lsn)

    def _change(self, lsn: int, value: Buffer) -> None:
        number, collection, row = change_header(value)
        kind = ChangeKind(number)
        if kind in {ChangeKind.DEFINE, ChangeKind.DROP}:
            decode_definition(bytes(value[_HEAD:]))
            if row or (collection in self._live) != (kind is ChangeKind.DEFINE):
                self._catalog_change(lsn, kind, collection)
            return
        if collection not in self._live:
            return  # its documents may have been reclaimed
        if kind is ChangeKind.INSERT:
            self._insert(lsn, collection, row, superseded_by(value))
        elif kind is ChangeKind.UPDATE:
            old, new = split_update(value)
            check_record(old)
            self._ended(lsn, collection, row, record_lsn(old))
            self._current(lsn, collection, row, new)
        else:
            self._deleted(lsn, collection, row, value[_HEAD:])

    def _deleted(self, lsn: int, collection: int, row: int, old: Buffer) -> None:
        stored = self._doc(collection, row)
        if stored is not None and row not in self._marked.get(collection, ()):
            self._add(lsn, f"deletes row {row} of {collection}, which is there")
        record = old or stored
        if record is None:
            self._add(lsn, f"deletes row {row} of {collection}, which nothing has")
            return
        check_record(record)
        self._ended(lsn, collection, row, record_lsn(record))

    def _catalog_change(self, lsn: int, kind: ChangeKind, collection: int) -> None:
        # A collection that was defined here may have been dropped later.
        if kind is ChangeKind.DROP:
            self._add(lsn, f"drops collection {collection}, which is there")

    def _doc(self, collection: int, row: int) -> memoryview | None:
        record: memoryview | None = self._txn.get(
            row_key(collection, row), None, self._tables.docs
        )
        return record

    def _insert(self, lsn: int, collection: int, row: int, ended: int) -> None:
        if not ended:
            record = self._doc(collection, row)
            if record is None or record_lsn(record) != lsn:
                self._add(lsn, f"inserts row {row} of {collection}, which is not its")
            else:
                self.current += 1
            return
        value = self._txn.get(_U64.pack(ended), None, self._tables.changes)
        if value is None or change_header(value)[1:] != (collection, row):
            self._add(lsn, f"was ended by change {ended}, which is about another row")
            return
        if _old_lsn(value) != lsn:
            self._add(lsn, f"was ended by change {ended}, which ends another version")

    def _ended(self, lsn: int, collection: int, row: int, before: int) -> None:
        """The version before must be one that a change of this row made."""
        if before >= lsn:
            self._add(lsn, f"replaces a version of change {before}")
        elif before >= self._first:
            value = self._txn.get(_U64.pack(before), None, self._tables.changes)
            if value is None or change_header(value)[1:] != (collection, row):
                self._add(lsn, f"replaces a version that change {before} did not make")

    def _current(self, lsn: int, collection: int, row: int, new: Buffer) -> None:
        if record_lsn(new) != lsn:
            self._add(lsn, f"made a version that says {record_lsn(new)}")
        record = self._doc(collection, row)
        if record is None:
            return  # deleted by a later change
        current = record_lsn(record)
        self.current += current == lsn
        if current < lsn or (current == lsn and bytes(record) != bytes(new)):
            self._add(lsn, f"is not what row {row} of {collection} holds")


def _old_lsn(value: Buffer) -> int:
    kind = ChangeKind(change_header(value)[0])
    if kind is ChangeKind.UPDATE:
        return record_lsn(split_update(value)[0])
    return record_lsn(value[_HEAD:]) if kind is ChangeKind.DELETE else -1
