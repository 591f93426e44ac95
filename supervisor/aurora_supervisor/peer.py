"""One stream connection to an application: framed messages both ways.

Sending never blocks the supervisor: what the socket does not take at once is kept, up
to a bound, and sent by :meth:`Peer.run`; a peer that exceeds the bound has stopped
reading and is disconnected.
"""

from __future__ import annotations

import socket
from typing import Final

import trio

from aurora_actors.messages.base import Message
from aurora_actors.messages.framing import FrameReader, encode_frame

__all__ = ["Peer"]

_MAX_UNSENT_BYTES: Final = 1 << 20
_READ_BYTES: Final = 1 << 16
_FLUSH_S: Final = 0.5


class Peer:
    """A connected stream socket, taken over."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._frames = FrameReader()
        self._unsent = bytearray()
        self._more = trio.Event()
        self._overflowed = False

    def post(self, message: Message) -> None:
        """Send ``message`` after what has been posted before; never blocks."""
        self._unsent += encode_frame(message)
        self._send()
        if len(self._unsent) > _MAX_UNSENT_BYTES:
            self._overflowed = True
        if self._unsent:
            self._more.set()

    def _send(self) -> None:
        try:
            while self._unsent:
                del self._unsent[: self._socket.send(self._unsent)]
        except BlockingIOError:
            pass
        except OSError:
            # The reader sees the end of the connection and acts on it.
            self._unsent.clear()

    async def run(self) -> None:
        """Send what could not go at once, until the peer no longer reads."""
        while not self._overflowed:
            await self._more.wait()
            self._more = trio.Event()
            while self._unsent and not self._overflowed:
                await trio.lowlevel.wait_writable(self._socket)
                self._send()

    async def receive(self) -> bytes | None:
        """The next frame's body; ``None`` at the end of the connection.

        Raises:
            ProtocolError: the peer sends something else than frames.
        """
        while True:
            frame = self._frames.next_frame()
            if frame is not None:
                return frame
            await trio.lowlevel.wait_readable(self._socket)
            try:
                data = self._socket.recv(_READ_BYTES)
            except BlockingIOError:
                continue
            except OSError:
                return None
            if not data:
                return None
            self._frames.feed(data)

    async def flush(self) -> None:
        """Give what is unsent a moment to go."""
        with trio.move_on_after(_FLUSH_S, shield=True):
            while self._unsent:
                await trio.lowlevel.wait_writable(self._socket)
                self._send()

    def close(self) -> None:
        """Close the connection; idempotent."""
        if self._socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()
