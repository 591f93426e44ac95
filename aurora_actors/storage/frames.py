"""Frames of the commit log: their bytes, and finding where a log ends.

One frame holds one batch. Layout, big-endian::

    0   4  magic "AFR1"
    4   4  CRC-32 of everything from offset 8, seeded with the database's uuid
    8   4  payload length
    12  8  first LSN of the batch
    20  8  last LSN of the batch
    28  8  synced LSN: what was known to survive power loss when this was written
    36  4  timeline
    40  .  payload

Frames follow one another without gaps; after the last one the file is zeros or ends.

The synced LSN tells a torn tail from damage. Power loss may keep a later page of the
tail and lose an earlier one, so that intact frames follow a hole; that is a torn tail
only if none of them says that what is in the hole had been synced.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final, NamedTuple

__all__ = ["HEADER_BYTES", "MAGIC", "Frame", "Scan", "encode_frame", "scan_frames"]

MAGIC: Final = b"AFR1"
HEADER_BYTES: Final = 40
_HEAD: Final = struct.Struct(">IQQQI")
_CRC: Final = struct.Struct(">I")


class Frame(NamedTuple):
    """One intact frame."""

    offset: int
    end: int
    first_lsn: int
    last_lsn: int
    synced_lsn: int
    timeline: int
    payload: memoryview


class Scan(NamedTuple):
    """What a segment holds.

    Attributes:
        frames: The intact frames from the start, in order.
        end: Where the last of them ends.
        clean: Whether nothing but zeros follows.
        stray: The intact frames found behind damage.
    """

    frames: list[Frame]
    end: int
    clean: bool
    stray: list[Frame]


def encode_frame(
    seed: int,
    lsns: tuple[int, int],
    synced_lsn: int,
    timeline: int,
    payload: bytes,
) -> bytes:
    """The bytes of a frame for the changes ``lsns[0]`` to ``lsns[1]``."""
    head = _HEAD.pack(len(payload), lsns[0], lsns[1], synced_lsn, timeline)
    crc = zlib.crc32(payload, zlib.crc32(head, seed))
    return b"".join((MAGIC, _CRC.pack(crc), head, payload))


def _frame_at(data: memoryview, offset: int, seed: int) -> Frame | None:
    if len(data) - offset < HEADER_BYTES or bytes(data[offset : offset + 4]) != MAGIC:
        return None
    length, first, last, synced, timeline = _HEAD.unpack_from(data, offset + 8)
    end = offset + HEADER_BYTES + length
    if end > len(data):
        return None
    (crc,) = _CRC.unpack_from(data, offset + 4)
    if zlib.crc32(data[offset + 8 : end], seed) != crc:
        return None
    payload = data[offset + HEADER_BYTES : end]
    return Frame(offset, end, first, last, synced, timeline, payload)


def scan_frames(data: bytes, seed: int) -> Scan:
    """Read all frames of a segment's bytes, and look behind damage for more."""
    view = memoryview(data)
    frames: list[Frame] = []
    end = 0
    while (frame := _frame_at(view, end, seed)) is not None:
        frames.append(frame)
        end = frame.end
    clean = data.count(0, end) == len(data) - end
    stray = [] if clean else _stray_frames(data, end, seed)
    return Scan(frames, end, clean, stray)


def _stray_frames(data: bytes, start: int, seed: int) -> list[Frame]:
    view = memoryview(data)
    found: list[Frame] = []
    at = data.find(MAGIC, start)
    while at >= 0:
        frame = _frame_at(view, at, seed)
        if frame is not None:
            found.append(frame)
        at = data.find(MAGIC, frame.end if frame is not None else at + 1)
    return found
