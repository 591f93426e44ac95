"""The stream to the supervisor, used without blocking.

Carries notices in and a few requests out. The connection itself is the sign of life:
when either side goes, the other reads the end of file.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import msgspec

from aurora_actors.client.launch import TreeConnection
from aurora_actors.errors import ProtocolError
from aurora_actors.messages.framing import encode_frame
from aurora_actors.messages.supervision import (
    ApplicationNotice,
    ApplicationRequest,
    Attached,
)

__all__ = ["SupervisorStream"]

_READ_BYTES: Final = 65_536

_decoder = msgspec.msgpack.Decoder(ApplicationNotice)


class SupervisorStream:
    """An attached connection in an event loop's or a thread's hands.

    Attributes:
        ended: The other side has gone.
    """

    def __init__(self, connection: TreeConnection) -> None:
        connection.socket.setblocking(False)
        self.ended = False
        self._connection = connection
        self._socket = connection.socket
        self._unsent: deque[bytes] = deque()

    @property
    def attached(self) -> Attached:
        """What the supervisor said when it let us in."""
        return self._connection.attached

    @property
    def fd(self) -> int:
        """The descriptor to wait for."""
        return self._socket.fileno()

    @property
    def wants_to_send(self) -> bool:
        """Whether something waits for the stream to be writable."""
        return bool(self._unsent)

    def send(self, request: ApplicationRequest) -> None:
        """Send what the stream takes; the rest leaves with :meth:`flush`."""
        self._unsent.append(encode_frame(request))
        self.flush()

    def flush(self) -> None:
        """Send what waits, as far as the stream takes it."""
        while self._unsent and not self.ended:
            data = self._unsent.popleft()
            try:
                sent = self._socket.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                self.ended = True
                return
            if sent < len(data):
                self._unsent.appendleft(data[sent:])
                return

    def receive(self) -> list[ApplicationNotice]:
        """What has arrived; sets ``ended`` at the end of the stream.

        Raises:
            ProtocolError: the supervisor said something that is no notice.
        """
        frames = self._connection.frames
        while not self.ended:
            try:
                data = self._socket.recv(_READ_BYTES)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            self.ended = not data
            frames.feed(data)
        notices: list[ApplicationNotice] = []
        while (body := frames.next_frame()) is not None:
            notices.append(_decode(body))
        return notices

    def leave(self, within_s: float) -> None:
        """Detach and wait for what that leads to; blocks the thread."""
        self._connection.leave(within_s)

    def close(self) -> None:
        """Close our end."""
        self._connection.close()


def _decode(body: bytes) -> ApplicationNotice:
    try:
        notice: ApplicationNotice = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise ProtocolError(f"the supervisor is not understood: {exc}") from exc
    return notice
