"""Unix stream sockets beside nng, for what has to arrive at once.

A message by nng wakes three threads of its receiver one after the other before the one
that waits for it runs; through a stream the kernel wakes that one directly. Measured
between two processes with a millisecond of rest in between: 250 µs there and back by
nng, 80 by streams; without rest 137 and 20.

A mailbox may have a stream socket beside its nng socket, which listens at ``<name>.uds``.
Whoever finds one when it first sends there (``transport.mailbox``) uses it for all that
it sends to that mailbox, so the order of its letters is kept. Neither end knows an event
loop: a :class:`StreamInbox` puts its descriptors into its owner's epoll, a
:class:`StreamOutlet` has one that is readable when there may be room.

On the stream each message is preceded by its length, four bytes, big-endian. Where
nobody listens any more a message is dropped: it is lost like one that sat in the buffers
of a receiver that was killed, and repeated by whoever wants an answer.
"""

from __future__ import annotations

import logging
import select
import socket
from contextlib import suppress
from pathlib import Path
from typing import Final

from aurora_actors.errors import InternalError, LimitExceededError, UsageError
from aurora_actors.transport.sockets import MAX_MESSAGE_BYTES, Outlet, mailbox_path

__all__ = ["StreamInbox", "StreamOutlet", "outlet_to", "stream_path"]

_log = logging.getLogger(__name__)

_LENGTH_BYTES: Final = 4
_READ_BYTES: Final = 1 << 16
_LARGE_READ_BYTES: Final = 1 << 18
_MOST_PARTS: Final = 16
_BACKLOG: Final = 1024
_KIND: Final = socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC


def stream_path(runtime_dir: str, name: str) -> str:
    """Where the stream socket of the mailbox ``name`` is, if it has one.

    Raises:
        ConfigError: the path is longer than a Unix socket's may be.
    """
    return mailbox_path(runtime_dir, name).removesuffix(".ipc") + ".uds"


class _Connection:
    """One connection, and the part of a message that has come of it."""

    __slots__ = ("rest", "socket")

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self.rest = bytearray()

    def take(self, data: bytes) -> list[bytes] | None:
        """The messages that are whole now; ``None`` when it speaks something else."""
        rest = self.rest
        if not rest and _LENGTH_BYTES + _length(data, 0) == len(data):
            return [data[_LENGTH_BYTES:]]  # nearly always
        rest += data
        found: list[bytes] = []
        at = 0
        while len(rest) - at >= _LENGTH_BYTES:
            length = _length(rest, at)
            if length > MAX_MESSAGE_BYTES:
                return None
            start, end = at + _LENGTH_BYTES, at + _LENGTH_BYTES + length
            if end > len(rest):
                break
            found.append(bytes(rest[start:end]))
            at = end
        del rest[:at]
        return found


def _length(data: bytes | bytearray, at: int) -> int:
    return int.from_bytes(data[at : at + _LENGTH_BYTES], "big")


class StreamInbox:
    """The receiving end, bound to ``path``; a stale file there is replaced.

    Args:
        path: See :func:`stream_path`.
        epoll: Where it registers its descriptors, for reading.
    """

    def __init__(self, path: str, epoll: select.epoll) -> None:
        self.path = path
        self._epoll = epoll
        self._connections: dict[int, _Connection] = {}
        Path(path).unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, _KIND)
        try:
            listener.bind(path)
            listener.listen(_BACKLOG)
        except OSError as exc:
            listener.close()
            raise InternalError(f"cannot bind {path}: {exc.strerror}") from exc
        self._listener: socket.socket | None = listener
        self._spare = socket.socket(socket.AF_UNIX, _KIND)
        self._listening = listener.fileno()
        epoll.register(self._listening, select.EPOLLIN)

    def receive(self, fd: int) -> list[bytes]:
        """The messages that have come by ``fd``, which the epoll has named.

        A descriptor that is not one of its own gives nothing.
        """
        connection = self._connections.get(fd)
        if connection is None:
            if fd == self._listening:
                self._accept()
            return []
        try:
            data = connection.socket.recv(_READ_BYTES)
            if len(data) == _READ_BYTES:
                data += _rest_of(connection.socket)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        found = connection.take(data) if data else None
        if found is None:
            if data:
                _log.warning(
                    "closed a connection to somebody who speaks something else"
                )
            self._drop(fd)
            return []
        return found

    def _accept(self) -> None:
        if self._listener is None:
            return
        try:
            while True:
                connected, _ = self._listener.accept()
                connected.setblocking(False)
                self._connections[connected.fileno()] = _Connection(connected)
                self._epoll.register(connected.fileno(), select.EPOLLIN)
        except BlockingIOError:
            pass
        except OSError as exc:
            _log.warning("nobody can be let in", extra={"reason": exc.strerror})
            self._turn_away(self._listener)

    def _turn_away(self, listener: socket.socket) -> None:
        """No descriptor is free: who waits must go, or we are woken for ever."""
        self._spare.close()
        with suppress(OSError):
            listener.accept()[0].close()
        with suppress(OSError):
            self._spare = socket.socket(socket.AF_UNIX, _KIND)

    def _drop(self, fd: int) -> None:
        connection = self._connections.pop(fd)
        if not self._epoll.closed:
            self._epoll.unregister(fd)
        connection.socket.close()

    def close(self, *, unlink: bool = True) -> None:
        """Close all sockets and remove the file, unless it is another process's."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        for fd in list(self._connections):
            self._drop(fd)
        listener.close()
        self._spare.close()
        if unlink:
            Path(self.path).unlink(missing_ok=True)


def _rest_of(connected: socket.socket) -> bytes:
    """What else there is of something large: each look costs a turn of a loop."""
    parts: list[bytes] = []
    with suppress(OSError):  # the next look meets it again
        while len(parts) < _MOST_PARTS and (data := connected.recv(_LARGE_READ_BYTES)):
            parts.append(data)
    return b"".join(parts)


class StreamOutlet:
    """The sending end of the stream socket at ``path``, which may come and go.

    Attributes:
        lines: Always 1: ``send_fd`` stays the same, whatever becomes of a connection.
    """

    lines: Final = 1

    def __init__(self, path: str) -> None:
        self.path = path
        self._socket: socket.socket | None = None
        self._room: select.epoll | None = None
        self._offered: bytes | None = None
        self._rest = memoryview(b"")
        self._closed = False

    def send_nowait(self, data: bytes) -> bool:
        """Hand ``data`` to the system; ``False`` when it does not take all of it now.

        Then it has to be offered again, before anything else.

        Raises:
            LimitExceededError: ``data`` is larger than a mailbox takes.
            UsageError: it is closed.
        """
        if self._offered is not data:
            self._offer(data)
        if self._socket is None and not self._connect():
            return self._done()  # nobody is there
        if (taken := self._push()) is None:
            # The receiver is gone, and there may be another one.
            self._offer(data)
            if not self._connect() or (taken := self._push()) is None:
                return self._done()
        return self._done() if taken else False

    def _offer(self, data: bytes) -> None:
        if self._closed:
            raise UsageError(f"the way to {self.path} is closed")
        if len(data) > MAX_MESSAGE_BYTES:
            raise LimitExceededError(
                f"a message of {len(data)} bytes is over the limit of "
                f"{MAX_MESSAGE_BYTES}; use smaller chunks",
                limit=MAX_MESSAGE_BYTES,
            )
        self._offered = data
        self._rest = memoryview(len(data).to_bytes(_LENGTH_BYTES, "big") + data)

    def _done(self) -> bool:
        self._offered = None
        self._rest = memoryview(b"")
        return True

    def _connect(self) -> bool:
        self._disconnect()
        sock = socket.socket(socket.AF_UNIX, _KIND)
        try:
            sock.connect(self.path)
        except OSError:
            sock.close()
            return False
        self._socket = sock
        if self._room is not None:
            self._room.register(sock.fileno(), select.EPOLLOUT)
        return True

    def _push(self) -> bool | None:
        """Whether all has left; ``None`` when the connection is lost."""
        assert self._socket is not None  # noqa: S101 - it has just been connected
        try:
            while self._rest:
                self._rest = self._rest[self._socket.send(self._rest) :]
        except BlockingIOError:
            return False
        except OSError:
            return None
        return True

    @property
    def send_fd(self) -> int:
        """Readable when there may be room."""
        if self._room is None:
            self._room = select.epoll()
            if self._socket is not None:
                self._room.register(self._socket.fileno(), select.EPOLLOUT)
        return self._room.fileno()

    def _disconnect(self) -> None:
        sock, self._socket = self._socket, None
        if sock is not None:
            sock.close()

    def close(self) -> None:
        """Close the connection; closing again does nothing."""
        self._closed = True
        self._disconnect()
        room, self._room = self._room, None
        if room is not None:
            room.close()


def outlet_to(runtime_dir: str, name: str) -> Outlet | StreamOutlet:
    """The way to a mailbox: its stream socket if it has one now, else nng."""
    path = stream_path(runtime_dir, name)
    return (
        StreamOutlet(path)
        if Path(path).exists()
        else Outlet(mailbox_path(runtime_dir, name))
    )
