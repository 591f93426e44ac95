"""Messages on a byte stream: each is preceded by its length.

A frame is the length of the body as an unsigned 32-bit big-endian number, then the
body, one msgpack struct. The attach socket of a tree and the opener's socket speak
this; both carry small messages only, so a length over :data:`MAX_FRAME_BYTES` is a
peer that speaks something else and is refused before anything is allocated for it.
"""

from __future__ import annotations

from typing import Final

import msgspec

from aurora_actors.errors import ProtocolError
from aurora_actors.messages.base import Message

__all__ = ["MAX_FRAME_BYTES", "FrameReader", "encode_frame"]

MAX_FRAME_BYTES: Final = 4 << 20
_LENGTH_BYTES: Final = 4

_encoder = msgspec.msgpack.Encoder()


def encode_frame(body: Message | bytes) -> bytes:
    """Put the length before ``body``, which is encoded first if it is a message."""
    data = body if isinstance(body, bytes) else _encoder.encode(body)
    return len(data).to_bytes(_LENGTH_BYTES, "big") + data


class FrameReader:
    """Cuts a stream of bytes, however it arrives, into frames.

    Attributes:
        max_bytes: The longest frame that is taken, with its length before it.
    """

    def __init__(self, max_bytes: int = MAX_FRAME_BYTES) -> None:
        self.max_bytes = max_bytes
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Add bytes as they were received."""
        self._buffer += data

    def next_frame(self) -> bytes | None:
        """The next whole body, or ``None`` while bytes of it are missing.

        Raises:
            ProtocolError: the length is over the limit.
        """
        buffer = self._buffer
        if len(buffer) < _LENGTH_BYTES:
            return None
        end = _LENGTH_BYTES + int.from_bytes(buffer[:_LENGTH_BYTES], "big")
        if end > self.max_bytes:
            raise ProtocolError(f"a frame of {end} bytes; the peer is not ours")
        if len(buffer) < end:
            return None
        body = bytes(buffer[_LENGTH_BYTES:end])
        del buffer[:end]
        return body
