"""Names, tables and keys of everything derived that a database keeps on disk.

Pure functions over bytes, used by the index builder (which writes) and by every process
that reads. Numbers in keys are big-endian; row ids as values are in the machine's order,
as LMDB's INTEGERDUP wants them.

============ ============================================ =============================
table        key                                          value
============ ============================================ =============================
``meta``     ``format``                                   u32
``meta``     ``uuid``                                     16 bytes, the database's
``meta``     ``state``                                    LSN u64, timeline u32, parts
                                                          version u64, next part u32
``meta``     ``p`` + part u32                             :class:`Part`, msgpack
``meta``     ``n`` + part u32                             :class:`Progress`, 34 bytes
``meta``     ``s`` + part u32 + segment u64               ``segments.Segment``, msgpack
``meta``     ``g`` + file name                            empty: nothing names the file
                                                          any more
``meta``     ``h`` + part u32                             highest document id so far
``meta``     ``r`` + part u32                             :class:`Part` that is gone, but
                                                          whose content is not
``entries``  part u32, value key, zeros to 8 n bytes      row u64, many (DUPFIXED)
``bitmaps``  part u32, value key, zeros, block u32        rows of the block: how many
                                                          u32, roaring bitmap
============ ============================================ =============================

A *part* is one derived thing of one collection: an index, the columns, or the order of
ids. Part numbers are never used twice. The bitmaps of a columns or ids part have, in the
place of a value key, one of the ``ROWS_*`` names.
"""

from __future__ import annotations

import struct
from enum import Enum
from typing import Final, NamedTuple

import msgspec

from aurora_actors.schema.types import Kind

__all__ = [
    "BLOCK_SHIFT",
    "CHECKPOINT_FILE",
    "COLUMNS_DIRECTORY",
    "COMPLETE",
    "FORMAT_VERSION",
    "INDEX_FILE",
    "META_FORMAT",
    "META_GARBAGE",
    "META_HIGHEST",
    "META_PART",
    "META_PROGRESS",
    "META_REMOVED",
    "META_SEGMENT",
    "META_STATE",
    "META_UUID",
    "ROWS_DEAD",
    "ROWS_DISORDERED",
    "ROWS_OPAQUE",
    "ROWS_PENDING",
    "TABLES",
    "IndexState",
    "Part",
    "PartKind",
    "Progress",
    "Shape",
    "entry_key",
    "pack_progress",
    "pack_state",
    "part_key",
    "part_prefix",
    "segment_key",
    "unpack_progress",
    "unpack_state",
]

INDEX_FILE: Final = "index.mdb"
CHECKPOINT_FILE: Final = "index.checkpoint"
COLUMNS_DIRECTORY: Final = "columns"

FORMAT_VERSION: Final = 1
TABLES: Final = (b"meta", b"entries", b"bitmaps")

META_FORMAT: Final = b"format"
META_UUID: Final = b"uuid"
META_STATE: Final = b"state"
META_PART: Final = b"p"
META_PROGRESS: Final = b"n"
META_SEGMENT: Final = b"s"
META_GARBAGE: Final = b"g"
META_HIGHEST: Final = b"h"
META_REMOVED: Final = b"r"

ROWS_PENDING: Final = b"pend"
"""Rows whose documents are in no segment yet."""
ROWS_OPAQUE: Final = b"opaq"
"""Rows with a value that a column cannot hold."""
ROWS_DEAD: Final = b"dead"
"""With a segment u64 behind it: rows for which the segment no longer speaks."""
ROWS_DISORDERED: Final = b"diso"
"""Rows whose ids are not above those of all rows before them."""

BLOCK_SHIFT: Final = 18
"""A bitmap speaks of the 2**18 rows whose numbers have the same upper bits."""

_STATE: Final = struct.Struct(">QIQI")
_PROGRESS: Final = struct.Struct(">QBBQQQ")
_U32: Final = struct.Struct(">I")
_SEGMENT: Final = struct.Struct(">IQ")

COMPLETE: Final = (1 << 64) - 1
"""The cursor of a part that speaks of all rows."""


class PartKind(Enum):
    """What a part is."""

    INDEX = "index"
    COLUMNS = "columns"
    IDS = "ids"


class Shape(Enum):
    """How an index keeps the rows of a value."""

    BITMAPS = 0
    """As roaring bitmaps; while the values are few."""
    ENTRIES = 1
    """One by one."""


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One derived thing of one collection.

    Attributes:
        number: Names it in the tables.
        kind: What it is.
        collection: The collection's id.
        fields: Dotted names: those of the index, in their order, or of the columns.
        types: The declared kind of each field, ``ANY`` where there is none.
        multi: An index over the elements of an array.
    """

    number: int
    kind: PartKind
    collection: int
    fields: tuple[str, ...] = ()
    types: tuple[Kind, ...] = ()
    multi: bool = False

    def same_as(self, other: Part) -> bool:
        """Whether ``other`` is equal but for its number."""
        return msgspec.structs.replace(other, number=self.number) == self


class Progress(NamedTuple):
    """The numbers of a part that change with each commit.

    Attributes:
        cursor: It speaks of the rows up to this one; :data:`COMPLETE` of all.
        shape: How an index keeps rows.
        entries: The number of (value, row) pairs in an index.
        distinct: The number of values, as long as they are kept as bitmaps.
        next_segment: The number of the next column segment.
    """

    cursor: int = COMPLETE
    shape: Shape = Shape.BITMAPS
    entries: int = 0
    distinct: int = 0
    next_segment: int = 1


class IndexState(NamedTuple):
    """What names a state of the derived data.

    Attributes:
        lsn: The last change it has.
        timeline: The history that ``lsn`` belongs to.
        version: Counts the changes of the set of parts.
        next_part: The number of the next part.
    """

    lsn: int
    timeline: int
    version: int
    next_part: int


def pack_state(state: IndexState) -> bytes:
    """Encode the entry ``state``."""
    return _STATE.pack(*state)


def unpack_state(value: bytes) -> IndexState:
    """Decode the entry ``state``."""
    return IndexState(*_STATE.unpack(value))


def pack_progress(progress: Progress) -> bytes:
    """Encode a part's numbers."""
    cursor, shape, entries, distinct, segment = progress
    return _PROGRESS.pack(cursor, shape.value, 0, entries, distinct, segment)


def unpack_progress(value: bytes) -> Progress:
    """Decode a part's numbers."""
    cursor, shape, _, entries, distinct, segment = _PROGRESS.unpack(value)
    return Progress(cursor, Shape(shape), entries, distinct, segment)


def part_prefix(part: int) -> bytes:
    """What all keys of a part begin with in ``entries`` and ``bitmaps``."""
    return _U32.pack(part)


def part_key(prefix: bytes, part: int) -> bytes:
    """The key in ``meta`` of something each part has once."""
    return prefix + _U32.pack(part)


def segment_key(part: int, segment: int) -> bytes:
    """The key in ``meta`` of a column segment."""
    return META_SEGMENT + _SEGMENT.pack(part, segment)


def entry_key(part: int, key: bytes) -> bytes:
    """The key of a value in ``entries``, and in ``bitmaps`` before the block number.

    Keys are a whole number of eight-byte words: then the rows that LMDB returns
    together with their keys can be picked out of the buffer with one strided copy.
    """
    whole = _U32.pack(part) + key
    return whole + bytes(-len(whole) % 8)
