"""Change records: what each LSN did, as kept in the ``changes`` table.

Written by storage in the transaction that makes the change; read in every process. The
value of a change record begins with::

    0   1  kind (see :class:`ChangeKind`)
    1   4  collection id, unsigned, big-endian
    5   8  row id; 0 for a change of the catalog

and goes on as its kind says:

* insert: 8 bytes, the LSN of the change that replaced or removed this version, or 0
  while the version is the one in ``docs``. A version is thus stored once: in ``docs``
  as long as it is current, then as the *old* record of what came after it.
* update: 4 bytes length of the old record, the old record, the new record.
* delete: the old record; nothing while that is still in ``docs``, as it is when the row
  is only marked (``storage.marking``).
* define, drop: the encoded definition.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from enum import IntEnum
from typing import Final, NamedTuple, TypeAlias

from aurora_actors.errors import CorruptionError
from aurora_actors.schema.record import record_id

__all__ = [
    "HEADER_BYTES",
    "Change",
    "ChangeKind",
    "carried_change",
    "catalog_change",
    "change_header",
    "delete_changes",
    "delete_marks",
    "insert_change",
    "insert_changes",
    "resolve_change",
    "split_update",
    "superseded_by",
    "update_change",
]

Buffer: TypeAlias = "bytes | memoryview"

_HEADER: Final = struct.Struct(">BIQ")
_INSERT: Final = struct.Struct(">BIQQ")
_UPDATE: Final = struct.Struct(">BIQI")
_U64: Final = struct.Struct(">Q")

HEADER_BYTES: Final = _HEADER.size


class ChangeKind(IntEnum):
    """What a change did."""

    INSERT = 1
    UPDATE = 2
    DELETE = 3
    DEFINE = 4
    DROP = 5


_INSERTED: Final = int(ChangeKind.INSERT)


class Change(NamedTuple):
    """One change, with the document before and after it.

    Attributes:
        lsn: Its number.
        kind: What it did.
        collection: The collection's id.
        row: The document's row id; 0 for ``DEFINE`` and ``DROP``.
        old: The record before; ``None`` for an insert.
        new: The record after; ``None`` for a delete. For ``DEFINE`` the encoded
            definition, which for ``DROP`` is in ``old``.
    """

    lsn: int
    kind: ChangeKind
    collection: int
    row: int
    old: Buffer | None
    new: Buffer | None

    @property
    def id(self) -> str:
        """The document's id; empty for a change of the catalog."""
        record = self.new if self.new is not None else self.old
        if record is None or self.kind >= ChangeKind.DEFINE:
            return ""
        return record_id(record)


def change_header(value: Buffer) -> tuple[int, int, int]:
    """The kind, the collection and the row of a change record."""
    try:
        kind, collection, row = _HEADER.unpack_from(value)
    except struct.error as exc:
        raise CorruptionError(
            f"a change record of {len(value)} bytes is cut short"
        ) from exc
    return kind, collection, row


def insert_change(collection: int, row: int, superseded: int = 0) -> bytes:
    """The change record of an insert."""
    return _INSERT.pack(ChangeKind.INSERT, collection, row, superseded)


def insert_changes(collection: int, rows: Iterable[int]) -> list[bytes]:
    """The change records of inserts."""
    pack, kind = _INSERT.pack, int(ChangeKind.INSERT)
    return [pack(kind, collection, row, 0) for row in rows]


def superseded_by(value: Buffer) -> int:
    """The LSN that ended the version an insert made; 0 while it is current."""
    lsn: int = _U64.unpack_from(value, HEADER_BYTES)[0]
    return lsn


def update_change(collection: int, row: int, old: bytes, new: bytes) -> bytes:
    """The change record of an update."""
    head = _UPDATE.pack(ChangeKind.UPDATE, collection, row, len(old))
    return b"".join((head, old, new))


def split_update(value: Buffer) -> tuple[Buffer, Buffer]:
    """The old and the new record of an update."""
    length = _UPDATE.unpack_from(value)[3]
    middle = _UPDATE.size + length
    return value[_UPDATE.size : middle], value[middle:]


def carried_change(lsn: int, data: bytes) -> Change:
    """A change of a document as it travels.

    That is its change record, and for an insert, behind that, the record inserted.
    """
    kind, collection, row = change_header(data)
    if kind == _INSERTED:
        return Change(
            lsn, ChangeKind.INSERT, collection, row, None, data[_INSERT.size :]
        )
    if kind == ChangeKind.UPDATE:
        return Change(lsn, ChangeKind.UPDATE, collection, row, *split_update(data))
    return Change(lsn, ChangeKind.DELETE, collection, row, data[HEADER_BYTES:], None)


def delete_changes(
    collection: int, rows: Iterable[int], records: Iterable[bytes]
) -> list[bytes]:
    """The change records of deletes, given the documents' last records."""
    pack, kind = _HEADER.pack, int(ChangeKind.DELETE)
    return [
        pack(kind, collection, row) + record
        for row, record in zip(rows, records, strict=True)
    ]


def delete_marks(collection: int, rows: Iterable[int]) -> list[bytes]:
    """The change records of deletes whose documents are still in ``docs``."""
    pack, kind = _HEADER.pack, int(ChangeKind.DELETE)
    return [pack(kind, collection, row) for row in rows]


def catalog_change(kind: ChangeKind, collection: int, definition: bytes) -> bytes:
    """The change record of a collection's creation or removal."""
    return _HEADER.pack(kind, collection, 0) + definition


def resolve_change(
    lsn: int,
    value: Buffer,
    record_after: Callable[[int, int, int], Buffer | None],
) -> Change | None:
    """Complete a change record.

    Args:
        lsn: Its key.
        value: Its bytes.
        record_after: Given a collection, a row and what :func:`superseded_by` says,
            the record that an insert made.

    Returns:
        ``None`` when the document went with its collection.
    """
    if len(value) == _INSERT.size and value[0] == _INSERTED:
        _, collection, row, ended_by = _INSERT.unpack_from(value)
        new = record_after(collection, row, ended_by)
        if new is None:
            return None
        return Change(lsn, ChangeKind.INSERT, collection, row, None, new)
    number, collection, row = change_header(value)
    kind = ChangeKind(number)
    rest = value[HEADER_BYTES:]
    if kind is ChangeKind.INSERT:
        raise CorruptionError(f"an insert's record of {len(value)} bytes")
    if kind is ChangeKind.UPDATE:
        return Change(lsn, kind, collection, row, *split_update(value))
    if kind is ChangeKind.DELETE and not rest:
        old = record_after(collection, row, 0)
        return None if old is None else Change(lsn, kind, collection, row, old, None)
    if kind is ChangeKind.DEFINE:
        return Change(lsn, kind, collection, row, None, rest)
    return Change(lsn, kind, collection, row, rest, None)
