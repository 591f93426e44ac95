"""Records: a document with its id and the change that wrote it, as one run of bytes.

Used in every process; holds no state. Storage keeps records, queries carry them, and
whoever needs a document takes the body apart::

    offset  size  what
    0       8     LSN of the change that wrote this version, unsigned, big-endian
    8       1     n, the length of the id in bytes
    9       4     checksum, unsigned, big-endian; 0 says nothing
    13      n     the id, UTF-8
    13 + n  rest  the body: the fields as one msgpack map

The checksum is the CRC-32 of all from offset 13 on, started from the low 32 bits of
``LSN xor n << 24``; where that gives 0 it is 1. It is made when a document is written
and looked at when one is handed out or changed, and by ``aurora check``: LMDB has no
checksums, so this is what notices a bit that flips within a document at rest. A record
that a query makes up, as of some of the fields, has 0.

A part taken from a ``memoryview`` is a ``memoryview`` on the same memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct
from typing import Final
from zlib import crc32

from aurora_actors.errors import CorruptionError
from aurora_actors.schema.values import Buffer

__all__ = [
    "RECORD_HEAD",
    "UNCHECKED",
    "check_record",
    "is_intact",
    "pack_record",
    "record_bodies",
    "record_body",
    "record_id",
    "record_ids",
    "record_lsn",
    "unpack_head",
    "unpack_record",
]

_HEAD: Final = Struct(">QBI")
RECORD_HEAD: Final = _HEAD.size
"""The bytes before the id."""
UNCHECKED: Final = bytes(4)
"""The checksum of a record that has none."""
_pack, _unpack = _HEAD.pack, _HEAD.unpack_from
unpack_head: Final = _unpack
"""The LSN, the length of the id, the checksum; ``struct.error`` if it is cut short."""
_LOW: Final = 0xFFFFFFFF


def pack_record(lsn: int, document_id: str, body: Buffer) -> bytes:
    """Put a record together; the id is one that ``check_id`` has passed."""
    rest = b"".join((document_id.encode(), body))
    size = len(rest) - len(body)
    return _pack(lsn, size, crc32(rest, (lsn ^ size << 24) & _LOW) or 1) + rest


def is_intact(record: Buffer) -> bool:
    """Whether a record is as it was written, as far as its checksum says."""
    if len(record) <= RECORD_HEAD:
        return False
    lsn, size, stated = _unpack(record)
    seed = (lsn ^ size << 24) & _LOW
    return not stated or stated == (crc32(record[RECORD_HEAD:], seed) or 1)


def check_record(record: Buffer) -> None:
    """Refuse a record that is not as it was written.

    Raises:
        CorruptionError: it is not.
    """
    if not is_intact(record):
        size = record[8] if len(record) > RECORD_HEAD else 0
        shown = str(record[RECORD_HEAD : RECORD_HEAD + size], "utf-8", "replace")
        raise CorruptionError(
            f"the document {shown!r} is damaged: its checksum is another; "
            "run aurora check, and aurora repair or restore a backup",
            id=shown,
        )


def unpack_record(record: Buffer) -> tuple[int, str, Buffer]:
    """The LSN, the id and the body.

    Raises:
        CorruptionError: ``record`` is too short, or its id is not UTF-8.
    """
    lsn, end = _head(record)
    return lsn, _text(record, end), record[end:]


def record_lsn(record: Buffer) -> int:
    """The LSN of the change that wrote this version."""
    return _head(record)[0]


def record_id(record: Buffer) -> str:
    """The document's id."""
    return _text(record, _head(record)[1])


def record_body(record: Buffer) -> Buffer:
    """The encoded fields."""
    return record[_head(record)[1] :]


def record_bodies(records: Iterable[Buffer]) -> list[Buffer]:
    """The bodies of many records: a third of the price of :func:`record_body` each."""
    return [record[RECORD_HEAD + record[8] :] for record in records]


def record_ids(records: Iterable[Buffer]) -> list[str]:
    """The ids of many records.

    Raises:
        CorruptionError: one is not UTF-8.
    """
    try:
        return [
            str(record[RECORD_HEAD : RECORD_HEAD + record[8]], "utf-8")
            for record in records
        ]
    except UnicodeDecodeError as exc:
        raise CorruptionError(f"the id of a record is not UTF-8: {exc}") from exc


def _head(record: Buffer) -> tuple[int, int]:
    if len(record) > RECORD_HEAD:
        lsn, size, _ = _unpack(record)
        end = RECORD_HEAD + size
        if end < len(record):  # a body is at least one byte
            return lsn, end
    raise CorruptionError(f"a record of {len(record)} bytes is cut short")


def _text(record: Buffer, end: int) -> str:
    try:
        return str(record[RECORD_HEAD:end], "utf-8")
    except UnicodeDecodeError as exc:
        raise CorruptionError(f"the id of a record is not UTF-8: {exc}") from exc
