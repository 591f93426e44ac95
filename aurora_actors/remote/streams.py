"""One TLS connection of a remote client: frames in, frames out.

Sending is bounded: whoever has something for a client that does not read waits, and with
it that client's mailbox, as for a local client that does not read its own.
"""

from __future__ import annotations

import ssl
from contextlib import suppress
from typing import Final

import trio

from aurora_actors.config import RemoteConfig
from aurora_actors.errors import ConfigError
from aurora_actors.messages.base import Failure, Message
from aurora_actors.messages.framing import MAX_FRAME_BYTES, FrameReader, encode_frame
from aurora_actors.messages.remote import MAX_REMOTE_FRAME_BYTES

__all__ = ["CLOSE_S", "Connection", "server_context"]

_READ_BYTES: Final = 1 << 16
_QUEUED: Final = 32
_TOGETHER_BYTES: Final = 1 << 18
CLOSE_S: Final = 2.0
_HELLO_BYTES: Final = 1 << 13


def server_context(settings: RemoteConfig) -> ssl.SSLContext:
    """TLS 1.2 or newer, with the certificate of ``settings``.

    Raises:
        ConfigError: certificate or key cannot be read, or do not belong together.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.tls_certificate, settings.tls_key)
    except FileNotFoundError as exc:
        raise ConfigError(
            f"there is no certificate {settings.tls_certificate} with a key "
            f"{settings.tls_key}; aurora-supervisor cert makes both",
            key="remote.tls_certificate",
        ) from exc
    except (OSError, ssl.SSLError) as exc:
        raise ConfigError(
            f"the certificate {settings.tls_certificate} and the key "
            f"{settings.tls_key} cannot be used: {exc}",
            key="remote.tls_certificate",
        ) from exc
    return context


class Connection:
    """A TLS stream, taken over.

    Attributes:
        bytes_in: Received so far.
        bytes_out: Sent so far.
        reading: Cancelling it ends the connection in order.
        expelled: Why it was ended from this side.
    """

    def __init__(self, stream: trio.SocketStream, context: ssl.SSLContext) -> None:
        self.bytes_in = self.bytes_out = 0
        self._tls = trio.SSLStream(
            stream, context, server_side=True, https_compatible=True
        )
        # Who has not said who it is gets no memory.
        self._frames = FrameReader(_HELLO_BYTES)
        self._send, self._queued = trio.open_memory_channel[bytes](_QUEUED)
        self.reading = trio.CancelScope()
        self.expelled: Failure | None = None

    async def open(self) -> None:
        """Do the handshake.

        Raises:
            trio.BrokenResourceError: the other side does not speak TLS as it should.
        """
        await self._tls.do_handshake()

    def trust(self) -> None:
        """The client is known: from now on its frames may be as long as a mail."""
        self._frames.max_bytes = MAX_REMOTE_FRAME_BYTES
        assert MAX_REMOTE_FRAME_BYTES > MAX_FRAME_BYTES  # noqa: S101 - or mail is refused

    async def receive(self) -> bytes | None:
        """The next frame; ``None`` at the end of the connection.

        Raises:
            ProtocolError: what comes is no frame.
        """
        while (frame := self._frames.next_frame()) is None:
            try:
                data = await self._tls.receive_some(_READ_BYTES)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return None
            if not data:
                return None
            self.bytes_in += len(data)
            self._frames.feed(bytes(data))
        return frame

    async def send(self, message: Message) -> None:
        """Queue one message; waits while too much is queued, ends with the connection."""
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self._send.send(encode_frame(message))

    async def run(self) -> None:
        """Send what is queued until :meth:`end`, or until the connection ends."""
        try:
            async with self._queued:
                async for frame in self._queued:
                    await self._tls.send_all(self._with_more(frame))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.reading.cancel()

    def _with_more(self, frame: bytes) -> bytes:
        parts, size = [frame], len(frame)
        while size < _TOGETHER_BYTES:
            try:
                parts.append(self._queued.receive_nowait())
            except (trio.WouldBlock, trio.EndOfChannel):
                break
            size += len(parts[-1])
        self.bytes_out += size
        return b"".join(parts)

    def end(self) -> None:
        """Nothing is queued any more: :meth:`run` ends when what is queued has gone."""
        self._send.close()

    async def refuse(self, message: Message) -> None:
        """Say why there will be no conversation."""
        with trio.move_on_after(CLOSE_S):
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await self._tls.send_all(encode_frame(message))

    async def close(self) -> None:
        """Close the connection, for which a moment is taken."""
        with trio.move_on_after(CLOSE_S, shield=True):
            await self._tls.aclose()
