"""Names and keys of everything a database keeps on disk.

Pure functions over bytes, used by the storage process (which writes) and by every
process that reads. All numbers in keys are big-endian, so that the order of the bytes
is the order of the numbers.

=========== ============================================ ==========================
table       key                                          value
=========== ============================================ ==========================
``meta``    see the ``META_*`` constants                 see ``storage.catalog``
``docs``    collection u32, row u64                      record (``schema.record``)
``ids``     collection u32, id (UTF-8)                   row u64
``unique``  collection u32, field u16, value key         row u64
``changes`` LSN u64                                      see ``storage.changes``
``requests`` client name, NUL, request id u64            encoded reply
``jobs``    see ``storage.jobs.index``                   see there
=========== ============================================ ==========================

Invariants: collection ids are never used twice; row ids are given per collection, from
1, and only grow; no key is longer than 511 bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from hashlib import blake2b
from typing import Final
from uuid import UUID

from aurora_actors.errors import ValidationError

__all__ = [
    "CHECKPOINT_FILE",
    "DATA_FILE",
    "FORMAT_VERSION",
    "LONGEST_WHOLE",
    "META_AGES",
    "META_COLLECTION",
    "META_COUNTERS",
    "META_DROPPED",
    "META_FORMAT",
    "META_MARKED",
    "META_MOVED",
    "META_NEXT_COLLECTION",
    "META_STATE",
    "META_TREE",
    "META_UUID",
    "REPAIR_READY",
    "REPAIR_SCRATCH",
    "TABLES",
    "TEXT_TAG",
    "WAL_DIRECTORY",
    "WRITER_LOCK",
    "collection_prefix",
    "field_prefix",
    "request_key",
    "request_prefix",
    "row_key",
    "unpack_request_key",
    "unpack_row_key",
    "value_key",
]

DATA_FILE: Final = "data.mdb"
CHECKPOINT_FILE: Final = "checkpoint"
WAL_DIRECTORY: Final = "wal"
WRITER_LOCK: Final = "writer.lock"
REPAIR_SCRATCH: Final = "repair.new"
REPAIR_READY: Final = "ready"

FORMAT_VERSION: Final = 2
TABLES: Final = (
    b"meta",
    b"docs",
    b"ids",
    b"unique",
    b"changes",
    b"requests",
    b"jobs",
)

META_FORMAT: Final = b"format"
META_UUID: Final = b"uuid"
META_STATE: Final = b"state"
META_TREE: Final = b"tree"
META_NEXT_COLLECTION: Final = b"next_collection"
META_MOVED: Final = b"moved"
META_AGES: Final = b"ages"
META_COLLECTION: Final = b"c"
META_COUNTERS: Final = b"n"
META_DROPPED: Final = b"d"
META_MARKED: Final = b"x"

_U32 = struct.Struct(">I")
_FIELD = struct.Struct(">IH")
_ROW = struct.Struct(">IQ")
_U64 = struct.Struct(">Q")

collection_prefix: Final[Callable[[int], bytes]] = _U32.pack
field_prefix: Final[Callable[[int, int], bytes]] = _FIELD.pack
row_key: Final[Callable[[int, int], bytes]] = _ROW.pack


def unpack_row_key(key: bytes | memoryview) -> tuple[int, int]:
    """The collection id and the row id of a key of ``docs``."""
    collection, row = _ROW.unpack(key)
    return collection, row


def request_prefix(client: str) -> bytes:
    """What all keys of one client's remembered outcomes begin with."""
    return client.encode() + b"\0"


def request_key(client: str, request_id: int) -> bytes:
    """The key of one remembered outcome."""
    return client.encode() + b"\0" + _U64.pack(request_id)


def unpack_request_key(key: bytes) -> tuple[str, int]:
    """The client and the request id of a key of ``requests``."""
    return key[:-9].decode(), _U64.unpack_from(key, len(key) - 8)[0]


# ------------------------------------------------------------------ value keys
# Values up to this length are kept whole; longer ones as their beginning and a digest.
# A whole key is then at most 6 + 1 + 460 + 32 = 499 bytes; LMDB 0.9 takes 511.
LONGEST_WHOLE: Final = 460
TEXT_TAG: Final = b"\x03"

_FALSE, _TRUE = b"\x01\x00", b"\x01\x01"
_NUMBER = struct.Struct(">BQH")
_DATE = struct.Struct(">BI")
_TICKS = struct.Struct(">BQ")
_DOUBLE = struct.Struct(">d")
_SIGN: Final = 1 << 63
_ALL: Final = (1 << 64) - 1
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
_MICROSECOND: Final = timedelta(microseconds=1)


def _sortable(value: float) -> int:
    bits: int = _U64.unpack(_DOUBLE.pack(value + 0.0))[0]
    return bits ^ _ALL if bits & _SIGN else bits | _SIGN


def _number(value: float) -> bytes:
    # An int beyond 2**53 differs from its nearest double by at most 512: the pair
    # orders ints and floats exactly, and makes 5 and 5.0 the same key.
    nearest = float(value)
    rest = value - int(nearest) if isinstance(value, int) else 0
    return _NUMBER.pack(2, _sortable(nearest), rest + 0x8000)


def _text(value: str) -> bytes:
    data = value.encode()
    if len(data) > LONGEST_WHOLE:
        data = data[:LONGEST_WHOLE] + blake2b(data, digest_size=32).digest()
    return TEXT_TAG + data


def _binary(value: bytes) -> bytes:
    if len(value) > LONGEST_WHOLE:
        value = value[:LONGEST_WHOLE] + blake2b(value, digest_size=32).digest()
    return b"\x07" + value


def _datetime(value: datetime) -> bytes:
    return _TICKS.pack(6, ((value - _EPOCH) // _MICROSECOND) + _SIGN)


def _time(value: time) -> bytes:
    seconds = (value.hour * 60 + value.minute) * 60 + value.second
    return _TICKS.pack(5, seconds * 1_000_000 + value.microsecond)


_ENCODERS: Final[dict[type, Callable[..., bytes]]] = {
    bool: lambda value: _TRUE if value else _FALSE,
    int: _number,
    float: _number,
    str: _text,
    UUID: lambda value: _text(str(value)),
    date: lambda value: _DATE.pack(4, value.toordinal() - _EPOCH_DAY + (1 << 31)),
    time: _time,
    datetime: _datetime,
    bytes: _binary,
}


def value_key(value: object) -> bytes:
    """Encode a scalar so that equal values, and only they, have equal keys.

    The bytes order as the values do within a kind (a value of more than 460 bytes by
    its beginning). ``5`` equals ``5.0``, and a UUID equals its text.

    Raises:
        ValidationError: the value is of a kind that cannot be unique.
    """
    encode = _ENCODERS.get(type(value))
    if encode is None:
        raise ValidationError(
            f"a value of type {type(value).__name__} cannot be in a unique field"
        )
    return encode(value)
