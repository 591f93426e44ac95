"""What is known of a column segment without opening its file.

A segment is an immutable Arrow IPC file in ``columns/`` with the values of some rows,
ascending, of one collection. It *speaks for* these rows but the dead ones: a row that is
changed or removed is dead in its segment, and its new version waits among the *pending*
rows until a later segment takes it. A row with a value that no column can hold is
*opaque* and stays out of the segments. Pending and opaque rows are read from their
documents.

Kept in ``meta`` as msgpack, beside the sets of rows in ``bitmaps``; used by the builder
and by readers, none of which needs Arrow for it.
"""

from __future__ import annotations

from typing import Final

import msgspec

from aurora_actors.errors import CorruptionError
from aurora_actors.indexing.layout import entry_key
from aurora_actors.schema.values import decode_value, encode_value

__all__ = [
    "LARGEST_SUMMED",
    "ROWS_MEMBERS",
    "ColumnFacts",
    "Segment",
    "decode_segment",
    "encode_segment",
    "rows_key",
    "segment_file",
    "segment_rows_key",
]

ROWS_MEMBERS: Final = b"rows"
"""With a segment u64 behind it: the rows that the segment's file has."""
LARGEST_SUMMED: Final = 2.0**480
"""Of a column with a float of this size, or a larger one, no sum is kept."""

_HALF: Final = 32


class ColumnFacts(msgspec.Struct, frozen=True, array_like=True):
    """What one column of a segment holds.

    Attributes:
        name: The field, dotted.
        nulls: How many values are null.
        bounds: The least and the greatest value, encoded by the schema; ``None`` when
            they are not known, or there are none.
        halves: The sum of integers, in units of 2**32, and the rest; ``None`` when it
            is not known.
        parts: Floats whose exact sum is that of the column's floats; ``None`` when it
            is not known. Segments of earlier versions have no sums.
    """

    name: str
    nulls: int
    bounds: tuple[bytes, bytes] | None = None
    halves: tuple[int, int] | None = None
    parts: tuple[float, ...] | None = None

    @property
    def low(self) -> object:
        """The least value; ``None`` when it is not known."""
        return None if self.bounds is None else decode_value(self.bounds[0])

    @property
    def high(self) -> object:
        """The greatest value; ``None`` when it is not known."""
        return None if self.bounds is None else decode_value(self.bounds[1])

    @property
    def total(self) -> int | None:
        """The sum of the column's integers, if it is known."""
        if self.halves is None:
            return None
        return (self.halves[0] << _HALF) + self.halves[1]

    @classmethod
    def of(
        cls,
        name: str,
        nulls: int,
        low: object,
        high: object,
        *,
        total: int | None = None,
        parts: tuple[float, ...] | None = None,
    ) -> ColumnFacts:
        """The facts of a column; a ``low`` of ``None`` leaves the bounds unknown."""
        bounds = None
        if low is not None and high is not None:
            bounds = encode_value(low), encode_value(high)
        halves = None
        if total is not None:
            halves = total >> _HALF, total & ((1 << _HALF) - 1)
        return cls(name, nulls, bounds, halves, parts)


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """One segment.

    Attributes:
        part: The columns part it belongs to.
        number: Names it within the part; a later segment has a higher number.
        rows: How many rows the file has.
        first: The lowest row.
        last: The highest row.
        size: The length of the file.
        crc: The CRC-32 of the file.
        columns: Its columns; one that is missing here has to be read from documents.
    """

    part: int
    number: int
    rows: int
    first: int
    last: int
    size: int
    crc: int
    columns: tuple[ColumnFacts, ...]

    @property
    def file(self) -> str:
        """The name of the file in ``columns/``."""
        return segment_file(self.part, self.number)

    def column(self, name: str) -> ColumnFacts | None:
        """The facts of one column, if the segment has it."""
        for facts in self.columns:
            if facts.name == name:
                return facts
        return None


def segment_file(part: int, number: int) -> str:
    """The name of a segment's file."""
    return f"{part:08x}-{number:016x}.arrow"


def segment_rows_key(part: int, name: bytes, number: int) -> bytes:
    """The key in ``bitmaps`` of a segment's members or dead."""
    return entry_key(part, name + number.to_bytes(8, "big"))


def rows_key(part: int, name: bytes) -> bytes:
    """The key in ``bitmaps`` of a set of rows that each columns part has once."""
    return entry_key(part, name)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Segment)


def encode_segment(segment: Segment) -> bytes:
    """The entry of a segment."""
    return _encoder.encode(segment)


def decode_segment(value: bytes) -> Segment:
    """Read the entry of a segment.

    Raises:
        CorruptionError: it is damaged.
    """
    try:
        return _decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise CorruptionError(f"a column segment's entry is damaged: {exc}") from exc
